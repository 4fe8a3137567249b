package replica

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/vfs"
)

// kit is the replicas of broker 1 on a memory file system.
type kit struct {
	t     testing.TB
	clock *clock.Virtual
	fs    vfs.FS
	logs  *log.Manager
	m     *Manager
	img   *metadata.Image
	off   int64
}

func newKit(t testing.TB) *kit {
	t.Helper()
	return newKitOn(t, vfs.NewMem())
}

func newKitOn(t testing.TB, fs vfs.FS) *kit {
	t.Helper()
	k := &kit{t: t, clock: clock.NewVirtual(time.UnixMilli(1_700_000_000_000)), fs: fs, img: metadata.Empty()}
	if err := k.fs.MkdirAll("/data", 0o755); err != nil {
		t.Fatal(err)
	}
	k.open()
	k.m.Apply(nil, k.img)
	return k
}

func (k *kit) open() {
	k.t.Helper()
	cfg, _, err := config.Load(map[string]string{
		"process.roles": "broker", "node.id": "1", "controller.quorum.voters": "9@localhost:9999",
		"controller.listener.names": "CONTROLLER", "listeners": "PLAINTEXT://localhost:9092", "log.dirs": "/data",
	})
	if err != nil {
		k.t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	k.logs, err = log.Open(context.Background(), log.Options{
		FS: k.fs, Clock: k.clock, Logger: quiet, Dirs: []string{"/data"}, NodeID: 1, ClusterID: "c", AllowUnformatted: true, Manual: true,
		TopicConfig: func(string) config.Topic { c, _ := cfg.TopicConfig(nil); return c },
	})
	if err != nil {
		k.t.Fatal(err)
	}
	w := clock.NewWheel(k.clock)
	w.Start()
	k.m = New(Options{NodeID: 1, Logs: k.logs, Clock: k.clock, Wheel: w, Config: cfg, Logger: quiet})
	logs, m := k.logs, k.m
	k.t.Cleanup(func() { m.Close(); _ = logs.Close(1) })
}

// reopen is a clean restart.
func (k *kit) reopen() {
	k.t.Helper()
	k.m.Close()
	if err := k.logs.Close(1); err != nil {
		k.t.Fatal(err)
	}
	k.open()
	k.m.Apply(nil, k.img)
}

func (k *kit) apply(msgs ...records.Message) {
	k.t.Helper()
	d := metadata.NewDelta(k.img)
	for _, r := range msgs {
		if err := d.Replay(r); err != nil {
			k.t.Fatal(err)
		}
	}
	k.off += int64(len(msgs))
	k.img = d.Apply(metadata.Provenance{Offset: k.off, Epoch: 1})
	k.m.Apply(d, k.img)
}

func (k *kit) topic(name string, partitions int32, replicas ...int32) kafka.TopicID {
	k.t.Helper()
	id := kafka.NewUUID()
	tr := records.NewTopicRecord()
	tr.Name, tr.TopicID = name, id
	msgs := []records.Message{tr}
	for n := range partitions {
		pr := records.NewPartitionRecord()
		pr.PartitionID, pr.TopicID, pr.Replicas, pr.ISR, pr.Leader = n, id, replicas, replicas, replicas[0]
		pr.LeaderEpoch, pr.PartitionEpoch, pr.Directories = 0, 0, make([]kafka.UUID, len(replicas))
		msgs = append(msgs, pr)
	}
	k.apply(msgs...)
	return id
}

// reassign makes one broker the only replica of a partition.
func (k *kit) reassign(id kafka.TopicID, index, broker int32) {
	k.t.Helper()
	c := leaderChange(id, index, broker, []int32{broker})
	c.Replicas, c.Directories = []int32{broker}, make([]kafka.UUID, 1)
	k.apply(c)
}

func records1(value string) []byte {
	b := batch.NewBuilder(0)
	b.ProducerID, b.ProducerEpoch, b.BaseSequence = -1, -1, -1
	b.Append(1_700_000_000_000, []byte("k"), []byte(value), nil)
	out, err := b.Build(nil)
	if err != nil {
		panic(err)
	}
	return out
}

// produce appends one record and completes whom it wakes.
func (k *kit) produce(p *Partition, acks int16, value string) AppendSlot {
	var a Appender
	var s AppendSlot
	a.Acks, a.Version, a.NowMs, a.Owner = acks, 9, k.m.clock.Now().UnixMilli(), new(recorder)
	if !a.Append(p, records1(value), &s) {
		k.t.Fatal("the append waits")
	}
	a.Finish()
	return s
}

// recorder counts what is completed.
type recorder struct {
	mu      sync.Mutex
	appends []*AppendSlot
	fetches []*FetchOp
}

func (r *recorder) Appended(s *AppendSlot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.appends = append(r.appends, s)
}

func (r *recorder) Fetched(op *FetchOp) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fetches = append(r.fetches, op)
}

func (r *recorder) done() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.fetches)
}

func fetchOp(r *recorder, parts ...*Partition) *FetchOp {
	op := &FetchOp{Owner: r, ReplicaID: ConsumerReplicaID, MinBytes: 1, MaxBytes: 1 << 20, MaxWait: time.Second}
	for _, p := range parts {
		op.Parts = append(op.Parts, FetchPart{P: p, MaxBytes: 1 << 20, CurrentLeaderEpoch: kafka.NoEpoch, LastFetchedEpoch: kafka.NoEpoch})
	}
	return op
}

// TestRecordsBetweenReadAndParkAreNotMissed: what is appended after a fetch has looked
// and before it is on the list must complete it.
func TestRecordsBetweenReadAndParkAreNotMissed(t *testing.T) {
	for _, minBytes := range []int{1, 50} {
		k := newKit(t)
		k.topic("t", 2, 1)
		a, b := k.m.Get("t", 0), k.m.Get("t", 1)
		r := new(recorder)
		op := fetchOp(r, a, b)
		op.MinBytes = minBytes
		op.m = k.m
		op.holds.Store(1)
		size, final := op.read(true)
		if size != 0 || final {
			t.Fatal("there is something to read")
		}
		k.produce(b, AcksAll, "x")
		op.park(size)
		if r.done() != 1 || op.Parts[1].Data.Size == 0 {
			t.Fatalf("min bytes %d: completed %d times, %d bytes", minBytes, r.done(), op.Parts[1].Data.Size)
		}
		if a.fetches.first != nil || b.fetches.first != nil {
			t.Fatal("the fetch is still on a list")
		}
		op.ReleaseData()
		if !op.Recycle() {
			t.Fatal("somebody else holds the op")
		}
	}
}

// TestLeadershipLostBetweenReadAndPark: the fetch must not wait on a partition that it
// was not read from in the present epoch.
func TestLeadershipLostBetweenReadAndPark(t *testing.T) {
	k := newKit(t)
	id := k.topic("t", 1, 1, 2)
	r := new(recorder)
	op := fetchOp(r, k.m.Get("t", 0))
	op.OnlyLeader = true
	op.m = k.m
	op.holds.Store(1)
	size, _ := op.read(true)
	c := records.NewPartitionChangeRecord()
	c.TopicID, c.PartitionID, c.Leader = id, 0, 2
	k.apply(c)
	op.park(size)
	if r.done() != 1 || kafka.CodeOf(op.Parts[0].Err) != kafka.NotLeaderOrFollower {
		t.Fatalf("completed %d times, error %v", r.done(), op.Parts[0].Err)
	}
}

// TestFetchIsCompletedOnce races appends to several partitions, a deadline and changes of
// leadership for the right to complete the same fetch.
func TestFetchIsCompletedOnce(t *testing.T) {
	k := newKit(t)
	k.topic("t", 3, 1)
	var parts []*Partition
	for n := range int32(3) {
		parts = append(parts, k.m.Get("t", n))
	}
	for round := range 100 {
		r := new(recorder)
		op := fetchOp(r, parts...)
		for i := range op.Parts {
			op.Parts[i].FetchOffset = parts[i].Log().LogEndOffset()
		}
		op.MaxWait = time.Millisecond
		var wg sync.WaitGroup
		for _, p := range parts {
			wg.Go(func() { k.produce(p, AcksLeader, fmt.Sprint(round)) })
		}
		wg.Go(func() { k.clock.Advance(2 * time.Millisecond) })
		op.Start(k.m)
		wg.Wait()
		k.clock.Advance(2 * time.Millisecond)
		if r.done() != 1 {
			t.Fatalf("round %d: completed %d times", round, r.done())
		}
		op.ReleaseData()
		if !op.Recycle() && op.holds.Load() != 0 {
			t.Fatalf("round %d: %d holds", round, op.holds.Load())
		}
		for _, p := range parts {
			if p.fetches.first != nil {
				t.Fatalf("round %d: still on a list", round)
			}
		}
	}
	if n := k.m.Stats.DelayedFetchRequests.Load(); n != 0 {
		t.Fatalf("%d fetches are counted as waiting", n)
	}
}

// TestStraysAreSetAside: at the first image, logs of deleted and recreated topics are
// renamed, never served, and never deleted.
func TestStraysAreSetAside(t *testing.T) {
	k := newKit(t)
	keep, gone := k.topic("keep", 1, 1), k.topic("gone", 1, 1)
	again := k.topic("again", 1, 1)
	for _, name := range []string{"keep", "gone", "again"} {
		k.produce(k.m.Get(name, 0), AcksAll, name)
	}
	k.m.Close()
	if err := k.logs.Close(1); err != nil {
		t.Fatal(err)
	}
	k.img, k.off = metadata.Empty(), 0
	d := metadata.NewDelta(k.img)
	for name, id := range map[string]kafka.TopicID{"keep": keep, "again": kafka.NewUUID()} {
		tr := records.NewTopicRecord()
		tr.Name, tr.TopicID = name, id
		pr := records.NewPartitionRecord()
		pr.TopicID, pr.Replicas, pr.ISR, pr.Leader, pr.Directories = id, []int32{1}, []int32{1}, 1, make([]kafka.UUID, 1)
		pr.PartitionID, pr.LeaderEpoch, pr.PartitionEpoch = 0, 0, 0
		for _, r := range []records.Message{tr, pr} {
			if err := d.Replay(r); err != nil {
				t.Fatal(err)
			}
		}
	}
	k.img = d.Apply(metadata.Provenance{Offset: 4, Epoch: 1})
	k.open()
	k.m.Apply(nil, k.img)
	if p := k.m.Get("keep", 0); p == nil || p.Log().LogEndOffset() != 1 || p.Log().HighWatermark() != 1 {
		t.Error("the known log was not kept")
	}
	if p := k.m.Get("again", 0); p == nil || p.Log() == nil || p.Log().LogEndOffset() != 0 {
		t.Error("the recreated topic shows old records")
	}
	if k.m.Get("gone", 0) != nil || k.m.GetByID(gone, 0) != nil || k.m.GetByID(again, 0) != nil {
		t.Error("a deleted topic is served")
	}
	if n := len(k.logs.StrayFolders()); n != 2 {
		t.Errorf("%d folders set aside: %v", n, k.logs.StrayFolders())
	}
}

// TestLookupWhileTopicsChange reads the table while it is written.
func TestLookupWhileTopicsChange(t *testing.T) {
	k := newKit(t)
	fixed := k.topic("fixed", 1, 1)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if k.m.Get("fixed", 0) == nil || k.m.GetByID(fixed, 0) == nil || k.m.Get("fixed", 1) != nil {
				t.Error("a topic that nobody touched is gone")
				return
			}
		}
	})
	for n := range 40 {
		id := k.topic(fmt.Sprint("t", n), 2, 1)
		if k.m.GetByID(id, 1) != k.m.Get(fmt.Sprint("t", n), 1) {
			t.Fatal("name and id find different partitions")
		}
		if n%2 == 0 {
			r := records.NewRemoveTopicRecord()
			r.TopicID = id
			k.apply(r)
			if k.m.GetByID(id, 1) != nil || k.m.Get(fmt.Sprint("t", n), 1) != nil {
				t.Fatal("a deleted topic is found")
			}
		}
	}
	close(stop)
	wg.Wait()
	if got := k.m.Stats.PartitionCount.Load(); got != 41 {
		t.Errorf("%d partitions are counted", got)
	}
	if got := k.m.Stats.LeaderCount.Load(); got != 41 {
		t.Errorf("%d leaders are counted", got)
	}
}

func TestCheckpointOnlyWhatMoved(t *testing.T) {
	k := newKit(t)
	k.topic("t", 1, 1)
	k.produce(k.m.Get("t", 0), AcksAll, "a")
	if err := k.m.CheckpointHighWatermarks(); err != nil {
		t.Fatal(err)
	}
	raw, err := vfs.ReadFile(k.fs, "/data/replication-offset-checkpoint")
	if err != nil || string(raw) != "0\n1\nt 0 1\n" {
		t.Fatalf("%q, %v", raw, err)
	}
	if err := k.fs.Remove("/data/replication-offset-checkpoint"); err != nil {
		t.Fatal(err)
	}
	if err := k.m.CheckpointHighWatermarks(); err != nil {
		t.Fatal(err)
	}
	if _, err := k.fs.Stat("/data/replication-offset-checkpoint"); err == nil {
		t.Fatal("written though nothing moved")
	}
}

// TestDeadlineAnswersWhatHasChanged: a fetch that ends at its deadline is answered by
// what holds then, though nothing woke it, and belongs to its owner alone.
func TestDeadlineAnswersWhatHasChanged(t *testing.T) {
	k := newKit(t)
	k.topic("t", 4, 1)
	var parts []*Partition
	for n := range int32(4) {
		parts = append(parts, k.m.Get("t", n))
		k.produce(parts[n], AcksAll, "a")
		k.produce(parts[n], AcksAll, "b")
	}
	idle, cut, moved, few := 0, 1, 2, 3
	r := new(recorder)
	op := fetchOp(r, parts...)
	op.OnlyLeader, op.MinBytes = true, 1<<20
	for i := range op.Parts {
		op.Parts[i].FetchOffset = 2
	}
	op.Parts[few].FetchOffset = 1
	op.Start(k.m)
	if r.done() != 0 {
		t.Fatal("the fetch does not wait")
	}
	var d DeleteSlot
	if !parts[cut].DeleteRecords(1, &d) || d.Err != nil {
		t.Fatalf("raising the log start: %v", d.Err)
	}
	// What no wake tells must show all the same: the views are exchanged by hand.
	v := *parts[moved].view.Load()
	v.leader = false
	parts[moved].view.Store(&v)
	k.clock.Advance(2 * time.Second)
	if r.done() != 1 {
		t.Fatalf("completed %d times", r.done())
	}
	if p := &op.Parts[idle]; p.Err != nil || p.Data.Size != 0 || p.HighWatermark != 2 || p.LastStableOffset != 2 || p.LogStartOffset != 0 {
		t.Errorf("idle: %+v", p)
	}
	if p := &op.Parts[cut]; p.Err != nil || p.LogStartOffset != 1 {
		t.Errorf("log start moved: %+v", p)
	}
	if p := &op.Parts[moved]; kafka.CodeOf(p.Err) != kafka.NotLeaderOrFollower {
		t.Errorf("another leader: %+v", p)
	}
	if p := &op.Parts[few]; p.Err != nil || p.Data.Size == 0 {
		t.Errorf("less than the fetch wanted: %+v", p)
	}
	op.ReleaseData()
	if !op.Recycle() {
		t.Error("somebody else holds the op")
	}
}
