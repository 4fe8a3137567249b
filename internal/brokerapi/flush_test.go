package brokerapi

import (
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/vfs"
)

// stalledDisk is a file system on which the syncs of logs wait for the test.
func stalledDisk() (fs *vfs.Fault, started chan struct{}, release chan struct{}) {
	fs = vfs.NewFault(vfs.NewMem())
	started, release = make(chan struct{}, 100), make(chan struct{})
	fs.Add(vfs.Rule{Op: vfs.OpSync, Path: "*.log", Times: -1, Before: func(vfs.Op, string) {
		started <- struct{}{}
		<-release
	}})
	return fs, started, release
}

// TestFlushIsAwaitedWithoutBlockingTheConnection: with flush.messages=1 the answer
// comes after the sync; until then the record is not visible, the connection goes on
// reading, other partitions are served, and further records gather for the next sync.
func TestFlushIsAwaitedWithoutBlockingTheConnection(t *testing.T) {
	for _, acks := range []int16{1, -1} {
		fs, started, release := stalledDisk()
		k := newKitOn(t, fs, nil)
		k.topic1("durable", "flush.messages", "1")
		k.topic1("other")
		c, other := k.client(), k.client()
		req := produceReq(12, "durable", kafka.TopicID{}, 0, acks, plain.encode("a"))
		req.TimeoutMillis = 60_000
		c.send(req)
		<-started
		for range 9 {
			c.send(req)
		}
		eventually(t, "all appends wait", func() bool { return k.reps.Stats.DelayedProduceRequests.Load() == 10 })
		other.mustProduce("other", 0, "b")
		if p := fetched(t, other.do(noWait(fetchReq("durable", 0, 0)))); p.HighWatermark != 0 || len(p.RecordBatches) != 0 {
			t.Fatalf("acks=%d: a record is visible before it is durable: %+v", acks, p)
		}
		close(release)
		for i := range int64(10) {
			p := c.receive(req).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
			if p.ErrorCode != 0 || p.BaseOffset != i {
				t.Fatalf("acks=%d, answer %d: %+v", acks, i, p)
			}
		}
		if n := len(started) + 1; n > 3 {
			t.Errorf("acks=%d: %d syncs for ten appends, nine of which waited together", acks, n)
		}
		if p := fetched(t, other.do(fetchReq("durable", 0, 0))); p.HighWatermark != 10 {
			t.Errorf("acks=%d: high watermark %d", acks, p.HighWatermark)
		}
		k.stop()
	}
}

func noWait(req *kmsg.FetchRequest) *kmsg.FetchRequest {
	req.MaxWaitMillis = 0
	return req
}

// TestFailedSyncAcknowledgesNothing is trap L5 at the doors: the waiting append is
// refused, and the directory's partitions with it from then on.
func TestFailedSyncAcknowledgesNothing(t *testing.T) {
	fs := vfs.NewFault(vfs.NewMem())
	k := newKitOn(t, fs, nil)
	k.topic1("t", "flush.messages", "1")
	k.topic1("u")
	c := k.client()
	c.mustProduce("t", 0, "a")
	fs.Add(vfs.Rule{Op: vfs.OpSync, Path: "*.log", Err: errors.New("disk is gone")})
	wantCode(t, "failed sync", c.produce("t", 0, 1, plain.encode("b")).ErrorCode, kafka.KafkaStorageError)
	eventually(t, "the directory is offline", func() bool { return k.reps.Stats.OfflineReplicaCount.Load() == 2 })
	wantCode(t, "afterwards", c.produce("t", 0, 1, plain.encode("c")).ErrorCode, kafka.KafkaStorageError)
	wantCode(t, "same directory", c.produce("u", 0, 1, plain.encode("c")).ErrorCode, kafka.KafkaStorageError)
	for version, want := range map[int16]*kafka.Code{5: kafka.NotLeaderOrFollower, 6: kafka.KafkaStorageError} {
		req := fetchReq("t", 0, 0)
		req.Version = version
		wantCode(t, "fetch", fetched(t, c.do(req)).ErrorCode, want)
	}
	wantCode(t, "offsets", c.listOffset(5, "t", -1, 0).ErrorCode, kafka.KafkaStorageError)
	if n := k.reps.Stats.LeaderCount.Load(); n != 0 {
		t.Errorf("still leads %d partitions", n)
	}
	req := kmsg.NewPtrDescribeLogDirsRequest()
	req.Version = 5
	wantCode(t, "log dirs", c.do(req).(*kmsg.DescribeLogDirsResponse).Dirs[0].ErrorCode, kafka.KafkaStorageError)
}

// TestFullDiskRefusesAndRecovers is trap L6: produce fails while there is no room, reads
// go on, and produce works again when there is.
func TestFullDiskRefusesAndRecovers(t *testing.T) {
	fs := vfs.NewFault(vfs.NewMem())
	k := newKitOn(t, fs, nil)
	k.topic1("t")
	c := k.client()
	c.mustProduce("t", 0, "a")
	fs.Add(vfs.Rule{Op: vfs.OpWrite, Path: "*.log", Times: 2, Err: syscall.ENOSPC, Short: 3})
	for range 2 {
		p := c.produce("t", 0, -1, plain.encode("b"))
		if p.ErrorCode == 0 {
			t.Fatal("acknowledged without room")
		}
		if code := kafka.CodeForNum(p.ErrorCode); !code.Retriable() {
			t.Errorf("%v is not retriable", code)
		}
	}
	if v := values(t, fetched(t, c.do(fetchReq("t", 0, 0))).RecordBatches, 0); len(v) != 1 {
		t.Fatalf("%q", v)
	}
	if off := c.mustProduce("t", 0, "c"); off != 1 {
		t.Fatalf("offset %d after recovery", off)
	}
	if v := values(t, fetched(t, c.do(fetchReq("t", 0, 0))).RecordBatches, 0); len(v) != 2 || v[1] != "c" {
		t.Fatalf("%q", v)
	}
}

// TestStalledDiskLosesNobodysDeadline: an append whose flush does not end is answered
// when its time is up.
func TestStalledDiskLosesNobodysDeadline(t *testing.T) {
	fs, started, release := stalledDisk()
	k := newKitOn(t, fs, nil)
	k.topic1("durable", "flush.messages", "1")
	c := k.client()
	req := produceReq(12, "durable", kafka.TopicID{}, 0, -1, plain.encode("a"))
	c.send(req)
	<-started
	eventually(t, "the append waits", func() bool { return k.wheel.Len() == 1 })
	k.clock.Advance(1100 * time.Millisecond)
	wantCode(t, "deadline", c.receive(req).(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode, kafka.RequestTimedOut)
	close(release)
}

// TestDuplicateDoesNotEndAFlushEarly: a repeated batch waits for the sync like its first
// sending, and those behind it are not forgotten.
func TestDuplicateDoesNotEndAFlushEarly(t *testing.T) {
	fs, started, release := stalledDisk()
	k := newKitOn(t, fs, nil)
	k.topic1("t", "flush.messages", "1")
	c := k.client()
	var reqs []*kmsg.ProduceRequest
	for _, seq := range []int32{0, 1, 0} {
		r := rec{pid: 3, seq: seq, ts: testEpochMs}
		req := produceReq(12, "t", kafka.TopicID{}, 0, 1, r.encode("v"))
		reqs = append(reqs, req)
		c.send(req)
	}
	<-started
	eventually(t, "all appends wait", func() bool { return k.reps.Stats.DelayedProduceRequests.Load() == 3 })
	close(release)
	for i, want := range []int64{0, 1, 0} {
		p := c.receive(reqs[i]).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
		if p.ErrorCode != 0 || p.BaseOffset != want {
			t.Fatalf("answer %d: %+v", i, p)
		}
	}
}
