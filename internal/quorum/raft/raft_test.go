package raft

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log"
	"github.com/gregorhq/gregor/internal/quorum"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/storage"
	"github.com/gregorhq/gregor/internal/vfs"
)

const testDir = "/data"

// recorder is a listener that keeps what it is told.
type recorder struct {
	mu      sync.Mutex
	changed *sync.Cond
	names   []string // of the topics delivered, in order
	next    kafka.Offset
	leader  quorum.LeaderAndEpoch
	snap    int // records in the snapshot
	bad     error
	err     error // what HandleCommit returns
	// news, if not nil, gets a token whenever the leader changes.
	news chan struct{}
}

func newRecorder() *recorder {
	r := &recorder{leader: quorum.LeaderAndEpoch{Leader: kafka.NoNode, Epoch: -1}}
	r.changed = sync.NewCond(&r.mu)
	return r
}

func (r *recorder) HandleCommit(b *quorum.Batch) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.changed.Broadcast()
	if b.BaseOffset != r.next {
		r.bad = fmt.Errorf("a batch at offset %d, expected %d", b.BaseOffset, r.next)
	}
	if n := len(b.Messages); n > 0 && b.LastOffset != b.BaseOffset+int64(n)-1 {
		r.bad = fmt.Errorf("%d messages in offsets %d to %d", n, b.BaseOffset, b.LastOffset)
	}
	r.next = b.LastOffset + 1
	for _, m := range b.Messages {
		if t, ok := m.(*records.TopicRecord); ok {
			r.names = append(r.names, t.Name)
		}
	}
	return r.err
}

func (r *recorder) HandleSnapshot(s *storage.SnapshotReader) error {
	recs, err := s.ReadAll()
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.changed.Broadcast()
	r.names, r.next, r.snap = nil, s.ID.EndOffset, len(recs)
	for _, m := range recs {
		r.names = append(r.names, m.(*records.TopicRecord).Name)
	}
	return err
}

func (r *recorder) HandleLeaderChange(l quorum.LeaderAndEpoch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leader = l
	r.changed.Broadcast()
	select {
	case r.news <- struct{}{}:
	default:
	}
}

// await blocks until cond holds under mu.
func (r *recorder) await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	timer := time.AfterFunc(10*time.Second, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.bad == nil {
			r.bad = errors.New("timed out waiting for " + what)
		}
		r.changed.Broadcast()
	})
	defer timer.Stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	for !cond() && r.bad == nil {
		r.changed.Wait()
	}
	if r.bad != nil {
		t.Fatal(r.bad)
	}
}

// voter is one process of a sole voter.
type voter struct {
	t      *testing.T
	logs   *log.Manager
	engine *Engine
	rec    *recorder
	dirID  kafka.UUID
}

type voterOption func(*Options)

// static is a static voter set.
func static(ids ...kafka.NodeID) storage.VoterSet {
	var s storage.VoterSet
	for _, id := range ids {
		s = append(s, storage.Voter{ID: id})
	}
	return s
}

// format formats testDir for a static or, with voters, for a dynamic quorum.
func format(t *testing.T, fsys vfs.FS, voters storage.VoterSet) {
	t.Helper()
	_, err := storage.Format(fsys, storage.FormatOptions{
		NodeID: 1, ClusterID: "test", Directories: []string{testDir}, MetadataLogDir: testDir, ControllerListenerName: "C",
		Now: time.UnixMilli(1), DynamicQuorum: len(voters) > 0, InitialControllers: voters,
	})
	if err != nil {
		t.Fatal(err)
	}
}

// boot opens the directory and starts the engine; it does not wait for leadership.
func boot(t *testing.T, fsys vfs.FS, opts ...voterOption) *voter {
	t.Helper()
	v, err := tryBoot(t, fsys, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func tryBoot(t *testing.T, fsys vfs.FS, opts ...voterOption) (*voter, error) {
	t.Helper()
	cfg := config.Default(map[string]string{"log.dirs": testDir})
	topic, err := cfg.TopicConfig(map[string]string{"retention.ms": "-1", "retention.bytes": "-1", "segment.bytes": "1048576"})
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	logs, err := log.Open(context.Background(), log.Options{
		FS: fsys, Clock: clock.Real(), Logger: quiet, Dirs: []string{testDir}, MetadataDir: testDir, NodeID: 1,
		TopicConfig: func(string) config.Topic { return topic }, Manual: true,
	})
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(testDir, storage.MetadataLogDirName)
	recoveryPoint := int64(0)
	if ids, err := storage.ListSnapshots(fsys, dir); err == nil && len(ids) > 0 {
		recoveryPoint = ids[len(ids)-1].EndOffset
	}
	l, err := logs.OpenMetadata(kafka.TopicPartition{Topic: kafka.MetadataTopic}, kafka.MetadataTopicID, topic, recoveryPoint)
	if err != nil {
		logs.Abort()
		return nil, err
	}
	v := &voter{t: t, logs: logs, rec: newRecorder(), dirID: logs.Dirs()[0].ID}
	o := Options{
		NodeID: 1, DirectoryID: v.dirID, FS: fsys, Clock: clock.Real(), Logger: quiet, Log: l, Dir: dir,
		StaticVoters: static(1), ElectionTimeout: time.Second, RetentionBytes: -1, RetentionMs: -1,
	}
	for _, f := range opts {
		f(&o)
	}
	if v.engine, err = Open(o); err != nil {
		logs.Abort()
		return nil, err
	}
	v.engine.Register(v.rec)
	if err := v.engine.Start(); err != nil {
		t.Fatal(err)
	}
	return v, nil
}

// epoch waits for leadership and returns its epoch.
func (v *voter) epoch() kafka.LeaderEpoch {
	v.t.Helper()
	v.rec.await(v.t, "leadership", func() bool { return v.rec.leader.Leader == 1 })
	return v.rec.leader.Epoch
}

// propose proposes one batch of topics.
func (v *voter) propose(epoch kafka.LeaderEpoch, names ...string) kafka.Offset {
	v.t.Helper()
	var recs []records.Message
	for _, n := range names {
		r := records.NewTopicRecord()
		r.Name = n
		recs = append(recs, r)
	}
	last, err := v.engine.Propose(epoch, recs)
	if err != nil {
		v.t.Fatal(err)
	}
	return last
}

func (v *voter) awaitOffset(last kafka.Offset) {
	v.t.Helper()
	v.rec.await(v.t, fmt.Sprintf("offset %d", last), func() bool { return v.rec.next > last })
}

// stop closes everything cleanly; die leaves everything as a killed process does.
func (v *voter) stop() {
	v.t.Helper()
	if err := v.engine.Close(); err != nil {
		v.t.Fatal(err)
	}
	if err := v.logs.Close(-1); err != nil {
		v.t.Fatal(err)
	}
}

func (v *voter) die() {
	_ = v.engine.Close()
	v.logs.Abort()
}

func TestSoleVoterCommitsWholeBatchesInOrder(t *testing.T) {
	fsys := vfs.NewMem()
	format(t, fsys, nil)
	v := boot(t, fsys)
	epoch := v.epoch()
	if epoch != 1 {
		t.Errorf("the first epoch is %d", epoch)
	}
	if next := v.engine.NextOffset(epoch); next != 1 {
		t.Errorf("the first offset behind the LeaderChange record is %d", next)
	}
	last := v.propose(epoch, "a", "b", "c")
	if last != 3 {
		t.Errorf("three records end at offset %d", last)
	}
	last = v.propose(epoch, "d")
	v.awaitOffset(last)
	if got := strings.Join(v.rec.names, ""); got != "abcd" {
		t.Errorf("delivered %q", got)
	}
	if hw := v.engine.HighWatermark(); hw != 5 {
		t.Errorf("high watermark %d", hw)
	}
	if _, err := v.engine.Propose(epoch+1, []records.Message{records.NewNoOpRecord()}); !errors.Is(err, kafka.NotController) {
		t.Errorf("a proposal of another epoch: %v", err)
	}
	if s := v.engine.Describe(); s.Leader != 1 || s.Epoch != 1 || len(s.Voters) != 1 || s.Voters[0].LogEndOffset != 5 {
		t.Errorf("status %+v", s)
	}
	v.stop()
	if _, err := v.engine.Propose(epoch, []records.Message{records.NewNoOpRecord()}); !errors.Is(err, kafka.NotController) {
		t.Errorf("a proposal after Close: %v", err)
	}
}

func TestRestartReplaysAndRaisesTheEpoch(t *testing.T) {
	fsys := vfs.NewMem()
	format(t, fsys, nil)
	var want []string
	for run := range 4 {
		v := boot(t, fsys)
		epoch := v.epoch()
		if epoch != kafka.LeaderEpoch(run+1) {
			t.Errorf("run %d leads in epoch %d", run, epoch)
		}
		if got := strings.Join(v.rec.names, " "); got != strings.Join(want, " ") {
			t.Fatalf("run %d replayed %q, want %q", run, got, want)
		}
		names := []string{fmt.Sprintf("x%d", run), fmt.Sprintf("y%d", run)}
		v.awaitOffset(v.propose(epoch, names...))
		want = append(want, names...)
		if run%2 == 0 {
			v.stop()
		} else {
			v.die()
		}
	}
	s, err := quorum.ReadElectionState(fsys, filepath.Join(testDir, storage.MetadataLogDirName))
	if err != nil || s.LeaderEpoch != 4 || s.VotedID != 1 || s.Leader != 1 || len(s.Voters) != 1 {
		t.Errorf("quorum-state %+v, %v", s, err)
	}
}

// After a power loss at any moment every delivered record is there, and what was
// proposed and not delivered is there in order without gaps or not at all.
func TestPowerLossKeepsWhatWasDelivered(t *testing.T) {
	for seed := range int64(30) {
		rng := rand.New(rand.NewSource(seed))
		fsys := vfs.NewMem()
		format(t, fsys, nil)
		var delivered, proposed []string
		for run := range 4 {
			v := boot(t, fsys)
			epoch := v.epoch()
			got := append([]string(nil), v.rec.names...)
			if len(got) < len(delivered) || strings.Join(got, " ") != strings.Join(proposed[:len(got)], " ") {
				t.Fatalf("seed %d run %d: %v is there; delivered was %v, proposed %v", seed, run, got, delivered, proposed)
			}
			proposed = got
			for i := range rng.Intn(8) {
				names := make([]string, 1+rng.Intn(4))
				for j := range names {
					names[j] = fmt.Sprintf("r%d-%d-%d", run, i, j)
				}
				last := v.propose(epoch, names...)
				proposed = append(proposed, names...)
				if rng.Intn(2) == 0 {
					v.awaitOffset(last)
				}
			}
			v.rec.mu.Lock()
			delivered = append([]string(nil), v.rec.names...)
			crashed := fsys.Crash(rng, []vfs.CrashMode{vfs.ProcessKill, vfs.PowerLoss, vfs.PowerLoss}[rng.Intn(3)])
			v.rec.mu.Unlock()
			v.die()
			fsys = crashed
		}
	}
}

func TestFailedWriteStopsTheEngineForGood(t *testing.T) {
	for _, op := range []vfs.Op{vfs.OpWrite, vfs.OpSync} {
		mem := vfs.NewMem()
		format(t, mem, nil)
		fsys := vfs.NewFault(mem)
		v := boot(t, fsys)
		epoch := v.epoch()
		v.awaitOffset(v.propose(epoch, "a"))
		fsys.Add(vfs.Rule{Op: op, Path: "*.log", Err: errors.New("injected"), Times: 1})
		v.propose(epoch, "b")
		select {
		case <-v.engine.Failed():
		case <-time.After(10 * time.Second):
			t.Fatal("the engine went on after a failed write")
		}
		if v.engine.Err() == nil {
			t.Error("no error is kept")
		}
		v.rec.await(t, "the loss of leadership", func() bool { return v.rec.leader.Leader == kafka.NoNode })
		if strings.Join(v.rec.names, "") != "a" {
			t.Errorf("delivered %v", v.rec.names)
		}
		if _, err := v.engine.Propose(epoch, []records.Message{records.NewNoOpRecord()}); !errors.Is(err, kafka.NotController) {
			t.Errorf("a proposal after the failure: %v", err)
		}
		v.die()
	}
}

func TestResignStartsANewEpoch(t *testing.T) {
	fsys := vfs.NewMem()
	format(t, fsys, nil)
	v := boot(t, fsys)
	defer v.die()
	first := v.epoch()
	v.awaitOffset(v.propose(first, "a"))
	v.engine.Resign(first)
	v.rec.await(t, "a later epoch", func() bool { return v.rec.leader.Leader == 1 && v.rec.leader.Epoch > first })
	second := v.rec.leader.Epoch
	if _, err := v.engine.Propose(first, []records.Message{records.NewNoOpRecord()}); !errors.Is(err, kafka.NotController) {
		t.Errorf("a proposal of the resigned epoch: %v", err)
	}
	v.engine.Resign(first) // of the past: nothing happens
	v.awaitOffset(v.propose(second, "b"))
	if strings.Join(v.rec.names, "") != "ab" {
		t.Errorf("delivered %v", v.rec.names)
	}
}

// Vote and epoch must be durable before the first entry of the epoch is written.
func TestVoteIsDurableBeforeTheLog(t *testing.T) {
	mem := vfs.NewMem()
	format(t, mem, nil)
	var mu sync.Mutex
	var ops []string
	fsys := vfs.NewTrace(mem, func(op string) {
		mu.Lock()
		defer mu.Unlock()
		ops = append(ops, op)
	})
	v := boot(t, fsys)
	v.epoch()
	v.stop()
	mu.Lock()
	defer mu.Unlock()
	dir := filepath.Join(testDir, storage.MetadataLogDirName)
	var seen []string
	for _, op := range ops {
		switch {
		case strings.Contains(op, "sync") && strings.Contains(op, "quorum-state.tmp"):
			seen = append(seen, "state synced")
		case strings.HasPrefix(op, "rename") && strings.Contains(op, "quorum-state"):
			seen = append(seen, "state renamed")
		case strings.Contains(strings.ToLower(op), "syncdir") && strings.Contains(op, dir):
			seen = append(seen, "dir synced")
		case strings.HasPrefix(op, "write") && strings.Contains(op, ".log"):
			seen = append(seen, "log written")
		}
	}
	order := strings.Join(slices.Compact(seen), ",")
	order = strings.TrimPrefix(order, "dir synced,") // of what was found at the start
	if !strings.HasPrefix(order, "state synced,state renamed,dir synced,log written") {
		t.Errorf("order of operations: %s", order)
	}
}

// A crash at any file operation of a first run leaves a directory that starts
// again, with everything that had been delivered by then.
func TestCrashAtEveryOperation(t *testing.T) {
	type crash struct {
		fsys      *vfs.Mem
		delivered int
	}
	for _, mode := range []vfs.CrashMode{vfs.ProcessKill, vfs.PowerLoss} {
		mem := vfs.NewMem()
		format(t, mem, nil)
		var mu sync.Mutex
		var v *voter
		var crashes []crash
		rng := rand.New(rand.NewSource(7))
		fsys := vfs.NewTrace(mem, func(string) {
			mu.Lock()
			defer mu.Unlock()
			delivered := 0
			if v != nil {
				v.rec.mu.Lock()
				delivered = len(v.rec.names)
				v.rec.mu.Unlock()
			}
			crashes = append(crashes, crash{mem.Crash(rng, mode), delivered})
		})
		first := boot(t, fsys)
		mu.Lock()
		v = first
		mu.Unlock()
		epoch := first.epoch()
		for i := range 3 {
			first.awaitOffset(first.propose(epoch, fmt.Sprint("a", i), fmt.Sprint("b", i)))
		}
		first.stop()
		if len(crashes) < 20 {
			t.Fatalf("only %d operations were seen", len(crashes))
		}
		for i, c := range crashes {
			again := boot(t, c.fsys)
			again.awaitOffset(again.propose(again.epoch(), "z"))
			got := strings.Join(again.rec.names, "")
			if want := "a0b0a1b1a2b2"; !strings.HasPrefix(want+"z", strings.TrimSuffix(got, "z")) || len(again.rec.names) <= c.delivered {
				t.Fatalf("mode %d, crash at operation %d of %d: %q is there, %d were delivered", mode, i, len(crashes), got, c.delivered)
			}
			again.die()
		}
	}
}

func TestListenerErrorStopsTheEngine(t *testing.T) {
	fsys := vfs.NewMem()
	format(t, fsys, nil)
	v := boot(t, fsys)
	defer v.die()
	epoch := v.epoch()
	v.rec.mu.Lock()
	v.rec.err = errors.New("does not apply")
	v.rec.mu.Unlock()
	v.propose(epoch, "a")
	<-v.engine.Failed()
	if err := v.engine.Err(); err == nil || !strings.Contains(err.Error(), "does not apply") {
		t.Errorf("error %v", err)
	}
}

// snapshot writes a snapshot of everything delivered.
func (v *voter) snapshot() storage.SnapshotID {
	v.t.Helper()
	v.rec.mu.Lock()
	names := append([]string(nil), v.rec.names...)
	id := storage.SnapshotID{EndOffset: v.rec.next, Epoch: v.rec.leader.Epoch}
	v.rec.mu.Unlock()
	w, err := v.engine.CreateSnapshot(id, 1)
	if err != nil || w == nil {
		v.t.Fatalf("snapshot %s: %v, %v", id, w, err)
	}
	for _, n := range names {
		r := records.NewTopicRecord()
		r.Name = n
		if err := w.Append(r); err != nil {
			v.t.Fatal(err)
		}
	}
	if err := w.Freeze(); err != nil {
		v.t.Fatal(err)
	}
	v.engine.SnapshotDone(id)
	return id
}

func TestStartFromSnapshotAndLog(t *testing.T) {
	fsys := vfs.NewMem()
	format(t, fsys, nil)
	v := boot(t, fsys)
	epoch := v.epoch()
	v.awaitOffset(v.propose(epoch, "a", "b"))
	id := v.snapshot()
	if w, err := v.engine.CreateSnapshot(id, 1); w != nil || err != nil {
		t.Errorf("the same snapshot again: %v, %v", w, err)
	}
	if _, err := v.engine.CreateSnapshot(storage.SnapshotID{EndOffset: 99, Epoch: 1}, 1); err == nil {
		t.Error("a snapshot beyond the high watermark was begun")
	}
	v.awaitOffset(v.propose(epoch, "c", "d"))
	if w, err := v.engine.CreateSnapshot(storage.SnapshotID{EndOffset: id.EndOffset + 1, Epoch: 1}, 1); w != nil || err != nil {
		t.Errorf("a snapshot that ends inside a batch: %v, %v", w, err)
	}
	v.stop()
	v = boot(t, fsys)
	epoch = v.epoch()
	if v.rec.snap != 2 || strings.Join(v.rec.names, "") != "abcd" {
		t.Errorf("%d records from the snapshot, all %v", v.rec.snap, v.rec.names)
	}
	v.awaitOffset(v.propose(epoch, "e"))
	v.die()
	v = boot(t, fsys)
	defer v.die()
	v.epoch()
	if strings.Join(v.rec.names, "") != "abcde" {
		t.Errorf("all %v", v.rec.names)
	}
}

// A follower may have been killed between the download of a snapshot and the
// truncation of its log.
func TestSnapshotBeyondTheLogReplacesIt(t *testing.T) {
	fsys := vfs.NewMem()
	format(t, fsys, nil)
	v := boot(t, fsys)
	v.awaitOffset(v.propose(v.epoch(), "a"))
	v.stop()
	dir := filepath.Join(testDir, storage.MetadataLogDirName)
	w, err := storage.CreateSnapshot(fsys, dir, storage.SnapshotID{EndOffset: 100, Epoch: 9}, storage.SnapshotHeader{}, 1)
	if err != nil {
		t.Fatal(err)
	}
	r := records.NewTopicRecord()
	r.Name = "later"
	if err := w.Append(r); err != nil {
		t.Fatal(err)
	}
	if err := w.Freeze(); err != nil {
		t.Fatal(err)
	}
	v = boot(t, fsys)
	if epoch := v.epoch(); epoch != 10 {
		t.Errorf("epoch %d behind a snapshot of epoch 9", epoch)
	}
	if next := v.propose(v.rec.leader.Epoch, "x"); next != 101 {
		t.Errorf("the first record behind the snapshot has offset %d", next)
	}
	v.awaitOffset(101)
	v.stop()
	v = boot(t, fsys)
	defer v.die()
	v.epoch()
	if strings.Join(v.rec.names, " ") != "later x" {
		t.Errorf("all %v", v.rec.names)
	}
}

func TestRetentionDropsOldSnapshotsAndLog(t *testing.T) {
	fsys := vfs.NewMem()
	format(t, fsys, nil)
	v := boot(t, fsys, func(o *Options) { o.RetentionBytes = 1 })
	epoch := v.epoch()
	v.awaitOffset(v.propose(epoch, "a"))
	v.snapshot()
	v.awaitOffset(v.propose(epoch, "b"))
	second := v.snapshot()
	ids, err := storage.ListSnapshots(fsys, filepath.Join(testDir, storage.MetadataLogDirName))
	if err != nil || len(ids) != 1 || ids[0] != second {
		t.Errorf("snapshots left: %v, %v", ids, err)
	}
	if start := v.engine.o.Log.LogStartOffset(); start != second.EndOffset {
		t.Errorf("the log begins at %d, want %d", start, second.EndOffset)
	}
	v.awaitOffset(v.propose(epoch, "c"))
	v.stop()
	v = boot(t, fsys)
	defer v.die()
	v.awaitOffset(v.propose(v.epoch(), "d"))
	if strings.Join(v.rec.names, "") != "abcd" {
		t.Errorf("all %v", v.rec.names)
	}
}

func TestDynamicQuorumOfOne(t *testing.T) {
	fsys := vfs.NewMem()
	dirID := kafka.NewUUID()
	format(t, fsys, storage.NewVoterSet(storage.NewVoter(1, dirID, "C", "localhost", 1)))
	local := []storage.Endpoint{{Listener: "C", Host: "h", Port: 2}}
	dynamic := func(o *Options) { o.StaticVoters, o.LocalEndpoints = nil, local }
	for run := range 3 {
		v := boot(t, fsys, dynamic)
		epoch := v.epoch()
		v.awaitOffset(v.propose(epoch, fmt.Sprint(run)))
		s := v.engine.Describe()
		if s.KRaftVersion != 1 || len(s.VoterSet) != 1 || s.VoterSet[0].DirectoryID != dirID || !slices.Equal(s.VoterSet[0].Endpoints, local) {
			t.Fatalf("run %d: status %+v", run, s)
		}
		// LeaderChange, and in the first run KRaftVersion and Voters.
		want := []kafka.Offset{4, 6, 8}[run]
		if v.rec.next != want {
			t.Errorf("run %d: the log ends at %d, want %d", run, v.rec.next, want)
		}
		v.stop()
	}
	if _, err := tryBoot(t, fsys, func(o *Options) { o.StaticVoters = nil; o.DirectoryID = kafka.NewUUID() }); err == nil || !strings.Contains(err.Error(), "is a voter with directory") {
		t.Errorf("another directory: %v", err)
	}
	state, err := vfs.ReadFile(fsys, filepath.Join(testDir, storage.MetadataLogDirName, quorum.QuorumStateName))
	if err != nil || !strings.Contains(string(state), `"votedDirectoryId":"`+dirID.String()+`"`) {
		t.Errorf("quorum-state %s, %v", state, err)
	}
}

func TestStaticQuorumBecomesDynamic(t *testing.T) {
	fsys := vfs.NewMem()
	format(t, fsys, nil)
	local := []storage.Endpoint{{Listener: "C", Host: "h", Port: 2}}
	v := boot(t, fsys, func(o *Options) { o.LocalEndpoints = local })
	epoch := v.epoch()
	if _, err := v.engine.UpgradeKRaftVersion(epoch, 2); !errors.Is(err, kafka.InvalidUpdateVersion) {
		t.Errorf("version 2: %v", err)
	}
	last, err := v.engine.UpgradeKRaftVersion(epoch, 1)
	if err != nil {
		t.Fatal(err)
	}
	v.awaitOffset(last)
	id := v.snapshot()
	v.awaitOffset(v.propose(epoch, "a"))
	v.stop()
	v = boot(t, fsys, func(o *Options) { o.StaticVoters, o.LocalEndpoints = nil, local })
	defer v.die()
	v.epoch()
	if s := v.engine.Describe(); s.KRaftVersion != 1 || s.VoterSet[0].DirectoryID != v.dirID {
		t.Errorf("status %+v", s)
	}
	r, err := storage.OpenSnapshot(fsys, filepath.Join(testDir, storage.MetadataLogDirName), id)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if r.Header.KRaftVersion != 1 || len(r.Header.Voters) != 1 {
		t.Errorf("snapshot header %+v", r.Header)
	}
}

func TestWrongVoters(t *testing.T) {
	for name, c := range map[string]struct {
		opt  voterOption
		want string
	}{
		"none":         {func(o *Options) { o.StaticVoters = nil }, "no voters"},
		"others":       {func(o *Options) { o.StaticVoters = static(2) }, "node 1 is not one of the voters"},
		"no transport": {func(o *Options) { o.StaticVoters = static(1, 2) }, "no transport"},
	} {
		fsys := vfs.NewMem()
		format(t, fsys, nil)
		if _, err := tryBoot(t, fsys, c.opt); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
