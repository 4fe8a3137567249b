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

// listOffset asks for one timestamp of partition 0.
func (c *client) listOffset(version int16, topic string, ts int64, isolation int8) kmsg.ListOffsetsResponseTopicPartition {
	c.k.t.Helper()
	req := kmsg.NewPtrListOffsetsRequest()
	req.Version, req.ReplicaID, req.IsolationLevel = version, -1, isolation
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = topic
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Timestamp, p.MaxNumOffsets = ts, 10
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return c.do(req).(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]
}

func TestListOffsets(t *testing.T) {
	k := newKit(t, nil)
	id := k.topic1("t")
	k.change(id, 0, func(r *records.PartitionChangeRecord) { r.Leader = 1 }) // epoch 1
	c := k.client()
	at := func(ms int64) []byte { r := plain; r.ts = testEpochMs + ms; return r.encode("v", "w") }
	for _, ms := range []int64{0, 5000, 1000} { // offsets 0-1, 2-3, 4-5
		if p := c.produce("t", 0, -1, at(ms)); p.ErrorCode != 0 {
			t.Fatal(p.ErrorCode)
		}
	}
	for _, tc := range []struct {
		version int16
		ts      int64
		want    *kafka.Code
		offset  int64
		at      int64 // timestamp of the answer, relative to the first; -1 for none
	}{
		{1, -1, nil, 6, -1}, {11, -1, nil, 6, -1}, {1, -2, nil, 0, -1},
		{6, -3, kafka.UnsupportedVersion, -1, -1}, {7, -3, nil, 3, 5001},
		{7, -4, kafka.UnsupportedVersion, -1, -1}, {8, -4, nil, 0, -1},
		{8, -5, kafka.UnsupportedVersion, -1, -1}, {9, -5, nil, -1, -1},
		{10, -6, kafka.UnsupportedVersion, -1, -1}, {11, -7, kafka.UnsupportedVersion, -1, -1},
		{5, testEpochMs, nil, 0, 0}, {5, testEpochMs + 1, nil, 1, 1}, {5, testEpochMs + 2, nil, 2, 5000},
		{5, testEpochMs + 5001, nil, 3, 5001}, {5, testEpochMs + 5002, nil, -1, -1}, {5, 0, nil, 0, 0},
	} {
		p := c.listOffset(tc.version, "t", tc.ts, 0)
		ts := tc.at
		if ts >= 0 {
			ts += testEpochMs
		}
		wantCode(t, fmt.Sprint(tc), p.ErrorCode, tc.want)
		if p.Offset != tc.offset || p.Timestamp != ts {
			t.Errorf("%+v: offset %d, timestamp %d", tc, p.Offset, p.Timestamp)
		}
		if tc.version >= 4 && tc.offset >= 0 && p.LeaderEpoch != 1 {
			t.Errorf("%+v: leader epoch %d", tc, p.LeaderEpoch)
		}
	}
	wantCode(t, "unknown", c.listOffset(5, "nope", -1, 0).ErrorCode, kafka.UnknownTopicOrPartition)
}

// TestListOffsetsStopsAtTheHighWatermark: what is not committed is not found, and a new
// leader that cannot know yet says so (R11).
func TestListOffsetsStopsAtTheHighWatermark(t *testing.T) {
	k := newKit(t, nil)
	id := k.topic("t", 1, []int32{1, 2})
	c := k.client()
	c.produce("t", 0, 1, plain.encode("a"))
	if p := c.listOffset(5, "t", -1, 0); p.Offset != 0 {
		t.Errorf("latest %d", p.Offset)
	}
	if p := c.listOffset(5, "t", testEpochMs, 0); p.Offset != -1 || p.ErrorCode != 0 {
		t.Errorf("by time: %+v", p)
	}
	k.change(id, 0, func(r *records.PartitionChangeRecord) { r.Leader = 1 })
	for version, want := range map[int16]*kafka.Code{5: kafka.OffsetNotAvailable, 4: kafka.LeaderNotAvailable} {
		wantCode(t, "latest", c.listOffset(version, "t", -1, 0).ErrorCode, want)
		wantCode(t, "by time", c.listOffset(version, "t", testEpochMs, 0).ErrorCode, want)
		wantCode(t, "earliest", c.listOffset(version, "t", -2, 0).ErrorCode, nil)
	}
	f := fetchReq("t", 1, 0)
	f.ReplicaID, f.MaxWaitMillis = 2, 0
	c.do(f)
	if p := c.listOffset(5, "t", -1, 1); p.ErrorCode != 0 || p.Offset != 1 {
		t.Errorf("after the follower: %+v", p)
	}
}

func TestListOffsetsRefusesDuplicates(t *testing.T) {
	k := newKit(t, nil)
	k.topic1("t")
	req := kmsg.NewPtrListOffsetsRequest()
	req.Version, req.ReplicaID = 5, -1
	top := kmsg.NewListOffsetsRequestTopic()
	top.Topic, top.Partitions = "t", make([]kmsg.ListOffsetsRequestTopicPartition, 2)
	req.Topics = append(req.Topics, top)
	for _, p := range k.client().do(req).(*kmsg.ListOffsetsResponse).Topics[0].Partitions {
		wantCode(t, "twice", p.ErrorCode, kafka.InvalidRequest)
	}
}

func TestListOffsetsV0ListsSegments(t *testing.T) {
	k := newKit(t, nil)
	k.topic1("t", "segment.bytes", "1048576")
	c := k.client()
	for i := range 3 {
		r := plain
		r.ts += int64(i) * 1000
		if p := c.produce("t", 0, -1, r.encode(strings.Repeat("x", 600_000))); p.ErrorCode != 0 {
			t.Fatal(p.ErrorCode)
		}
	}
	k.clock.Advance(time.Hour)
	for ts, want := range map[int64]string{
		testEpochMs + 3_600_000: "[3 2 1 0]", -1: "[3 2 1 0]", -2: "[0]", testEpochMs - 1: "[]", testEpochMs: "[0]", testEpochMs + 1000: "[1 0]",
	} {
		if got := fmt.Sprint(c.listOffset(0, "t", ts, 0).OldStyleOffsets); got != want {
			t.Errorf("%d: %s, want %s", ts, got, want)
		}
	}
}

func TestOffsetForLeaderEpoch(t *testing.T) {
	k := newKit(t, nil)
	id := k.topic1("t")
	c := k.client()
	ask := func(version int16, epoch int32) kmsg.OffsetForLeaderEpochResponseTopicPartition {
		req := kmsg.NewPtrOffsetForLeaderEpochRequest()
		req.Version = version
		top := kmsg.NewOffsetForLeaderEpochRequestTopic()
		p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
		p.LeaderEpoch, p.CurrentLeaderEpoch = epoch, -1
		top.Topic, top.Partitions = "t", append(top.Partitions, p)
		req.Topics = append(req.Topics, top)
		return c.do(req).(*kmsg.OffsetForLeaderEpochResponse).Topics[0].Partitions[0]
	}
	c.mustProduce("t", 0, "a", "b") // epoch 0
	k.change(id, 0, func(r *records.PartitionChangeRecord) { r.Leader = 1 })
	k.change(id, 0, func(r *records.PartitionChangeRecord) { r.Leader = 1 })
	c.mustProduce("t", 0, "c") // epoch 2
	for epoch, want := range map[int32][2]int64{0: {0, 2}, 1: {0, 2}, 2: {2, 3}, 3: {-1, -1}} {
		for v := int16(1); v <= 4; v++ {
			p := ask(v, epoch)
			if p.ErrorCode != 0 || int64(p.LeaderEpoch) != want[0] || p.EndOffset != want[1] {
				t.Errorf("v%d epoch %d: %+v, want %v", v, epoch, p, want)
			}
		}
	}
	// Trap R4: the start of an epoch without records is not lost by a restart.
	k.change(id, 0, func(r *records.PartitionChangeRecord) { r.Leader = 1 })
	k.restart()
	c = k.client()
	if p := ask(4, 3); p.LeaderEpoch != 3 || p.EndOffset != 3 {
		t.Errorf("after a restart: %+v", p)
	}
}

func (c *client) deleteRecords(topic string, offset int64) kmsg.DeleteRecordsResponseTopicPartition {
	c.k.t.Helper()
	return c.do(deleteReq(topic, offset)).(*kmsg.DeleteRecordsResponse).Topics[0].Partitions[0]
}

func deleteReq(topic string, offset int64) *kmsg.DeleteRecordsRequest {
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.Version, req.TimeoutMillis = 2, 1000
	top := kmsg.NewDeleteRecordsRequestTopic()
	p := kmsg.NewDeleteRecordsRequestTopicPartition()
	p.Offset = offset
	top.Topic, top.Partitions = topic, append(top.Partitions, p)
	req.Topics = append(req.Topics, top)
	return req
}

func TestDeleteRecords(t *testing.T) {
	k := newKit(t, nil)
	k.topic1("t")
	k.topic1("compacted", "cleanup.policy", "compact")
	k.topic1("__consumer_offsets")
	c := k.client()
	c.mustProduce("t", 0, "a")
	c.mustProduce("t", 0, "b")
	c.mustProduce("t", 0, "c")
	for _, tc := range []struct {
		topic  string
		offset int64
		want   *kafka.Code
		low    int64
	}{
		{"nope", 0, kafka.UnknownTopicOrPartition, -1}, {"t", 4, kafka.OffsetOutOfRange, -1}, {"t", -2, kafka.OffsetOutOfRange, -1},
		{"compacted", 0, kafka.PolicyViolation, -1}, {"__consumer_offsets", 0, kafka.InvalidTopicException, -1},
		{"t", 1, nil, 1}, {"t", 0, nil, 1}, {"t", 2, nil, 2},
	} {
		p := c.deleteRecords(tc.topic, tc.offset)
		wantCode(t, fmt.Sprint(tc), p.ErrorCode, tc.want)
		if p.LowWatermark != tc.low {
			t.Errorf("%+v: low watermark %d", tc, p.LowWatermark)
		}
	}
	wantCode(t, "fetch below the start", fetched(t, c.do(fetchReq("t", 1, 0))).ErrorCode, kafka.OffsetOutOfRange)
	p := fetched(t, c.do(fetchReq("t", 2, 0)))
	if v := values(t, p.RecordBatches, 2); p.LogStartOffset != 2 || len(v) != 1 || v[0] != "c" {
		t.Fatalf("start %d, %q", p.LogStartOffset, v)
	}
	if p := c.deleteRecords("t", -1); p.ErrorCode != 0 || p.LowWatermark != 3 {
		t.Fatalf("up to the high watermark: %+v", p)
	}
}

func TestDeleteRecordsWaitsForFollowers(t *testing.T) {
	k := newKit(t, nil)
	k.topic("t", 1, []int32{1, 2})
	c, follower := k.client(), k.client()
	c.produce("t", 0, 1, plain.encode("a"))
	fetch := func(start int64) {
		f := fetchReq("t", 1, 0)
		f.ReplicaID, f.MaxWaitMillis = 2, 0
		f.Topics[0].Partitions[0].LogStartOffset = start
		follower.do(f)
	}
	fetch(0)
	req := deleteReq("t", 1)
	c.send(req)
	eventually(t, "the deadline is set", func() bool { return k.wheel.Len() == 1 })
	fetch(1)
	if p := c.receive(req).(*kmsg.DeleteRecordsResponse).Topics[0].Partitions[0]; p.ErrorCode != 0 || p.LowWatermark != 1 {
		t.Fatalf("%+v", p)
	}
	fetch(0)
	c.send(req)
	eventually(t, "the deadline is set", func() bool { return k.wheel.Len() == 1 })
	k.clock.Advance(1100 * time.Millisecond)
	p := c.receive(req).(*kmsg.DeleteRecordsResponse).Topics[0].Partitions[0]
	wantCode(t, "no follower", p.ErrorCode, kafka.RequestTimedOut)
}

func TestInitProducerID(t *testing.T) {
	k := newKit(t, nil)
	c := k.client()
	req := kmsg.NewPtrInitProducerIDRequest()
	seen := map[int64]bool{}
	for i := range 2500 {
		req.Version = int16(i % 6)
		resp := c.do(req).(*kmsg.InitProducerIDResponse)
		if resp.ErrorCode != 0 || resp.ProducerEpoch != 0 || seen[resp.ProducerID] {
			t.Fatalf("%d: %+v", i, resp)
		}
		seen[resp.ProducerID] = true
	}
	if n := k.ids.next.Load(); n != 3000 {
		t.Errorf("%d ids were allocated for 2500", n)
	}
	k.ids.fail.Store(true)
	for range 500 {
		c.do(req)
	}
	resp := c.do(req).(*kmsg.InitProducerIDResponse)
	wantCode(t, "no controller", resp.ErrorCode, kafka.CoordinatorLoadInProgress)
	k.ids.fail.Store(false)
	if resp := c.do(req).(*kmsg.InitProducerIDResponse); resp.ErrorCode != 0 || seen[resp.ProducerID] {
		t.Errorf("controller is back: %+v", resp)
	}
	txn := "txn"
	req.TransactionalID = &txn
	wantCode(t, "transactional", c.do(req).(*kmsg.InitProducerIDResponse).ErrorCode, kafka.CoordinatorNotAvailable)
	req.TransactionalID, req.ProducerID = nil, 5
	wantCode(t, "id without epoch", c.do(req).(*kmsg.InitProducerIDResponse).ErrorCode, kafka.InvalidRequest)
}

// TestInitProducerIDShareOneAllocation: who comes while a block is asked for waits for
// the same answer, and closing does not leave them.
func TestInitProducerIDShareOneAllocation(t *testing.T) {
	k := newKit(t, nil)
	k.ids.hold = make(chan struct{})
	req := kmsg.NewPtrInitProducerIDRequest()
	var clients []*client
	for range 5 {
		c := k.client()
		c.send(req)
		clients = append(clients, c)
	}
	eventually(t, "all wait", func() bool {
		k.api.data.ids.mu.Lock()
		defer k.api.data.ids.mu.Unlock()
		return len(k.api.data.ids.waiting) == 5
	})
	close(k.ids.hold)
	seen := map[int64]bool{}
	for _, c := range clients {
		seen[c.receive(req).(*kmsg.InitProducerIDResponse).ProducerID] = true
	}
	if len(seen) != 5 || k.ids.next.Load() != 1000 {
		t.Fatalf("ids %v of %d", seen, k.ids.next.Load())
	}
}

func TestDescribeLogDirs(t *testing.T) {
	k := newKit(t, nil)
	k.topic("t", 2, []int32{1})
	k.topic1("u")
	c := k.client()
	c.mustProduce("t", 0, "a")
	req := kmsg.NewPtrDescribeLogDirsRequest()
	req.Version = 5
	resp := c.do(req).(*kmsg.DescribeLogDirsResponse)
	if len(resp.Dirs) != 1 || resp.Dirs[0].Dir != "/data" || resp.Dirs[0].ErrorCode != 0 || len(resp.Dirs[0].Topics) != 2 {
		t.Fatalf("%+v", resp)
	}
	space, err := k.fs.Space("/data")
	if err != nil || resp.Dirs[0].TotalBytes != space.Total || resp.Dirs[0].UsableBytes > space.Total {
		t.Errorf("space %+v, answered %d of %d", space, resp.Dirs[0].UsableBytes, resp.Dirs[0].TotalBytes)
	}
	top := resp.Dirs[0].Topics[0]
	if top.Topic != "t" || len(top.Partitions) != 2 || top.Partitions[0].Size != int64(len(plain.encode("a"))) || top.Partitions[1].Size != 0 {
		t.Errorf("%+v", top)
	}
	want := kmsg.NewDescribeLogDirsRequestTopic()
	want.Topic, want.Partitions = "t", []int32{1, 7}
	req.Topics = append(req.Topics, want)
	for v := int16(0); v <= 5; v++ {
		req.Version = v
		resp = c.do(req).(*kmsg.DescribeLogDirsResponse)
		if len(resp.Dirs[0].Topics) != 1 || len(resp.Dirs[0].Topics[0].Partitions) != 1 || resp.Dirs[0].Topics[0].Partitions[0].Partition != 1 {
			t.Fatalf("v%d: %+v", v, resp.Dirs[0].Topics)
		}
	}
}
