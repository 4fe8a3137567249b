package brokerapi

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/txn"
)

// TestMarkersForAPartitionThatIsNotPublishedYet: a step of the metadata that makes many
// partitions takes a while, and the first of them are led before the last. A transaction
// in one of them has its marker.
func TestMarkersForAPartitionThatIsNotPublishedYet(t *testing.T) {
	k := newTxnKit(t, 2, nil)
	c := k.c
	publish := k.beforePublishing(func() { k.topic1("u") })
	p := c.initTxn(5, "tid", 60000)
	wantCode(t, "InitProducerId", p.ErrorCode, nil)
	got := c.produceTxnTo(12, "tid", "u", 0, rec{pid: p.ProducerID, epoch: p.ProducerEpoch}, "a")
	wantCode(t, "Produce", got.ErrorCode, nil)
	wantCode(t, "EndTxn", c.endTxn(5, "tid", p.ProducerID, p.ProducerEpoch, true).ErrorCode, nil)
	k.becomes("tid", txn.CompleteCommit)
	publish()
	l := k.reps.Get("u", 0).Log()
	if stable, end := l.LastStableOffset(), l.LogEndOffset(); stable != 2 || end != 2 {
		t.Fatalf("last stable offset %d, end %d", stable, end)
	}
}

// TestTransactionsV2 runs committed and aborted transactions through the doors, as a
// client with transactions v2 does: Produce adds the partition, and each transaction has
// an epoch of its own.
func TestTransactionsV2(t *testing.T) {
	k := newTxnKit(t, 2, nil)
	c := k.c
	p := c.initTxn(5, "tid", 60000)
	wantCode(t, "InitProducerId", p.ErrorCode, nil)
	r := rec{pid: p.ProducerID, epoch: p.ProducerEpoch}
	got := c.produceTxn(12, "tid", 0, r, "a", "b")
	wantCode(t, "Produce", got.ErrorCode, nil)
	if d := c.describeTxn("tid"); d.State != "Ongoing" || len(d.Topics) != 1 || !reflect.DeepEqual(d.Topics[0].Partitions, []int32{0}) || d.ProducerID != p.ProducerID {
		t.Fatalf("%+v", d)
	}
	if v, lso := k.committed(0); v != nil || lso != 0 {
		t.Fatalf("an open transaction is readable: %q, last stable offset %d", v, lso)
	}
	if ps := k.producers(0); len(ps) != 1 || ps[0].CurrentTxnStartOffset != 0 || ps[0].ProducerID != p.ProducerID {
		t.Fatalf("%+v", ps)
	}
	e := c.endTxn(5, "tid", p.ProducerID, 0, true)
	wantCode(t, "EndTxn", e.ErrorCode, nil)
	if e.ProducerID != p.ProducerID || e.ProducerEpoch != 1 {
		t.Fatalf("%+v", e)
	}
	k.becomes("tid", txn.CompleteCommit)
	if v, lso := k.committed(0); !reflect.DeepEqual(v, []string{"a", "b"}) || lso != 3 {
		t.Fatalf("%q, last stable offset %d", v, lso)
	}
	if ps := k.producers(0); ps[0].CurrentTxnStartOffset != -1 || ps[0].ProducerEpoch != 1 || ps[0].CoordinatorEpoch != 0 {
		t.Fatalf("%+v", ps)
	}
	// A retry of the EndTxn is recognized (T10), a late write of the transaction before is
	// refused (T9).
	if e := c.endTxn(5, "tid", p.ProducerID, 0, true); e.ErrorCode != 0 || e.ProducerEpoch != 1 {
		t.Errorf("%+v", e)
	}
	late := c.produceTxn(12, "tid", 0, rec{pid: p.ProducerID, epoch: 0, seq: 2}, "late")
	wantCode(t, "late Produce", late.ErrorCode, kafka.InvalidProducerEpoch)
	late = c.produceTxn(12, "tid", 1, rec{pid: p.ProducerID, epoch: 0}, "late")
	wantCode(t, "late Produce elsewhere", late.ErrorCode, kafka.InvalidProducerEpoch)
	// The next transaction is aborted; its records follow right after the marker (T15).
	got = c.produceTxn(12, "tid", 0, rec{pid: p.ProducerID, epoch: 1}, "x")
	if got.ErrorCode != 0 || got.BaseOffset != 3 {
		t.Fatalf("%v at offset %d", kafka.CodeForNum(got.ErrorCode), got.BaseOffset)
	}
	wantCode(t, "abort", c.endTxn(5, "tid", p.ProducerID, 1, false).ErrorCode, nil)
	k.becomes("tid", txn.CompleteAbort)
	if v, lso := k.committed(0); !reflect.DeepEqual(v, []string{"a", "b"}) || lso != 5 {
		t.Fatalf("%q, last stable offset %d", v, lso)
	}
	if v, lso := k.committed(1); v != nil || lso != 0 {
		t.Errorf("%q, last stable offset %d", v, lso)
	}
}

// TestTransactionsV1: a client without transactions v2 adds partitions itself; a write
// to one that it did not add is refused with the code that its version knows.
func TestTransactionsV1(t *testing.T) {
	k := newTxnKit(t, 1, nil)
	c := k.c
	p := c.initTxn(4, "tid", 60000)
	r := rec{pid: p.ProducerID, epoch: p.ProducerEpoch}
	wantCode(t, "Produce v9", c.produceTxn(9, "tid", 0, r, "no").ErrorCode, kafka.InvalidTxnState)
	wantCode(t, "Produce v11", c.produceTxn(11, "tid", 0, r, "no").ErrorCode, kafka.TransactionAbortable)
	for _, a := range c.addToTxn(3, "tid", p.ProducerID, 0, 0, 7) {
		want := kafka.OperationNotAttempted
		if a.Partition == 7 {
			want = kafka.UnknownTopicOrPartition
		}
		wantCode(t, "AddPartitionsToTxn", a.ErrorCode, want)
	}
	wantCode(t, "AddPartitionsToTxn", c.addToTxn(3, "tid", p.ProducerID, 0, 0)[0].ErrorCode, nil)
	wantCode(t, "Produce", c.produceTxn(11, "tid", 0, r, "a").ErrorCode, nil)
	wantCode(t, "Produce to another partition", c.produceTxn(11, "tid", 1, r, "no").ErrorCode, kafka.TransactionAbortable)
	wantCode(t, "Produce with an unknown id", c.produceTxn(9, "other", 1, r, "no").ErrorCode, kafka.InvalidProducerIDMapping)
	wantCode(t, "EndTxn", c.endTxn(4, "tid", p.ProducerID, 0, false).ErrorCode, nil)
	k.becomes("tid", txn.CompleteAbort)
	// T9: the epoch is that of the next transaction too, and only the coordinator knows
	// that the partition is not in it.
	r.seq = 1
	wantCode(t, "late Produce", c.produceTxn(9, "tid", 0, r, "late").ErrorCode, kafka.InvalidTxnState)
	if v, lso := k.committed(0); v != nil || lso != 2 {
		t.Errorf("%q, last stable offset %d", v, lso)
	}
	// Another producer with the transactional id fences this one.
	q := c.initTxn(4, "tid", 60000)
	if q.ErrorCode != 0 || q.ProducerEpoch != 1 {
		t.Fatalf("%+v", q)
	}
	wantCode(t, "zombie", c.addToTxn(3, "tid", p.ProducerID, 0, 0)[0].ErrorCode, kafka.ProducerFenced)
	wantCode(t, "zombie's Produce", c.produceTxn(9, "tid", 0, r, "late").ErrorCode, kafka.InvalidProducerEpoch)
	wantCode(t, "zombie's EndTxn", c.endTxn(1, "tid", p.ProducerID, 0, true).ErrorCode, kafka.InvalidProducerEpoch)
}

// TestTransactionTimesOut: nobody ends the transaction, so its coordinator does, and
// the last stable offset moves on.
func TestTransactionTimesOut(t *testing.T) {
	k := newTxnKit(t, 2, nil)
	c := k.c
	p := c.initTxn(5, "tid", 5000)
	r := rec{pid: p.ProducerID}
	wantCode(t, "Produce", c.produceTxn(12, "tid", 0, r, "a").ErrorCode, nil)
	k.clock.Advance(5_000_000_000)
	if d := c.describeTxn("tid"); d.State != "Ongoing" {
		t.Fatalf("%+v", d)
	}
	k.clock.Advance(2_000_000)
	k.becomes("tid", txn.CompleteAbort)
	if v, lso := k.committed(0); v != nil || lso != 2 {
		t.Errorf("%q, last stable offset %d", v, lso)
	}
	r.seq = 1
	wantCode(t, "late Produce", c.produceTxn(12, "tid", 0, r, "b").ErrorCode, kafka.InvalidProducerEpoch)
	wantCode(t, "late EndTxn", c.endTxn(5, "tid", p.ProducerID, 0, true).ErrorCode, kafka.InvalidTxnState)
}

// TestOffsetsInTransactions: offsets are verified, or added, like records, and end with
// their transaction.
func TestOffsetsInTransactions(t *testing.T) {
	k := newTxnKit(t, 2, nil)
	c := k.c
	p := c.initTxn(5, "tid", 60000)
	commit := func(version int16, epoch int16) int16 {
		req := kmsg.NewPtrTxnOffsetCommitRequest()
		req.Version, req.TransactionalID, req.Group, req.ProducerID, req.ProducerEpoch = version, "tid", "g", p.ProducerID, epoch
		rt := kmsg.NewTxnOffsetCommitRequestTopic()
		rt.Topic, rt.Partitions = "t", []kmsg.TxnOffsetCommitRequestTopicPartition{{Offset: 7}}
		req.Topics = append(req.Topics, rt)
		return c.do(req).(*kmsg.TxnOffsetCommitResponse).Topics[0].Partitions[0].ErrorCode
	}
	wantCode(t, "not added, v3", commit(3, 0), kafka.InvalidTxnState)
	wantCode(t, "not added, v4", commit(4, 0), kafka.TransactionAbortable)
	add := kmsg.NewPtrAddOffsetsToTxnRequest()
	add.Version, add.TransactionalID, add.ProducerID, add.Group = 4, "tid", p.ProducerID, "g"
	wantCode(t, "AddOffsetsToTxn", c.do(add).(*kmsg.AddOffsetsToTxnResponse).ErrorCode, nil)
	wantCode(t, "added", commit(3, 0), nil)
	wantCode(t, "added", commit(3, 0), nil)
	if d := c.describeTxn("tid"); d.State != "Ongoing" || d.Topics[0].Topic != kafka.OffsetsTopic {
		t.Fatalf("%+v", d)
	}
	wantCode(t, "EndTxn", c.endTxn(5, "tid", p.ProducerID, 0, true).ErrorCode, nil)
	k.becomes("tid", txn.CompleteCommit)
	wantCode(t, "zombie", commit(5, 0), kafka.InvalidProducerEpoch)
	wantCode(t, "added by the broker", commit(5, 1), nil)
	wantCode(t, "EndTxn", c.endTxn(5, "tid", p.ProducerID, 1, false).ErrorCode, nil)
	k.becomes("tid", txn.CompleteAbort)
	k.groups.Close()
	if !reflect.DeepEqual(k.offsets.ended, []string{"commit", "abort"}) || len(k.offsets.pending) != 0 {
		t.Errorf("ended %q, pending %v", k.offsets.ended, k.offsets.pending)
	}
}

// TestOffsetsInATransactionThatAreNotReplicatedInTime: the wait for the commit ends like
// that of every other request to a coordinator. The code of the wait itself is one that
// clients do not expect of it.
func TestOffsetsInATransactionThatAreNotReplicatedInTime(t *testing.T) {
	k := newTxnKit(t, 2, nil)
	p := k.c.initTxn(5, "tid", 60000)
	k.change(k.img.Load().Topic(kafka.OffsetsTopic).ID, 0, func(r *records.PartitionChangeRecord) {
		r.Replicas, r.ISR, r.Directories = []int32{1, 2}, []int32{1, 2}, make([]kafka.UUID, 2)
	})
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.Version, req.TransactionalID, req.Group, req.ProducerID = 5, "tid", "g", p.ProducerID
	rt := kmsg.NewTxnOffsetCommitRequestTopic()
	rt.Topic, rt.Partitions = "t", []kmsg.TxnOffsetCommitRequestTopicPartition{{Offset: 7}}
	req.Topics = append(req.Topics, rt)
	answer := make(chan kmsg.Response, 1)
	k.c.send(req)
	go func() {
		resp, err := k.c.tryReceive(req)
		if err != nil {
			t.Error(err)
		}
		answer <- resp
	}()
	eventually(t, "the offset is appended", func() bool { return k.reps.Get(kafka.OffsetsTopic, 0).Log().LogEndOffset() == 1 })
	eventually(t, "there is an answer", func() bool {
		k.clock.Advance(time.Second)
		return len(answer) == 1
	})
	resp := <-answer
	wantCode(t, "TxnOffsetCommit", resp.(*kmsg.TxnOffsetCommitResponse).Topics[0].Partitions[0].ErrorCode, kafka.CoordinatorNotAvailable)
}

// TestOffsetsOfUnknownPartitions: partitions that do not exist are told apart before
// anybody looks at the producer.
func TestOffsetsOfUnknownPartitions(t *testing.T) {
	k := newTxnKit(t, 2, nil)
	for v := int16(0); v <= 6; v++ {
		for _, known := range []bool{false, true} {
			req := kmsg.NewPtrTxnOffsetCommitRequest()
			req.Version, req.TransactionalID, req.Group, req.ProducerID = v, "nobody", "g", 77
			rt := kmsg.NewTxnOffsetCommitRequestTopic()
			rt.Topic, rt.TopicID = "t", k.img.Load().Topic("t").ID
			rt.Partitions = []kmsg.TxnOffsetCommitRequestTopicPartition{{Partition: 99}}
			if known {
				rt.Partitions = append(rt.Partitions, kmsg.TxnOffsetCommitRequestTopicPartition{Partition: 0})
			}
			strange := kmsg.NewTxnOffsetCommitRequestTopic()
			strange.Topic, strange.TopicID, strange.Partitions = "nope", kafka.TopicID{9}, rt.Partitions[:1]
			req.Topics = append(req.Topics, rt, strange)
			resp := k.c.do(req).(*kmsg.TxnOffsetCommitResponse)
			name := fmt.Sprintf("v%d, known %v", v, known)
			wantCode(t, name, resp.Topics[0].Partitions[0].ErrorCode, kafka.UnknownTopicOrPartition)
			want := kafka.UnknownTopicOrPartition
			if v >= 6 {
				want = kafka.UnknownTopicID
			}
			wantCode(t, name+", another topic", resp.Topics[1].Partitions[0].ErrorCode, want)
			if known {
				wantCode(t, name+", the producer", resp.Topics[0].Partitions[1].ErrorCode, kafka.InvalidProducerIDMapping)
			}
		}
	}
}

// TestWriteTxnMarkers: what an administrator does to a hanging transaction, and what
// zombies get.
func TestWriteTxnMarkers(t *testing.T) {
	k := newTxnKit(t, 1, nil)
	c := k.c
	p := c.initTxn(4, "tid", 60000)
	c.addToTxn(3, "tid", p.ProducerID, 0, 0)
	wantCode(t, "Produce", c.produceTxn(9, "tid", 0, rec{pid: p.ProducerID}, "a").ErrorCode, nil)
	mark := func(epoch int16, coordinator int32, topic string, partition int32) int16 {
		req := kmsg.NewPtrWriteTxnMarkersRequest()
		req.Version = 1
		m := kmsg.NewWriteTxnMarkersRequestMarker()
		m.ProducerID, m.ProducerEpoch, m.CoordinatorEpoch = p.ProducerID, epoch, coordinator
		mt := kmsg.NewWriteTxnMarkersRequestMarkerTopic()
		mt.Topic, mt.Partitions = topic, []int32{partition}
		m.Topics = append(m.Topics, mt)
		req.Markers = append(req.Markers, m)
		return c.do(req).(*kmsg.WriteTxnMarkersResponse).Markers[0].Topics[0].Partitions[0].ErrorCode
	}
	wantCode(t, "no such topic", mark(0, 3, "u", 0), kafka.UnknownTopicOrPartition)
	wantCode(t, "abort", mark(0, 3, "t", 0), nil)
	if v, lso := k.committed(0); v != nil || lso != 2 {
		t.Errorf("%q, last stable offset %d", v, lso)
	}
	if ps := k.producers(0); len(ps) != 1 || ps[0].CurrentTxnStartOffset != -1 || ps[0].CoordinatorEpoch != 3 {
		t.Errorf("%+v", ps)
	}
	wantCode(t, "earlier coordinator", mark(0, 2, "t", 0), kafka.TransactionCoordinatorFenced)
	wantCode(t, "later epoch", mark(1, 3, "t", 0), nil)
	wantCode(t, "earlier epoch", mark(0, 3, "t", 0), kafka.InvalidProducerEpoch)
}

// TestTransactionsSurviveRestart: the coordinator's state and the partitions' are read
// from the logs.
func TestTransactionsSurviveRestart(t *testing.T) {
	k := newTxnKit(t, 2, nil)
	p := k.c.initTxn(5, "tid", 60000)
	wantCode(t, "Produce", k.c.produceTxn(12, "tid", 0, rec{pid: p.ProducerID}, "a").ErrorCode, nil)
	k.api.Transactions.Close()
	k.groups.Close()
	k.restart()
	k.ready()
	if d := k.c.describeTxn("tid"); d.State != "Ongoing" || d.ProducerID != p.ProducerID {
		t.Fatalf("%+v", d)
	}
	if _, lso := k.committed(0); lso != 0 {
		t.Fatalf("last stable offset %d", lso)
	}
	wantCode(t, "Produce", k.c.produceTxn(12, "tid", 0, rec{pid: p.ProducerID, seq: 1}, "b").ErrorCode, nil)
	wantCode(t, "EndTxn", k.c.endTxn(5, "tid", p.ProducerID, 0, true).ErrorCode, nil)
	k.becomes("tid", txn.CompleteCommit)
	if v, lso := k.committed(0); !reflect.DeepEqual(v, []string{"a", "b"}) || lso != 3 {
		t.Errorf("%q, last stable offset %d", v, lso)
	}
}

// TestListTransactions looks through the filters.
func TestListTransactions(t *testing.T) {
	k := newTxnKit(t, 2, nil)
	k.c.initTxn(5, "one", 60000)
	p := k.c.initTxn(5, "two", 60000)
	wantCode(t, "Produce", k.c.produceTxn(12, "two", 0, rec{pid: p.ProducerID}, "a").ErrorCode, nil)
	list := func(f func(*kmsg.ListTransactionsRequest)) (ids []string, resp *kmsg.ListTransactionsResponse) {
		req := kmsg.NewPtrListTransactionsRequest()
		req.Version = 2
		f(req)
		resp = k.c.do(req).(*kmsg.ListTransactionsResponse)
		for _, s := range resp.TransactionStates {
			ids = append(ids, s.TransactionalID)
		}
		return ids, resp
	}
	if ids, _ := list(func(*kmsg.ListTransactionsRequest) {}); !reflect.DeepEqual(ids, []string{"one", "two"}) {
		t.Errorf("%q", ids)
	}
	ids, resp := list(func(r *kmsg.ListTransactionsRequest) { r.StateFilters = []string{"Ongoing", "Odd"} })
	if !reflect.DeepEqual(ids, []string{"two"}) || !reflect.DeepEqual(resp.UnknownStateFilters, []string{"Odd"}) {
		t.Errorf("%q, unknown %q", ids, resp.UnknownStateFilters)
	}
	bad := "("
	_, resp = list(func(r *kmsg.ListTransactionsRequest) { r.TransactionalIDPattern = &bad })
	wantCode(t, "pattern", resp.ErrorCode, kafka.InvalidRegularExpression)
	wantCode(t, "unknown id", k.c.describeTxn("three").ErrorCode, kafka.TransactionalIDNotFound)
}
