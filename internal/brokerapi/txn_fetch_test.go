package brokerapi

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/replica"
)

// coordinator appends what only brokers may write: batches of transactions that are known
// to be open, and their ends.
func (k *kit) coordinator(topic string, recs []byte) {
	k.t.Helper()
	var s replica.AppendSlot
	a := replica.GetAppender()
	a.Acks, a.Version, a.Origin, a.NowMs, a.TransactionVersion = -1, 12, batch.OriginCoordinator, testEpochMs, 1
	done := a.Append(k.reps.Get(topic, 0), recs, &s)
	a.Finish()
	replica.PutAppender(a)
	if !done || s.Err != nil {
		k.t.Fatalf("append by the coordinator: done %v, %v", done, s.Err)
	}
}

// marker is the end of a producer's transaction.
func marker(pid int64, commit bool) []byte {
	b := batch.NewBuilder(0)
	b.ProducerID, b.ProducerEpoch, b.BaseSequence, b.IsTransactional, b.IsControl = pid, 0, -1, true, true
	key, value := batch.EndTxnMarker(commit, 0)
	b.Append(testEpochMs, key, value, nil)
	out, err := b.Build(nil)
	if err != nil {
		panic(err)
	}
	return out
}

// TestReadCommitted: open transactions end what a read-committed consumer sees, their end
// wakes it, and aborted ones are listed.
func TestReadCommitted(t *testing.T) {
	k := newKit(t, nil)
	k.topic1("t")
	c, dirty, producer := k.client(), k.client(), k.client()
	txn := rec{pid: 5, ts: testEpochMs, txn: true}
	k.coordinator("t", txn.encode("open"))
	producer.mustProduce("t", 0, "plain")
	req := fetchReq("t", 0, 0)
	req.IsolationLevel = 1
	if p := fetched(t, c.do(noWait(req))); len(p.RecordBatches) != 0 || p.HighWatermark != 2 || p.LastStableOffset != 0 {
		t.Fatalf("%+v", p)
	}
	if p := fetched(t, dirty.do(fetchReq("t", 0, 0))); len(values(t, p.RecordBatches, 0)) != 2 || p.AbortedTransactions != nil {
		t.Fatalf("%+v", p)
	}
	if p := c.listOffset(5, "t", -1, 1); p.Offset != 0 {
		t.Errorf("latest committed is %d", p.Offset)
	}
	if p := c.listOffset(5, "t", -1, 0); p.Offset != 2 {
		t.Errorf("latest is %d", p.Offset)
	}
	req.MaxWaitMillis = 500
	c.send(req)
	k.parked(1)
	producer.mustProduce("t", 0, "more")
	if n := k.reps.Stats.DelayedFetchRequests.Load(); n != 1 {
		t.Fatal("a record behind an open transaction woke a read-committed consumer")
	}
	k.coordinator("t", marker(5, false))
	p := fetched(t, c.receive(req))
	if p.LastStableOffset != 4 || p.HighWatermark != 4 {
		t.Fatalf("last stable offset %d, high watermark %d", p.LastStableOffset, p.HighWatermark)
	}
	if len(p.AbortedTransactions) != 1 || p.AbortedTransactions[0].ProducerID != 5 || p.AbortedTransactions[0].FirstOffset != 0 {
		t.Fatalf("aborted %+v", p.AbortedTransactions)
	}
	if v := values(t, p.RecordBatches, 0); !strings.HasPrefix(strings.Join(v, ","), "open,plain,more") {
		t.Fatalf("%q", v)
	}
	// A committed transaction is not listed; a read behind an aborted one lists nothing.
	txn.seq = 1
	k.coordinator("t", txn.encode("good"))
	k.coordinator("t", marker(5, true))
	req.Topics[0].Partitions[0].FetchOffset = 4
	resp := c.do(noWait(req)).(*kmsg.FetchResponse)
	if p := fetched(t, resp); p.AbortedTransactions == nil || len(p.AbortedTransactions) != 0 || len(values(t, p.RecordBatches, 4)) != 2 {
		t.Fatalf("%+v", p)
	}
}

// TestOldConsumersPassTheEndsOfTransactions: a message format without control batches gets
// none of their bytes. A consumer whose next record is behind one is given that, even if
// both do not fit; when there is none it waits.
func TestOldConsumersPassTheEndsOfTransactions(t *testing.T) {
	k := newKit(t, nil)
	k.topic1("t")
	c, producer := k.client(), k.client()
	k.coordinator("t", rec{pid: 5, ts: testEpochMs, txn: true}.encode("first"))
	k.coordinator("t", marker(5, true))
	old := func(offset int64, maxBytes int32) *kmsg.FetchRequest {
		req := fetchReq("t", offset, 0)
		req.SetVersion(2)
		req.Topics[0].Partitions[0].PartitionMaxBytes = maxBytes
		return req
	}
	req := old(1, 1<<20)
	req.MinBytes, req.MaxWaitMillis = 1, 60_000
	c.send(req)
	k.parked(1)
	producer.mustProduce("t", 0, "second")
	for name, p := range map[string]kmsg.FetchResponseTopicPartition{
		"a waiting one": fetched(t, c.receive(req)), "one with little room": fetched(t, c.do(old(1, 1))),
	} {
		if b := p.RecordBatches; len(b) < 17 || b[16] != 1 || p.ErrorCode != 0 || binary.BigEndian.Uint64(b) != 2 {
			t.Errorf("%s is answered with %x, code %d", name, b, p.ErrorCode)
		}
	}
	k.coordinator("t", marker(5, true))
	if p := fetched(t, c.do(noWait(old(3, 1<<20)))); len(p.RecordBatches) != 0 || p.ErrorCode != 0 || p.HighWatermark != 4 {
		t.Errorf("the end of a transaction is answered with %x, code %d", p.RecordBatches, p.ErrorCode)
	}
}
