package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/vfs"
)

// holds compares the records of a log with values from offset 0 on.
func holds(t testing.TB, l *log.Log, want []string) {
	t.Helper()
	got := values(t, l)
	if len(got) != len(want) || l.LogEndOffset() != int64(len(want)) {
		t.Fatalf("%d records up to %d, want %d", len(got), l.LogEndOffset(), len(want))
	}
	for i, v := range want {
		if got[int64(i)] != v {
			t.Fatalf("offset %d holds %.20q, want %.20q", i, got[int64(i)], v)
		}
	}
}

// fillPart appends n records of about a kilobyte.
func (k *dirsKit) fillPart(p *Partition, n int) (out []string) {
	k.t.Helper()
	base := int(p.Log().LogEndOffset())
	for i := range n {
		v := fmt.Sprintf("%d %s", base+i, strings.Repeat("x", 1000))
		if s := k.produce(p, AcksLeader, v); s.Err != nil {
			k.t.Fatal(s.Err)
		}
		out = append(out, v)
	}
	return out
}

func TestMoves(t *testing.T) {
	k := newDirsKit(t, map[string]string{"log.segment.bytes": "1048576"})
	a, b := k.dir("/a"), k.dir("/b")
	p := k.topicIn("t", a)
	want := k.fillPart(p, 4000) // four turns
	if err := k.m.AlterLogDir(p.tp, "/b/"); err != nil {
		t.Fatal(err)
	}
	if err := k.m.AlterLogDir(p.tp, "/b"); err != nil {
		t.Fatalf("asked twice: %v", err)
	}
	k.m.mover.turn()
	want = append(want, k.fillPart(p, 10)...)
	if n := k.turns(); n < 3 {
		t.Fatalf("copied in %d more turns", n)
	}
	future := k.logs.Future(p.tp)
	if future == nil || future.LogEndOffset() != int64(len(want)) || dirOf(p) != "/a" || !p.Log().Moving() {
		t.Fatalf("future %v, the replica is in %s", future, dirOf(p))
	}
	// Before the controller knows, appends go on in the old directory.
	want = append(want, k.fillPart(p, 10)...)
	k.m.mover.ready(k.m.mover.moves[p])
	k.turns()
	if dirOf(p) != "/a" {
		t.Fatal("swapped before the controller was told")
	}
	if !k.tell() {
		t.Fatal("the controller is not told")
	}
	equalIDs(t, k.ctl.told(p.key()), b)
	k.assigned(p, b) // the image may come before the swap
	want = append(want, k.fillPart(p, 10)...)
	r := &recorder{}
	op := fetchOp(r, p)
	op.Parts[0].FetchOffset, op.MinBytes, op.MaxWait = int64(len(want)), 1, time.Minute
	op.Start(k.m)
	old := p.Log()
	k.turns()
	if dirOf(p) != "/b" || k.logs.Get(p.tp) != p.Log() || k.logs.Future(p.tp) != nil || !old.Moved() {
		t.Fatalf("the replica is in %s", dirOf(p))
	}
	holds(t, p.Log(), want)
	if hw := p.Log().HighWatermark(); hw != int64(len(want)) {
		t.Fatalf("high watermark %d of %d", hw, len(want))
	}
	want = append(want, k.fillPart(p, 1)...)
	if r.done() != 1 {
		t.Fatal("a consumer that waits does not see what comes after the move")
	}
	if k.tell() {
		t.Fatalf("the controller is told again: %v", k.ctl.told(p.key()))
	}
	k.move(p, "/a")
	holds(t, p.Log(), want)
	equalIDs(t, k.ctl.told(p.key()), b, a)
}

// TestMovedIdlePartitionKeepsItsEpochs: epochs in which nothing was written travel too
// (KAFKA-15608, KAFKA-20961), so a follower that knows them is answered.
func TestMovedIdlePartitionKeepsItsEpochs(t *testing.T) {
	k := newDirsKit(t, nil)
	p := k.topicIn("t", k.dir("/a"))
	k.fillPart(p, 3)
	k.elect(p, 1)
	k.elect(p, 1)
	before := p.Log().EpochEntries()
	if len(before) != 2 || before[1].StartOffset != 3 {
		t.Fatalf("epochs %v", before)
	}
	k.move(p, "/b")
	if after := p.Log().EpochEntries(); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Fatalf("epochs %v, want %v", after, before)
	}
	if e, end, err := p.EndOffsetForEpoch(kafka.NoEpoch, before[1].Epoch); err != nil || e != before[1].Epoch || end != 3 {
		t.Fatalf("epoch %d ends at %d, %v", e, end, err)
	}
}

// TestMoveFollowsATruncation: what is cut from the current log, and written anew in another
// epoch, is cut from its copy too.
func TestMoveFollowsATruncation(t *testing.T) {
	k := newDirsKit(t, nil)
	p := k.topicIn("t", k.dir("/a"))
	want := k.fillPart(p, 50)
	if err := k.m.AlterLogDir(p.tp, "/b"); err != nil {
		t.Fatal(err)
	}
	k.turns()
	k.tell() // the move would swap now
	k.elect(p, 2)
	if _, err := p.Log().TruncateTo(20); err != nil {
		t.Fatal(err)
	}
	k.elect(p, 1)
	want = append(want[:20], k.fillPart(p, 40)...)
	k.turns()
	if dirOf(p) != "/b" {
		t.Fatalf("in %s", dirOf(p))
	}
	holds(t, p.Log(), want)
	if got := len(p.Log().EpochEntries()); got != 2 {
		t.Fatalf("%d epochs", got)
	}
}

// TestMoveOfALogThatBeginsLater: the copy begins where the log begins, in the middle of a
// batch after DeleteRecords.
func TestMoveOfALogThatBeginsLater(t *testing.T) {
	k := newDirsKit(t, nil)
	p := k.topicIn("t", k.dir("/a"))
	k.fillPart(p, 30)
	if _, err := p.Log().AdvanceStart(17); err != nil {
		t.Fatal(err)
	}
	k.move(p, "/b")
	if start := p.Log().LogStartOffset(); start != 17 || p.Log().LogEndOffset() != 30 {
		t.Fatalf("[%d, %d)", start, p.Log().LogEndOffset())
	}
	// Everything is deleted: an empty copy at the right offset.
	if _, err := p.Log().AdvanceStart(30); err != nil {
		t.Fatal(err)
	}
	k.move(p, "/a")
	k.restart(nil)
	p = k.m.Get("t", 0)
	if start := p.Log().LogStartOffset(); dirOf(p) != "/a" || p.Log().LogEndOffset() != 30 {
		t.Fatalf("[%d, %d) in %s", start, p.Log().LogEndOffset(), dirOf(p))
	}
	if s := k.produce(p, AcksLeader, "next"); s.Err != nil || s.BaseOffset != 30 {
		t.Fatalf("appended at %d: %v", s.BaseOffset, s.Err)
	}
}

// TestMoveGoesOnWhenTheSourceBeginsLater: retention and DeleteRecords pass the copy's end.
func TestMoveGoesOnWhenTheSourceBeginsLater(t *testing.T) {
	k := newDirsKit(t, nil)
	p := k.topicIn("t", k.dir("/a"))
	k.fillPart(p, 30)
	if err := k.m.AlterLogDir(p.tp, "/b"); err != nil {
		t.Fatal(err)
	}
	k.turns() // the copy has caught up and waits for the controller
	k.fillPart(p, 30)
	if _, err := p.Log().AdvanceStart(45); err != nil {
		t.Fatal(err)
	}
	k.turns()
	k.clock.Advance(time.Second)
	k.turns()
	k.tell()
	k.turns()
	if start, end := p.Log().LogStartOffset(), p.Log().LogEndOffset(); dirOf(p) != "/b" || start != 45 || end != 60 {
		t.Fatalf("[%d, %d) in %s", start, end, dirOf(p))
	}
}

func TestMoveIsCancelled(t *testing.T) {
	k := newDirsKit(t, nil)
	a, b := k.dir("/a"), k.dir("/b")
	p := k.topicIn("t", a)
	want := k.fillPart(p, 10)
	if err := k.m.AlterLogDir(p.tp, "/b"); err != nil {
		t.Fatal(err)
	}
	k.turns()
	if err := k.m.AlterLogDir(p.tp, "/a"); err != nil {
		t.Fatal(err)
	}
	if k.logs.Future(p.tp) != nil || p.Log().Moving() {
		t.Fatal("the copy is still there")
	}
	k.turns()
	// The assignment was on its way: the newest one is what the controller learns.
	k.tell()
	equalIDs(t, k.ctl.told(p.key()), a)
	// Once the controller was told of the new directory it is told of the old one.
	if err := k.m.AlterLogDir(p.tp, "/b"); err != nil {
		t.Fatal(err)
	}
	k.turns()
	k.tell()
	if err := k.m.AlterLogDir(p.tp, "/a"); err != nil {
		t.Fatal(err)
	}
	k.turns()
	k.tell()
	equalIDs(t, k.ctl.told(p.key()), a, b, a)
	holds(t, p.Log(), want)
	if dirOf(p) != "/a" {
		t.Fatalf("in %s", dirOf(p))
	}
}

func TestMoveKeepsToItsRate(t *testing.T) {
	k := newDirsKit(t, nil)
	p := k.topicIn("t", k.dir("/a"))
	k.fillPart(p, 8000)
	cfg := *k.m.config
	cfg.ReplicaAlterLogDirsIOMaxBytesPerSecond = 1 << 20
	k.m.Reconfigure(&cfg)
	begin := k.clock.Now()
	if err := k.m.AlterLogDir(p.tp, "/b"); err != nil {
		t.Fatal(err)
	}
	for k.turns(); k.ctl.told(p.key()) == nil; k.turns() {
		k.tell()
		k.clock.Advance(10 * time.Millisecond)
		if k.clock.Now().Sub(begin) > time.Minute {
			t.Fatal("it does not get on")
		}
	}
	if took := k.clock.Now().Sub(begin); took < 6*time.Second || took > 10*time.Second {
		t.Fatalf("8 MB at 1 MB a second took %v", took)
	}
}

// TestMoveWaitsForCompaction: compaction could remove a tombstone whose value was copied.
func TestMoveWaitsForCompaction(t *testing.T) {
	k := newDirsKit(t, map[string]string{"log.cleanup.policy": "compact"})
	p := k.topicIn("t", k.dir("/a"))
	k.fillPart(p, 10)
	round, err := p.Log().BeginCleaning(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.m.AlterLogDir(p.tp, "/b"); err != nil {
		t.Fatal(err)
	}
	k.turns()
	if k.logs.Future(p.tp).LogEndOffset() != 0 {
		t.Fatal("copied during a round of compaction")
	}
	round.End()
	if _, err := p.Log().BeginCleaning(1 << 20); !errors.Is(err, log.ErrCleaningAborted) {
		t.Fatalf("a round begins: %v", err)
	}
	k.clock.Advance(time.Second)
	k.turns()
	k.tell()
	k.turns()
	if dirOf(p) != "/b" {
		t.Fatalf("in %s", dirOf(p))
	}
	if round, err = p.Log().BeginCleaning(1 << 20); err != nil {
		t.Fatal(err)
	}
	round.End()
}

// TestSourceOfAMoveFails: the controller may think that the replica is in the new directory,
// which is online; it has to learn that it is in the one that failed.
func TestSourceOfAMoveFails(t *testing.T) {
	k := newDirsKit(t, nil)
	a, b := k.dir("/a"), k.dir("/b")
	p := k.topicIn("t", a)
	other := k.topicIn("u", b)
	k.fillPart(p, 10)
	if err := k.m.AlterLogDir(p.tp, "/b"); err != nil {
		t.Fatal(err)
	}
	k.turns()
	k.tell()
	k.fault.Add(vfs.Rule{Op: vfs.OpWrite, Path: "/a/*/*", Err: errors.New("broken")})
	if s := k.produce(p, AcksLeader, "x"); !errors.Is(s.Err, kafka.KafkaStorageError) {
		t.Fatalf("append: %v", s.Err)
	}
	k.wait("the partition is offline", func() bool { return p.Log() == nil })
	k.wait("moves are gone", func() bool { return k.m.mover.target(p).IsZero() })
	k.turns()
	k.wait("the controller is told", k.tell)
	equalIDs(t, k.ctl.told(p.key()), b, a)
	if s := k.produce(other, AcksLeader, "y"); s.Err != nil {
		t.Fatalf("the other directory: %v", s.Err)
	}
	if err := k.m.AlterLogDir(other.tp, "/a"); !errors.Is(err, kafka.KafkaStorageError) {
		t.Fatalf("a move into the failed directory: %v", err)
	}
	if err := k.m.AlterLogDir(p.tp, "/b"); !errors.Is(err, kafka.KafkaStorageError) {
		t.Fatalf("a move of an offline replica: %v", err)
	}
	// With the directory healed the move goes on, whatever the metadata says.
	k.assigned(p, b)
	k.restart(nil)
	p = k.m.Get("t", 0)
	if dirOf(p) != "/a" || k.m.mover.target(p) != b {
		t.Fatalf("after the restart: in %s, on its way to %s", dirOf(p), k.m.mover.target(p))
	}
	k.tell()
	equalIDs(t, k.ctl.told(p.key()), b, a, a)
	k.turns()
	k.tell()
	k.turns()
	if dirOf(p) != "/b" || p.Log().LogEndOffset() != 10 {
		t.Fatalf("in %s up to %d", dirOf(p), p.Log().LogEndOffset())
	}
}

func TestTargetOfAMoveFails(t *testing.T) {
	k := newDirsKit(t, nil)
	a, b := k.dir("/a"), k.dir("/b")
	p := k.topicIn("t", a)
	want := k.fillPart(p, 10)
	if err := k.m.AlterLogDir(p.tp, "/b"); err != nil {
		t.Fatal(err)
	}
	k.turns()
	k.tell()
	want = append(want, k.fillPart(p, 10)...)
	k.fault.Add(vfs.Rule{Op: vfs.OpSync, Path: "/b/*/*.log", Err: errors.New("broken")})
	k.turns()
	k.wait("the move is given up", func() bool { return k.m.mover.target(p).IsZero() })
	k.wait("the controller is told", k.tell)
	equalIDs(t, k.ctl.told(p.key()), b, a)
	want = append(want, k.fillPart(p, 10)...)
	holds(t, p.Log(), want)
	if dirOf(p) != "/a" {
		t.Fatalf("in %s", dirOf(p))
	}
}

// TestPartitionOfAFailedDirectoryIsNotMadeAnew: at the start of the broker, what may be in a
// directory that does not open stays offline (KAFKA-16234).
func TestPartitionOfAFailedDirectoryIsNotMadeAnew(t *testing.T) {
	k := newDirsKit(t, nil)
	a := k.dir("/a")
	known := k.topicIn("known", a)
	k.topicIn("unknown", a)
	// The broker never got to say where this one is.
	k.assigned(k.m.Get("unknown", 0), metadata.DirUnassigned)
	for _, name := range []string{"known", "unknown"} {
		k.fillPart(k.m.Get(name, 0), 3)
	}
	k.ctl.reqs = nil
	k.restart(func(mem *vfs.Mem) {
		for _, f := range []string{"meta.properties", ".lock"} {
			if err := mem.RemoveAll("/a/" + f); err != nil {
				t.Fatal(err)
			}
		}
		// A file where the directory was: whatever is asked of it fails.
		if err := errors.Join(mem.Rename("/a", "/gone"), vfs.WriteFileAtomic(mem, "/a", []byte("x"))); err != nil {
			t.Fatal(err)
		}
	})
	for _, name := range []string{"known", "unknown"} {
		p := k.m.Get(name, 0)
		if p == nil || p.Log() != nil {
			t.Fatalf("%s was made anew in %s", name, dirOf(p))
		}
		if s := k.produce(p, AcksLeader, "x"); !errors.Is(s.Err, kafka.KafkaStorageError) {
			t.Fatalf("append to %s: %v", name, s.Err)
		}
	}
	k.tell()
	equalIDs(t, k.ctl.told(k.m.Get("unknown", 0).key()), metadata.DirLost)
	equalIDs(t, k.ctl.told(known.key()))
	// What comes new while the directory is offline is made in the other one.
	if p := k.topicIn("new", metadata.DirUnassigned); dirOf(p) != "/b" {
		t.Fatalf("a new partition is in %q", dirOf(p))
	}
}

func TestAlterLogDirRefusals(t *testing.T) {
	k := newDirsKit(t, nil)
	p := k.topicIn("t", k.dir("/a"))
	for path, want := range map[string]*kafka.Code{"/c": kafka.LogDirNotFound, "b": kafka.LogDirNotFound} {
		if err := k.m.AlterLogDir(p.tp, path); !errors.Is(err, want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if err := k.m.AlterLogDir(kafka.TopicPartition{Topic: "none"}, "/b"); !errors.Is(err, kafka.ReplicaNotAvailable) {
		t.Errorf("a partition that does not exist: %v", err)
	}
	k.logs.Cordon([]string{"/b"})
	if err := k.m.AlterLogDir(p.tp, "/b"); !errors.Is(err, kafka.InvalidReplicaAssignment) {
		t.Errorf("a cordoned directory: %v", err)
	}
	k.logs.Cordon([]string{"*"})
	if err := k.m.AlterLogDir(p.tp, "/a"); err != nil {
		t.Errorf("its own directory: %v", err)
	}
	k.logs.Cordon(nil)
	long := k.topicIn(strings.Repeat("x", 220), k.dir("/a"))
	if err := k.m.AlterLogDir(long.tp, "/b"); !errors.Is(err, kafka.InvalidTopicException) {
		t.Errorf("a name that is too long: %v", err)
	}
	if k.logs.AnyOffline() {
		t.Error("a directory went offline")
	}
}

// TestMovesUnderLoad moves partitions to and fro while producers and consumers are at work.
func TestMovesUnderLoad(t *testing.T) {
	k := &dirsKit{mem: vfs.NewMem(), live: true}
	k.t, k.img = t, metadata.Empty()
	k.start(k.mem)
	k.m.Apply(nil, k.img)
	const parts, moves = 3, 25
	var stop, all sync.WaitGroup
	ended := make(chan struct{})
	written := make([][]string, parts) // each belongs to its producer
	for i := range parts {
		p := k.topicIn(fmt.Sprint("t", i), k.dir("/a"))
		all.Add(2)
		stop.Add(1)
		go func() {
			defer all.Done()
			pace := time.NewTicker(100 * time.Microsecond)
			defer pace.Stop()
			for {
				select {
				case <-ended:
					return
				case <-pace.C:
				}
				n := len(written[i])
				if s := k.produce(p, AcksLeader, fmt.Sprint(n)); s.Err != nil || s.BaseOffset != int64(n) {
					t.Errorf("%s: append %d at %d: %v", p.tp, n, s.BaseOffset, s.Err)
					return
				}
				written[i] = append(written[i], fmt.Sprint(n))
			}
		}()
		go func() {
			defer all.Done()
			pace := time.NewTicker(100 * time.Microsecond)
			defer pace.Stop()
			for at := int64(0); ; {
				select {
				case <-ended:
					return
				case <-pace.C:
				}
				r := &recorder{}
				op := fetchOp(r, p)
				op.Parts[0].FetchOffset, op.Parts[0].MaxBytes, op.MaxBytes, op.MaxWait = at, 10_000, 10_000, 0
				op.Start(k.m)
				if err := op.Parts[0].Err; err != nil {
					t.Errorf("%s: fetch at %d: %v", p.tp, at, err)
					return
				}
				at = max(at, op.Parts[0].Data.NextOffset)
				op.ReleaseData()
			}
		}()
		go func() {
			defer stop.Done()
			for i := range moves {
				to := []string{"/b", "/a"}[i%2]
				if err := k.m.AlterLogDir(p.tp, to); err != nil {
					t.Errorf("%s to %s: %v", p.tp, to, err)
					return
				}
				k.wait(fmt.Sprintf("%s is in %s", p.tp, to), func() bool { return dirOf(p) == to })
			}
		}()
	}
	stop.Wait()
	close(ended)
	all.Wait()
	for i := range parts {
		holds(t, k.m.Get(fmt.Sprint("t", i), 0).Log(), written[i])
	}
	if k.logs.AnyOffline() {
		t.Error("a directory went offline")
	}
}

// TestWatermarkDoesNotWaitForAFailedDirectory: a replica whose directory failed has just been
// caught up, and its broker lives, but it does not come back by itself.
func TestWatermarkDoesNotWaitForAFailedDirectory(t *testing.T) {
	k := newDirsKit(t, nil)
	theirs := kafka.UUID{2: 2, 15: 200}
	register := func(id int32, dirs ...kafka.UUID) {
		r := records.NewRegisterBrokerRecord()
		r.Version, r.BrokerID, r.BrokerEpoch, r.Fenced, r.IncarnationID, r.LogDirs = 3, id, int64(id), false, kafka.UUID{0: byte(id)}, dirs
		k.apply(r)
	}
	register(1, k.dir("/a"), k.dir("/b"))
	register(2, theirs, kafka.UUID{3: 3, 15: 201})
	tr := records.NewTopicRecord()
	tr.Name, tr.TopicID = "t", kafka.NewUUID()
	pr := records.NewPartitionRecord()
	pr.PartitionID, pr.TopicID, pr.Replicas, pr.ISR, pr.Leader = 0, tr.TopicID, []int32{1, 2}, []int32{1, 2}, 1
	pr.LeaderEpoch, pr.PartitionEpoch, pr.Directories = 0, 0, []kafka.UUID{k.dir("/a"), theirs}
	k.apply(tr, pr)
	p := k.m.Get("t", 0)
	var op FetchOp
	op.Owner, op.ReplicaID, op.BrokerEpoch, op.MaxBytes, op.Isolation, op.OnlyLeader = new(recorder), 2, 2, 1<<20, ToLogEnd, true
	op.Parts = []FetchPart{{P: p, MaxBytes: 1 << 20, CurrentLeaderEpoch: 0, LastFetchedEpoch: kafka.NoEpoch}}
	op.Start(k.m)
	op.ReleaseData()
	var a Appender
	var s AppendSlot
	r := new(recorder)
	a.Acks, a.Version, a.NowMs, a.Owner = AcksAll, 9, k.m.clock.Now().UnixMilli(), r
	if a.Append(p, records1("x"), &s) {
		t.Fatalf("acknowledged by one of two: %v", s.Err)
	}
	a.Finish()
	change := records.NewPartitionChangeRecord()
	change.TopicID, change.PartitionID, change.ISR = tr.TopicID, 0, []int32{1}
	dirs := records.NewBrokerRegistrationChangeRecord()
	dirs.Version, dirs.BrokerID, dirs.BrokerEpoch, dirs.LogDirs = 2, 2, 2, []kafka.UUID{{3: 3, 15: 201}}
	k.apply(change, dirs)
	if len(r.appends) != 1 || s.Err != nil {
		t.Fatalf("%d appends are done, high watermark %d, %v", len(r.appends), p.Log().HighWatermark(), s.Err)
	}
}

// atMessage does something once when a message is logged.
type atMessage struct {
	slog.Handler
	text string
	do   func()
}

func (h *atMessage) Enabled(context.Context, slog.Level) bool { return true }

func (h *atMessage) Handle(_ context.Context, r slog.Record) error {
	if do := h.do; do != nil && r.Message == h.text {
		h.do = nil
		do()
	}
	return nil
}

// TestDirectoryFailsAsAMoveIntoItIsDone: the replica is in it when the move is to be given
// up, and goes offline with it.
func TestDirectoryFailsAsAMoveIntoItIsDone(t *testing.T) {
	k := newDirsKit(t, nil)
	p := k.topicIn("t", k.dir("/a"))
	k.fillPart(p, 10)
	if err := k.m.AlterLogDir(p.tp, "/b"); err != nil {
		t.Fatal(err)
	}
	k.turns()
	k.tell()
	h := &atMessage{text: "a move to another log directory is given up because that failed", do: func() { k.turns() }}
	k.m.logger = slog.New(h)
	k.m.DirFailed("/b")
	k.wait("the replica is offline", func() bool { return k.m.Stats.OfflineReplicaCount.Load() == 1 })
	if p.Log() != nil {
		t.Error("it is still served")
	}
	if h.do != nil {
		t.Error("the move was done before")
	}
}
