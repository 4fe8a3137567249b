package brokerapi

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/records"
)

func TestProduceEveryVersion(t *testing.T) {
	k := newKit(t, nil)
	id := k.topic1("t")
	c := k.client()
	for v := int16(3); v <= 13; v++ {
		req := produceReq(v, "t", id, 0, -1, plain.encode("a", "b"))
		p := c.do(req).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
		if p.ErrorCode != 0 || p.BaseOffset != int64(v-3)*2 {
			t.Fatalf("v%d: %+v", v, p)
		}
		if v >= 2 && p.LogAppendTime != -1 {
			t.Errorf("v%d: log append time %d of a CreateTime topic", v, p.LogAppendTime)
		}
	}
}

func TestProduceAnswersErrors(t *testing.T) {
	k := newKit(t, nil)
	id := k.topic1("t", "max.message.bytes", "300")
	k.topic("follower", 1, []int32{2, 1})
	k.topic("elsewhere", 1, []int32{2})
	k.topic1("__consumer_offsets")
	good := plain.encode("v")
	corrupt := append([]byte(nil), good...)
	corrupt[len(corrupt)-1] ^= 1
	two := append(append([]byte(nil), good...), good...)
	txn := plain
	txn.pid, txn.epoch, txn.seq, txn.txn = 5, 0, 0, true
	for _, tc := range []struct {
		name    string
		topic   string
		part    int32
		version int16
		acks    int16
		recs    []byte
		want    *kafka.Code
	}{
		{"unknown topic", "nope", 0, 12, 1, good, kafka.UnknownTopicOrPartition},
		{"unknown partition", "t", 1, 12, 1, good, kafka.UnknownTopicOrPartition},
		{"negative partition", "t", -1, 12, 1, good, kafka.UnknownTopicOrPartition},
		{"follower", "follower", 0, 12, 1, good, kafka.NotLeaderOrFollower},
		{"no replica here", "elsewhere", 0, 12, 1, good, kafka.NotLeaderOrFollower},
		{"bad acks", "t", 0, 12, 2, good, kafka.InvalidRequiredAcks},
		{"bad negative acks", "t", 0, 12, -2, good, kafka.InvalidRequiredAcks},
		{"corrupt", "t", 0, 12, 1, corrupt, kafka.CorruptMessage},
		{"too large", "t", 0, 12, 1, plain.encode(fmt.Sprintf("%300d", 1)), kafka.MessageTooLarge},
		{"nothing", "t", 0, 12, 1, nil, kafka.InvalidRecord},
		{"two batches", "t", 0, 12, 1, two, kafka.InvalidRecord},
		{"internal topic", "__consumer_offsets", 0, 12, 1, good, kafka.InvalidTopicException},
		{"id of no topic", "", 0, 13, 1, good, kafka.UnknownTopicID},
		{"transactional without id", "t", 0, 12, 1, txn.encode("v"), kafka.TransactionalIDAuthorizationFailed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := k.client()
			req := produceReq(tc.version, tc.topic, kafka.TopicID{1, 2, 3}, tc.part, tc.acks, tc.recs)
			p := c.do(req).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
			wantCode(t, tc.name, p.ErrorCode, tc.want)
			if p.BaseOffset != -1 {
				t.Errorf("base offset %d", p.BaseOffset)
			}
		})
	}
	if end := k.reps.GetByID(id, 0).Log().LogEndOffset(); end != 0 {
		t.Fatalf("refused records are in the log: it ends at %d", end)
	}
}

func TestProduceToFollowerNamesTheLeader(t *testing.T) {
	k := newKit(t, nil)
	k.topic("t", 1, []int32{2, 1})
	c := k.client()
	resp := c.do(produceReq(12, "t", kafka.TopicID{}, 0, 1, plain.encode("v"))).(*kmsg.ProduceResponse)
	p := resp.Topics[0].Partitions[0]
	if p.CurrentLeader.LeaderID != 2 || p.CurrentLeader.LeaderEpoch != 0 {
		t.Fatalf("leader %+v", p.CurrentLeader)
	}
	if len(resp.Brokers) != 1 || resp.Brokers[0].NodeID != 2 || resp.Brokers[0].Host != "host2" || resp.Brokers[0].Port != 9092 {
		t.Fatalf("brokers %+v", resp.Brokers)
	}
}

func TestTransactionalProduceWithoutCoordinatorIsRetried(t *testing.T) {
	k := newKit(t, nil)
	k.topic("t", 2, []int32{1})
	c := k.client()
	r := rec{pid: 5, txn: true, ts: testEpochMs}
	req := produceReq(12, "t", kafka.TopicID{}, 0, -1, r.encode("v"))
	txnID := "x"
	req.TransactionID = &txnID
	p := c.do(req).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
	wantCode(t, "transactional", p.ErrorCode, kafka.NotEnoughReplicas)
	if p.ErrorMessage == nil || *p.ErrorMessage != "Unable to verify the partition has been added to the transaction. Underlying error: COORDINATOR_NOT_AVAILABLE" {
		t.Errorf("message %v", p.ErrorMessage)
	}
	// Two producers in one transactional request.
	r.pid = 6
	part := kmsg.NewProduceRequestTopicPartition()
	part.Partition, part.Records = 1, r.encode("v")
	req.Topics[0].Partitions = append(req.Topics[0].Partitions, part)
	for _, p := range c.do(req).(*kmsg.ProduceResponse).Topics[0].Partitions {
		wantCode(t, "two producers", p.ErrorCode, kafka.InvalidProducerIDMapping)
	}
	if end := k.reps.Get("t", 0).Log().LogEndOffset(); end != 0 {
		t.Fatalf("the log ends at %d", end)
	}
}

func TestProduceAcksNoneAnswersNothingOrCloses(t *testing.T) {
	k := newKit(t, nil)
	k.topic1("t")
	c := k.client()
	c.send(produceReq(12, "t", kafka.TopicID{}, 0, 0, plain.encode("a")))
	// The next answer belongs to the next request.
	if off := c.mustProduce("t", 0, "b"); off != 1 {
		t.Fatalf("offset %d", off)
	}
	bad := produceReq(12, "nope", kafka.TopicID{}, 0, 0, plain.encode("a"))
	c.send(bad)
	if resp, err := c.tryReceive(bad); err == nil {
		t.Fatalf("the connection lives: %+v", resp)
	}
}

func TestMalformedProduceClosesTheConnection(t *testing.T) {
	k := newKit(t, nil)
	c := k.client()
	b := frame(produceReq(12, "t", kafka.TopicID{}, 0, 1, plain.encode("a")), 1, "x")
	b[len(b)-1] = 0xff // a tag count without tags
	if _, err := c.c.Write(b); err != nil {
		t.Fatal(err)
	}
	if _, err := c.tryReceive(kmsg.NewPtrProduceRequest()); err == nil {
		t.Fatal("a malformed request was answered")
	}
}

func TestLogAppendTime(t *testing.T) {
	k := newKit(t, nil)
	k.topic1("t", "message.timestamp.type", "LogAppendTime")
	k.clock.Advance(5 * time.Second)
	p := k.client().produce("t", 0, -1, plain.encode("a"))
	if p.ErrorCode != 0 || p.LogAppendTime != testEpochMs+5000 {
		t.Fatalf("%+v", p)
	}
}

func TestTimestampsOutOfRange(t *testing.T) {
	k := newKit(t, nil)
	k.topic1("t", "message.timestamp.before.max.ms", "1000", "message.timestamp.after.max.ms", "2000")
	c := k.client()
	for _, tc := range []struct {
		ts   int64
		want *kafka.Code
	}{
		{testEpochMs, nil}, {testEpochMs - 1000, nil}, {testEpochMs + 2000, nil},
		{testEpochMs - 1001, kafka.InvalidTimestamp}, {testEpochMs + 2001, kafka.InvalidTimestamp},
	} {
		r := plain
		r.ts = tc.ts
		p := c.produce("t", 0, -1, r.encode("v"))
		wantCode(t, fmt.Sprint(tc.ts-testEpochMs), p.ErrorCode, tc.want)
		if tc.want != nil && (len(p.ErrorRecords) != 1 || p.ErrorMessage == nil) {
			t.Errorf("record errors %+v, message %v", p.ErrorRecords, p.ErrorMessage)
		}
	}
}

func TestCompactedTopicNeedsKeys(t *testing.T) {
	k := newKit(t, nil)
	k.topic1("t", "cleanup.policy", "compact")
	b := batch.NewBuilder(0)
	b.Append(testEpochMs, []byte("k"), []byte("v"), nil)
	b.Append(testEpochMs, nil, []byte("v"), nil)
	recs, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	p := k.client().produce("t", 0, -1, recs)
	wantCode(t, "no key", p.ErrorCode, kafka.InvalidRecord)
	if len(p.ErrorRecords) != 1 || p.ErrorRecords[0].RelativeOffset != 1 {
		t.Fatalf("record errors %+v", p.ErrorRecords)
	}
}

// idempotent sends one batch of a producer and returns the answer.
func (c *client) idempotent(pid int64, epoch int16, seq int32, n int) kmsg.ProduceResponseTopicPartition {
	c.k.t.Helper()
	r := rec{pid: pid, epoch: epoch, seq: seq, ts: testEpochMs}
	vals := make([]string, n)
	for i := range vals {
		vals[i] = fmt.Sprintf("%d/%d", pid, seq+int32(i))
	}
	return c.produce("t", 0, -1, r.encode(vals...))
}

// TestDuplicatesOfTheLastFiveBatches is trap T1: the last five batches of a producer
// are known again, with their first offsets; an older one is not, and is not appended
// either. A restart finds the last batch at least: more is not in a producer snapshot.
func TestDuplicatesOfTheLastFiveBatches(t *testing.T) {
	k := newKit(t, nil)
	k.topic1("t")
	c := k.client()
	for i := range int32(6) {
		if p := c.idempotent(7, 0, i*2, 2); p.ErrorCode != 0 || p.BaseOffset != int64(i)*2 {
			t.Fatalf("batch %d: %+v", i, p)
		}
	}
	check := func(when string, known int32) {
		t.Helper()
		for i := int32(1); i < 6; i++ {
			p := c.idempotent(7, 0, i*2, 2)
			if p.ErrorCode == 0 && p.BaseOffset != int64(i)*2 || p.ErrorCode != 0 && i >= 6-known {
				t.Errorf("%s: duplicate of batch %d: %+v", when, i, p)
			}
		}
		// Kafka's answer to a batch that is older than what it remembers.
		wantCode(t, when+": sixth", c.idempotent(7, 0, 0, 2).ErrorCode, kafka.OutOfOrderSequenceNumber)
		if end := k.reps.Get("t", 0).Log().LogEndOffset(); end != 12 {
			t.Fatalf("%s: the log ends at %d", when, end)
		}
	}
	check("while running", 5)
	k.restart()
	c = k.client()
	check("after a restart", 1)
	wantCode(t, "gap", c.idempotent(7, 0, 13, 1).ErrorCode, kafka.OutOfOrderSequenceNumber)
	wantCode(t, "old epoch", func() int16 { c.idempotent(8, 3, 0, 1); return c.idempotent(8, 2, 1, 1).ErrorCode }(), kafka.InvalidProducerEpoch)
}

// TestSequencesWrap is trap T4: after 2^31-1 comes 0, within a batch and between them.
func TestSequencesWrap(t *testing.T) {
	k := newKit(t, nil)
	k.topic1("t")
	c := k.client()
	const top = math.MaxInt32
	if p := c.idempotent(7, 0, top-2, 2); p.ErrorCode != 0 { // an unknown producer may begin anywhere
		t.Fatalf("first: %+v", p)
	}
	if p := c.idempotent(7, 0, top, 3); p.ErrorCode != 0 || p.BaseOffset != 2 { // MAX, 0, 1
		t.Fatalf("spanning: %+v", p)
	}
	if p := c.idempotent(7, 0, 2, 1); p.ErrorCode != 0 || p.BaseOffset != 5 {
		t.Fatalf("after: %+v", p)
	}
	if p := c.idempotent(7, 0, top, 3); p.ErrorCode != 0 || p.BaseOffset != 2 {
		t.Fatalf("duplicate across the wrap: %+v", p)
	}
	wantCode(t, "gap after the wrap", c.idempotent(7, 0, 4, 1).ErrorCode, kafka.OutOfOrderSequenceNumber)
	wantCode(t, "ends at the largest", c.idempotent(8, 0, top, 1).ErrorCode, nil)
	wantCode(t, "one too far", c.idempotent(8, 0, 1, 1).ErrorCode, kafka.OutOfOrderSequenceNumber)
	wantCode(t, "begins at 0", c.idempotent(8, 0, 0, 1).ErrorCode, nil)
}

func TestMinInsyncReplicas(t *testing.T) {
	k := newKit(t, nil)
	id := k.topic("t", 1, []int32{1, 2}, "min.insync.replicas", "2")
	k.change(id, 0, func(r *records.PartitionChangeRecord) { r.ISR = []int32{1} })
	c := k.client()
	p := c.produce("t", 0, -1, plain.encode("v"))
	wantCode(t, "acks=all", p.ErrorCode, kafka.NotEnoughReplicas)
	p = c.produce("t", 0, 1, plain.encode("v"))
	wantCode(t, "acks=1", p.ErrorCode, nil)
}

// TestAcksAllWaitsForTheFollower parks the producer until the follower fetches beyond
// its records, and times out without.
func TestAcksAllWaitsForTheFollower(t *testing.T) {
	k := newKit(t, nil)
	k.topic("t", 1, []int32{1, 2})
	c, follower := k.client(), k.client()
	req := produceReq(12, "t", kafka.TopicID{}, 0, -1, plain.encode("a"))
	c.send(req)
	eventually(t, "the append waits", func() bool { return k.reps.Stats.DelayedProduceRequests.Load() == 1 })
	fetch := fetchReq("t", 0, 0)
	fetch.ReplicaID, fetch.MaxWaitMillis = 2, 0
	for off := range int64(2) {
		fetch.Topics[0].Partitions[0].FetchOffset = off
		if r := follower.do(fetch).(*kmsg.FetchResponse).Topics[0].Partitions[0]; r.ErrorCode != 0 {
			t.Fatalf("follower: %v", kafka.CodeForNum(r.ErrorCode))
		}
	}
	p := c.receive(req).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
	if p.ErrorCode != 0 || p.BaseOffset != 0 {
		t.Fatalf("%+v", p)
	}
	c.send(req)
	eventually(t, "the append waits", func() bool { return k.reps.Stats.DelayedProduceRequests.Load() == 1 })
	k.clock.Advance(1100 * time.Millisecond)
	p = c.receive(req).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
	wantCode(t, "no follower", p.ErrorCode, kafka.RequestTimedOut)
	if n := k.wheel.Len(); n != 0 {
		t.Errorf("%d deadlines are left in the wheel", n)
	}
}

// TestLosingLeadershipAnswersWaiters: who waits for a follower is told at once.
func TestLosingLeadershipAnswersWaiters(t *testing.T) {
	k := newKit(t, nil)
	id := k.topic("t", 1, []int32{1, 2})
	c := k.client()
	req := produceReq(12, "t", kafka.TopicID{}, 0, -1, plain.encode("a"))
	c.send(req)
	eventually(t, "the append waits", func() bool { return k.reps.Stats.DelayedProduceRequests.Load() == 1 })
	k.change(id, 0, func(r *records.PartitionChangeRecord) { r.Leader = 2 })
	p := c.receive(req).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
	wantCode(t, "leadership lost", p.ErrorCode, kafka.NotLeaderOrFollower)
}

// TestOldMessageFormatsAreConverted sends a message of format v1 by Produce v2 and
// reads it back in all formats.
func TestOldMessageFormatsAreConverted(t *testing.T) {
	k := newKit(t, nil)
	k.topic1("t")
	c := k.client()
	v2 := plain.encode("old", "older")
	v1, err := batch.DownConvert(v2, batch.MagicV1, 0, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	p := c.do(produceReq(2, "t", kafka.TopicID{}, 0, 1, v1)).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
	if p.ErrorCode != 0 || p.BaseOffset != 0 {
		t.Fatalf("%+v", p)
	}
	p = c.do(produceReq(3, "t", kafka.TopicID{}, 0, 1, v1)).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
	wantCode(t, "format v1 by Produce v3", p.ErrorCode, kafka.InvalidRecord)
	for version, magic := range map[int16]byte{0: 0, 1: 0, 2: 1, 3: 1, 4: 2, 12: 2} {
		req := fetchReq("t", 1, 0)
		req.Version = version
		got := c.do(req).(*kmsg.FetchResponse).Topics[0].Partitions[0]
		if got.ErrorCode != 0 || len(got.RecordBatches) < 17 || got.RecordBatches[16] != magic {
			t.Fatalf("Fetch v%d: %v, records %x", version, kafka.CodeForNum(got.ErrorCode), got.RecordBatches)
		}
		if v := values(t, got.RecordBatches, 1); len(v) != 1 || v[0] != "older" {
			t.Errorf("Fetch v%d: %q", version, v)
		}
	}
}
