package brokerapi

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/records"
)

// fetched is the first partition of the first topic of an answer.
func fetched(t testing.TB, resp kmsg.Response) kmsg.FetchResponseTopicPartition {
	t.Helper()
	r := resp.(*kmsg.FetchResponse)
	if r.ErrorCode != 0 || len(r.Topics) == 0 {
		t.Fatalf("answer %v with %d topics", kafka.CodeForNum(r.ErrorCode), len(r.Topics))
	}
	return r.Topics[0].Partitions[0]
}

func TestFetchEveryVersion(t *testing.T) {
	k := newKit(t, nil)
	id := k.topic1("t")
	c := k.client()
	c.mustProduce("t", 0, "a", "b")
	for v := int16(4); v <= 18; v++ {
		req := fetchReq("t", 0, 0)
		req.Version, req.Topics[0].TopicID = v, id
		p := fetched(t, c.do(req))
		if got := values(t, p.RecordBatches, 0); strings.Join(got, "") != "ab" || p.HighWatermark != 2 {
			t.Fatalf("v%d: %q, high watermark %d", v, got, p.HighWatermark)
		}
		if v >= 5 && p.LogStartOffset != 0 || p.LastStableOffset != 2 {
			t.Fatalf("v%d: %+v", v, p)
		}
	}
}

func TestFetchAnswersErrors(t *testing.T) {
	k := newKit(t, nil)
	id := k.topic1("t")
	k.topic("follower", 1, []int32{2, 1})
	k.topic("elsewhere", 1, []int32{2})
	c := k.client()
	c.mustProduce("t", 0, "a")
	for _, tc := range []struct {
		name    string
		topic   string
		id      kafka.TopicID
		part    int32
		version int16
		offset  int64
		want    *kafka.Code
	}{
		{"unknown topic", "nope", id, 0, 12, 0, kafka.UnknownTopicOrPartition},
		{"unknown id", "", kafka.TopicID{9}, 0, 13, 0, kafka.UnknownTopicID},
		{"unknown partition of an id", "", id, 3, 13, 0, kafka.UnknownTopicOrPartition},
		{"follower, old client", "follower", id, 0, 10, 0, kafka.NotLeaderOrFollower},
		{"follower, new client", "follower", id, 0, 11, 0, nil},
		{"no replica here", "elsewhere", id, 0, 12, 0, kafka.NotLeaderOrFollower},
		{"below the start", "t", id, 0, 12, -1, kafka.OffsetOutOfRange},
		{"beyond the end", "t", id, 0, 12, 2, kafka.OffsetOutOfRange},
	} {
		t.Run(tc.name, func(t *testing.T) {
			req := fetchReq(tc.topic, tc.offset, tc.part)
			req.Version, req.Topics[0].TopicID = tc.version, tc.id
			if tc.want != nil {
				req.IsolationLevel = 1
			}
			req.MaxWaitMillis = 0
			p := fetched(t, k.client().do(req))
			wantCode(t, tc.name, p.ErrorCode, tc.want)
			if tc.want != nil && (p.HighWatermark != -1 || len(p.RecordBatches) != 0) {
				t.Errorf("%+v", p)
			}
			// What is unknown has an empty list of aborted transactions, and not null.
			unknown := tc.want == kafka.UnknownTopicOrPartition || tc.want == kafka.UnknownTopicID
			if (p.AbortedTransactions != nil) != unknown {
				t.Errorf("aborted %v", p.AbortedTransactions)
			}
		})
	}
}

// TestFetchNamesTheLeaderToConsumers: where the leader is reached only they have to be
// told, brokers know.
func TestFetchNamesTheLeaderToConsumers(t *testing.T) {
	k := newKit(t, nil)
	id := k.topic("elsewhere", 1, []int32{2})
	for replicaID, want := range map[int32]int{-1: 1, 5: 0} {
		req := fetchReq("elsewhere", 0, 0)
		req.Version, req.Topics[0].TopicID, req.ReplicaID, req.ReplicaState.ID = 16, id, replicaID, replicaID
		resp := k.client().do(req).(*kmsg.FetchResponse)
		p := resp.Topics[0].Partitions[0]
		wantCode(t, "a partition elsewhere", p.ErrorCode, kafka.NotLeaderOrFollower)
		if len(resp.Brokers) != want || p.CurrentLeader.LeaderID != 2 {
			t.Errorf("replica %d: leader %d, brokers %v", replicaID, p.CurrentLeader.LeaderID, resp.Brokers)
		}
	}
}

// TestEpochsAreChecked is trap R3: requests with no epoch, an old, the present and a
// newer one, to leader, follower and former leader.
func TestEpochsAreChecked(t *testing.T) {
	k := newKit(t, nil)
	lead := k.topic("leader", 1, []int32{1, 2})
	k.topic("follower", 1, []int32{2, 1})
	ex := k.topic("former", 1, []int32{1, 2})
	for range 5 { // each change of leader is an epoch
		k.change(lead, 0, func(r *records.PartitionChangeRecord) { r.Leader = 1 })
		k.change(ex, 0, func(r *records.PartitionChangeRecord) { r.Leader = 1 })
	}
	k.change(ex, 0, func(r *records.PartitionChangeRecord) { r.Leader = 2 })
	for _, tc := range []struct {
		topic   string
		current int32
		leads   bool
	}{{"leader", 5, true}, {"follower", 0, false}, {"former", 6, false}} {
		for delta, want := range map[int32]*kafka.Code{-1: kafka.FencedLeaderEpoch, 0: nil, 1: kafka.UnknownLeaderEpoch, 100: nil} {
			epoch := tc.current + delta
			if delta == 100 {
				epoch = -1
			}
			if epoch < -1 || delta == -1 && tc.current == 0 {
				continue
			}
			wantLeader := want
			if want == nil && !tc.leads {
				wantLeader = kafka.NotLeaderOrFollower
			}
			what := fmt.Sprintf("%s with epoch %d", tc.topic, epoch)
			c := k.client()

			f := fetchReq(tc.topic, 0, 0)
			f.MaxWaitMillis, f.Topics[0].Partitions[0].CurrentLeaderEpoch = 0, epoch
			wantCode(t, "Fetch from "+what, fetched(t, c.do(f)).ErrorCode, want) // v12 reads from followers
			f.Version = 10
			wantCode(t, "Fetch v10 from "+what, fetched(t, c.do(f)).ErrorCode, wantLeader)

			l := kmsg.NewPtrListOffsetsRequest()
			l.Version, l.ReplicaID = 6, -1
			lt := kmsg.NewListOffsetsRequestTopic()
			lp := kmsg.NewListOffsetsRequestTopicPartition()
			lp.CurrentLeaderEpoch, lp.Timestamp = epoch, -2
			lt.Topic, lt.Partitions = tc.topic, []kmsg.ListOffsetsRequestTopicPartition{lp}
			l.Topics = append(l.Topics, lt)
			wantCode(t, "ListOffsets of "+what, c.do(l).(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0].ErrorCode, wantLeader)

			e := kmsg.NewPtrOffsetForLeaderEpochRequest()
			e.Version = 4
			et := kmsg.NewOffsetForLeaderEpochRequestTopic()
			ep := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
			ep.CurrentLeaderEpoch, ep.LeaderEpoch = epoch, 0
			et.Topic, et.Partitions = tc.topic, []kmsg.OffsetForLeaderEpochRequestTopicPartition{ep}
			e.Topics = append(e.Topics, et)
			wantCode(t, "OffsetForLeaderEpoch of "+what, c.do(e).(*kmsg.OffsetForLeaderEpochResponse).Topics[0].Partitions[0].ErrorCode, wantLeader)
		}
	}
}

func TestFetchWaitsForData(t *testing.T) {
	k := newKit(t, nil)
	k.topic("t", 2, []int32{1})
	c, producer := k.client(), k.client()
	req := fetchReq("t", 0, 0, 1)
	c.send(req)
	k.parked(1)
	producer.mustProduce("t", 1, "a")
	resp := c.receive(req).(*kmsg.FetchResponse)
	if v := values(t, resp.Topics[0].Partitions[1].RecordBatches, 0); len(v) != 1 || v[0] != "a" {
		t.Fatalf("%q", v)
	}
	k.parked(0)
	if n := k.wheel.Len(); n != 0 {
		t.Errorf("%d deadlines are left in the wheel", n)
	}
}

func TestFetchEndsAtItsDeadline(t *testing.T) {
	k := newKit(t, nil)
	k.topic1("t")
	c := k.client()
	req := fetchReq("t", 0, 0)
	c.send(req)
	k.parked(1)
	k.clock.Advance(499 * time.Millisecond)
	if n := k.reps.Stats.DelayedFetchRequests.Load(); n != 1 {
		t.Fatalf("%d fetches wait before the deadline", n)
	}
	k.clock.Advance(3 * time.Millisecond)
	if p := fetched(t, c.receive(req)); p.ErrorCode != 0 || len(p.RecordBatches) != 0 || p.HighWatermark != 0 {
		t.Fatalf("%+v", p)
	}
}

func TestFetchWaitsForMinBytes(t *testing.T) {
	k := newKit(t, nil)
	k.topic("t", 2, []int32{1})
	c, producer := k.client(), k.client()
	one := len(plain.encode("a"))
	req := fetchReq("t", 0, 0, 1)
	req.MinBytes = int32(3 * one)
	producer.mustProduce("t", 0, "a")
	c.send(req)
	k.parked(1)
	producer.mustProduce("t", 1, "b")
	if n := k.reps.Stats.DelayedFetchRequests.Load(); n != 1 {
		t.Fatal("two of three batches woke the fetch")
	}
	producer.mustProduce("t", 1, "c")
	resp := c.receive(req).(*kmsg.FetchResponse)
	got := append(values(t, resp.Topics[0].Partitions[0].RecordBatches, 0), values(t, resp.Topics[0].Partitions[1].RecordBatches, 0)...)
	if strings.Join(got, "") != "abc" {
		t.Fatalf("%q", got)
	}
}

// TestMinBytesCountNoMoreThanThePartitionReturns: what a partition cannot return, for
// its limit, must not count.
func TestMinBytesCountNoMoreThanThePartitionReturns(t *testing.T) {
	k := newKit(t, nil)
	k.topic("t", 2, []int32{1})
	c, producer := k.client(), k.client()
	one := len(plain.encode("a"))
	req := fetchReq("t", 0, 0, 1)
	req.MinBytes = int32(2 * one)
	req.Topics[0].Partitions[0].PartitionMaxBytes = int32(one)
	c.send(req)
	k.parked(1)
	for range 3 {
		producer.mustProduce("t", 0, "a")
	}
	if n := k.reps.Stats.DelayedFetchRequests.Load(); n != 1 {
		t.Fatal("bytes beyond the partition's limit counted")
	}
	producer.mustProduce("t", 1, "b")
	c.receive(req)
}

func TestFetchLimits(t *testing.T) {
	k := newKit(t, map[string]string{"fetch.max.bytes": "1024"})
	k.topic("t", 3, []int32{1})
	c := k.client()
	big := strings.Repeat("x", 700)
	for p := range int32(3) {
		c.mustProduce("t", p, big)
		c.mustProduce("t", p, big)
	}
	sizes := func(req *kmsg.FetchRequest) (out []int) {
		for _, p := range c.do(req).(*kmsg.FetchResponse).Topics[0].Partitions {
			out = append(out, len(values(t, p.RecordBatches, 0)))
		}
		return out
	}
	req := fetchReq("t", 0, 0, 1, 2)
	if got := fmt.Sprint(sizes(req)); got != "[1 0 0]" {
		t.Errorf("broker's limit: %s", got)
	}
	req.MaxBytes = 10 // smaller than a batch: the first partition gets on all the same
	if got := fmt.Sprint(sizes(req)); got != "[1 0 0]" {
		t.Errorf("limit below a batch: %s", got)
	}
	req.MaxBytes, req.Topics[0].Partitions[0].PartitionMaxBytes = 1<<20, 0
	if got := fmt.Sprint(sizes(req)); got != "[1 0 0]" {
		t.Errorf("partition's limit below a batch: %s", got)
	}
	req.Topics[0].Partitions[0].FetchOffset = 2 // nothing there: the second is the first with data
	if got := fmt.Sprint(sizes(req)); got != "[0 1 0]" {
		t.Errorf("first partition empty: %s", got)
	}
}

func TestDivergingEpochIsAnswered(t *testing.T) {
	k := newKit(t, nil)
	id := k.topic("t", 1, []int32{1})
	c := k.client()
	c.mustProduce("t", 0, "a", "b")                                                       // epoch 0: 0, 1
	k.change(id, 0, func(r *records.PartitionChangeRecord) { r.Leader = 1 })              // epoch 1
	k.change(id, 0, func(r *records.PartitionChangeRecord) { r.Leader = 1; r.ISR = nil }) // epoch 2
	c.mustProduce("t", 0, "c")                                                            // epoch 2: 2
	req := fetchReq("t", 0, 0)
	part := &req.Topics[0].Partitions[0]
	part.LastFetchedEpoch = 3
	wantCode(t, "epoch beyond all", fetched(t, c.do(req)).ErrorCode, kafka.OffsetOutOfRange)
	for _, tc := range []struct {
		last   int32
		offset int64
		epoch  int32 // of the answer, -1 for none
		end    int64
	}{
		{0, 1, -1, -1}, {0, 2, -1, -1}, {2, 2, -1, -1},
		{0, 3, 0, 2}, // the fetcher has a record 2 of epoch 0
		{1, 2, 0, 2}, // it has records of an epoch that left none here
	} {
		part.LastFetchedEpoch, part.FetchOffset = tc.last, tc.offset
		req.MaxWaitMillis = 0
		p := fetched(t, c.do(req))
		if p.ErrorCode != 0 || p.DivergingEpoch.Epoch != tc.epoch || p.DivergingEpoch.EndOffset != tc.end {
			t.Errorf("%+v: error %v, diverging %+v", tc, kafka.CodeForNum(p.ErrorCode), p.DivergingEpoch)
		}
		if (tc.epoch >= 0) != (len(p.RecordBatches) == 0) && tc.offset < 3 {
			t.Errorf("%+v: %d bytes of records", tc, len(p.RecordBatches))
		}
	}
}

// TestConsumersSeeNothingAboveTheHighWatermark: records that a follower lacks are
// invisible, to those who wait as well.
func TestConsumersSeeNothingAboveTheHighWatermark(t *testing.T) {
	k := newKit(t, nil)
	k.topic("t", 1, []int32{1, 2})
	c, producer, follower := k.client(), k.client(), k.client()
	if p := producer.produce("t", 0, 1, plain.encode("a")); p.ErrorCode != 0 {
		t.Fatal(p.ErrorCode)
	}
	req := fetchReq("t", 0, 0)
	c.send(req)
	k.parked(1)
	if p := producer.produce("t", 0, 1, plain.encode("b")); p.ErrorCode != 0 {
		t.Fatal(p.ErrorCode)
	}
	if n := k.reps.Stats.DelayedFetchRequests.Load(); n != 1 {
		t.Fatal("an uncommitted record woke a consumer")
	}
	f := fetchReq("t", 0, 0)
	// Nobody is a follower by a negative id, whatever it means elsewhere.
	for _, id := range []int32{-2, -3} {
		f.ReplicaID, f.MaxWaitMillis = id, 0
		if p := fetched(t, follower.do(f)); p.HighWatermark != 0 || len(p.RecordBatches) != 0 {
			t.Fatalf("replica id %d: high watermark %d, %d bytes", id, p.HighWatermark, len(p.RecordBatches))
		}
	}
	f.ReplicaID, f.MaxWaitMillis = 2, 0
	if p := fetched(t, follower.do(f)); len(values(t, p.RecordBatches, 0)) != 2 {
		t.Fatal("the follower does not see the whole log")
	}
	f.Topics[0].Partitions[0].FetchOffset = 1
	follower.do(f)
	if p := fetched(t, c.receive(req)); p.HighWatermark != 1 || len(values(t, p.RecordBatches, 0)) != 1 {
		t.Fatalf("high watermark %d, %q", p.HighWatermark, values(t, p.RecordBatches, 0))
	}
	// A stranger is not a follower.
	f.ReplicaID = 3
	wantCode(t, "no replica", fetched(t, follower.do(f)).ErrorCode, kafka.NotLeaderOrFollower)
	f.Topics[0].Partitions[0].CurrentLeaderEpoch = 0
	wantCode(t, "no replica yet", fetched(t, follower.do(f)).ErrorCode, kafka.UnknownLeaderEpoch)
	// Nor is an earlier incarnation of the broker (KIP-903).
	f.Version, f.ReplicaState.ID, f.ReplicaState.Epoch = 15, 2, 199
	f.Topics[0].TopicID = k.img.Load().Topic("t").ID
	f.Topics[0].Partitions[0].CurrentLeaderEpoch = -1
	wantCode(t, "stale broker epoch", fetched(t, follower.do(f)).ErrorCode, kafka.NotLeaderOrFollower)
}

// TestFollowersAreWokenByTheLogEnd: they wait for records, not for their commit.
func TestFollowersAreWokenByTheLogEnd(t *testing.T) {
	k := newKit(t, nil)
	k.topic("t", 1, []int32{1, 2})
	follower, producer := k.client(), k.client()
	f := fetchReq("t", 0, 0)
	f.ReplicaID = 2
	follower.send(f)
	k.parked(1)
	producer.produce("t", 0, 1, plain.encode("a"))
	if p := fetched(t, follower.receive(f)); p.HighWatermark != 0 || len(values(t, p.RecordBatches, 0)) != 1 {
		t.Fatalf("%+v", p)
	}
}

// TestRecreatedTopic is trap L10: parked fetches end with the topic, ids of the old
// topic are refused, and none of its records appear under the new one.
func TestRecreatedTopic(t *testing.T) {
	k := newKit(t, nil)
	old := k.topic1("t")
	c := k.client()
	c.mustProduce("t", 0, "old")
	byID := fetchReq("", 1, 0)
	byID.Version, byID.Topics[0].TopicID = 13, old
	c.send(byID)
	k.parked(1)
	k.deleteTopic(old)
	wantCode(t, "parked", fetched(t, c.receive(byID)).ErrorCode, kafka.UnknownTopicOrPartition)
	fresh := k.topic1("t")
	wantCode(t, "old id", fetched(t, c.do(byID)).ErrorCode, kafka.UnknownTopicID)
	p := c.do(produceReq(13, "", old, 0, 1, plain.encode("x"))).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
	wantCode(t, "produce by old id", p.ErrorCode, kafka.UnknownTopicID)
	if off := c.mustProduce("t", 0, "new"); off != 0 {
		t.Fatalf("the new topic begins at %d", off)
	}
	byID.Topics[0].TopicID, byID.Topics[0].Partitions[0].FetchOffset = fresh, 0
	if v := values(t, fetched(t, c.do(byID)).RecordBatches, 0); len(v) != 1 || v[0] != "new" {
		t.Fatalf("%q", v)
	}
}

// TestConfigChangesApplyAtOnce changes a topic's limit and its min.insync.replicas.
func TestConfigChangesApplyAtOnce(t *testing.T) {
	k := newKit(t, nil)
	k.topic("t", 1, []int32{1, 2})
	c := k.client()
	set := func(name, value string) {
		r := records.NewConfigRecord()
		r.ResourceType, r.ResourceName, r.Name, r.Value = 2, "t", name, &value
		k.apply(r)
	}
	big := plain.encode(strings.Repeat("x", 500))
	wantCode(t, "before", c.produce("t", 0, 1, big).ErrorCode, nil)
	set("max.message.bytes", "400")
	wantCode(t, "after", c.produce("t", 0, 1, big).ErrorCode, kafka.MessageTooLarge)
	set("min.insync.replicas", "2")
	set("max.message.bytes", "4000")
	k.change(k.img.Load().Topic("t").ID, 0, func(r *records.PartitionChangeRecord) { r.ISR = []int32{1} })
	wantCode(t, "min ISR", c.produce("t", 0, -1, big).ErrorCode, kafka.NotEnoughReplicas)
	set("min.insync.replicas", "1")
	wantCode(t, "min ISR lowered", c.produce("t", 0, -1, big).ErrorCode, nil)
}

// TestFetchNamesAPartitionTwice: it is answered once, by what is asked for last.
func TestFetchNamesAPartitionTwice(t *testing.T) {
	for _, times := range []int{2, fewEntries, 1000} {
		k := newKit(t, nil)
		k.topic1("t")
		c := k.client()
		c.mustProduce("t", 0, "a")
		c.mustProduce("t", 0, "b")
		parts := make([]int32, times)
		req := fetchReq("t", 0, parts...)
		req.Topics[0].Partitions[times-1].FetchOffset = 1
		resp := c.do(noWait(req)).(*kmsg.FetchResponse)
		if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
			t.Fatalf("%d times: %d topics, %+v", times, len(resp.Topics), resp.Topics)
		}
		if v := values(t, resp.Topics[0].Partitions[0].RecordBatches, 1); len(v) != 1 || v[0] != "b" {
			t.Errorf("%d times: %q", times, v)
		}
		req = fetchReq("t", 2, parts...)
		req.MinBytes, req.MaxWaitMillis = 1, 60_000
		c.send(req)
		k.parked(1)
		if n := k.reps.Stats.DelayedFetchRequests.Load(); n != 1 {
			t.Errorf("%d fetches are parked", n)
		}
		k.client().mustProduce("t", 0, "c")
		if v := values(t, fetched(t, c.receive(req)).RecordBatches, 2); len(v) != 1 || v[0] != "c" {
			t.Errorf("%d times: %q", times, v)
		}
	}
}
