package log

import (
	"errors"
	"fmt"
	"math/rand"
	"path"
	"strings"
	"testing"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/vfs"
)

// twoDirs is a rig on the directories /a and /b, which outlive a power loss.
func twoDirs(t testing.TB, fsys vfs.FS) *rig {
	t.Helper()
	r := newRig(t, fsys)
	r.dirs = []string{"/a", "/b"}
	return r
}

// inDir makes a log of testTP in the directory at path.
func (r *rig) inDir(dir string) *Log {
	r.t.Helper()
	l, err := r.m.Create(testTP, kafka.TopicID{1}, r.dirID(dir), r.cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	return l
}

func (r *rig) dirID(dir string) kafka.UUID {
	for _, d := range r.m.Dirs() {
		if d.Path == dir {
			return d.ID
		}
	}
	return kafka.ZeroUUID
}

// copyTo copies what the future log lacks, as far as it goes.
func (r *rig) copyTo(future, l *Log, upTo int64) error {
	for future.LogEndOffset() < upTo {
		d, err := l.Read(future.LogEndOffset(), 500, upTo, true)
		if err != nil {
			return err
		}
		data, err := spanBytes(&d)
		d.Release()
		if err != nil {
			return err
		}
		if len(data) == 0 {
			return nil // a batch goes beyond upTo
		}
		if _, err := future.AppendVerbatim(data, mustInfos(r.t, data), 0); err != nil {
			return err
		}
	}
	return nil
}

func TestPlacement(t *testing.T) {
	r := newRig(t, vfs.NewMem())
	r.dirs = []string{"/a", "/b", "/c"}
	r.open()
	n := int32(0)
	next := func(dir kafka.UUID) string {
		t.Helper()
		l, err := r.m.Create(kafka.TopicPartition{Topic: "u", Partition: n}, kafka.TopicID{2}, dir, r.cfg)
		if err != nil {
			t.Fatal(err)
		}
		n++
		return l.dir.path
	}
	for _, want := range []string{"/a", "/b", "/c", "/a", "/b", "/c"} {
		if got := next(unassignedDirectory); got != want {
			t.Fatalf("partition %d is in %s, want %s", n-1, got, want)
		}
	}
	if got := next(r.dirID("/c")); got != "/c" {
		t.Fatalf("the directory that the metadata names is passed over for %s", got)
	}
	r.m.Cordon([]string{"/a/"})
	if got := next(kafka.ZeroUUID); got != "/b" {
		t.Fatalf("with /a cordoned: %s", got)
	}
	if !r.m.Cordoned("/a") || r.m.Cordoned("/b") {
		t.Fatal("the wrong directory is cordoned")
	}
	if got := next(r.dirID("/a")); got != "/a" {
		t.Fatalf("a replica that the controller has placed in a cordoned directory went to %s", got)
	}
	r.m.Cordon([]string{"*"})
	if got := next(kafka.ZeroUUID); got != "/a" {
		t.Fatalf("with all cordoned: %s", got)
	}
	r.m.Cordon(nil)
	tp := kafka.TopicPartition{Topic: "u", Partition: n}
	r.m.Prefer(tp, r.dirID("/c"))
	if got := next(r.dirID("/b")); got != "/c" {
		t.Fatalf("the directory that was asked for is passed over for %s", got)
	}
	// A moving log counts where it goes to: now /a 4, /b 3, /c 4 and one on its way to /b.
	if _, err := r.m.CreateFuture(kafka.TopicPartition{Topic: "u"}, r.dirID("/b")); err != nil {
		t.Fatal(err)
	}
	if got := next(kafka.UUID{3: 7}); got != "/a" {
		t.Fatalf("a replica of a directory that was removed went to %s", got)
	}
}

// TestFailedDirectoryIsNotReplaced: what may be in a directory that failed is not made
// anew in another (L4, KAFKA-16234).
func TestFailedDirectoryIsNotReplaced(t *testing.T) {
	mem := vfs.NewMem()
	r := twoDirs(t, mem).open()
	r.mustAppend(r.inDir("/a"), 1, "precious")
	a, b := r.dirID("/a"), r.dirID("/b")
	r.close()
	fault := vfs.NewFault(mem.Crash(nil, vfs.ProcessKill))
	fault.Add(vfs.Rule{Op: vfs.OpReadDir, Path: "/a", Times: -1, Err: errEIO})
	fault.Add(vfs.Rule{Op: vfs.OpOpen, Path: "/a/*", Times: -1, Err: errEIO})
	r2 := twoDirs(t, fault).open()
	if !r2.m.AnyOffline() {
		t.Fatal("the directory is online")
	}
	for _, dir := range []kafka.UUID{a, {3: 7}, {15: 2}} {
		if l, err := r2.m.Create(testTP, kafka.TopicID{1}, dir, r2.cfg); !errors.Is(err, kafka.KafkaStorageError) {
			t.Fatalf("a replica of directory %s: %v, %v", dir, l, err)
		}
	}
	if _, err := r2.m.Create(testTP, kafka.TopicID{1}, b, r2.cfg); err != nil {
		t.Fatalf("a replica of the directory that is online: %v", err)
	}
	if _, err := r2.m.CreateFuture(testTP, a); !errors.Is(err, kafka.LogDirNotFound) && !errors.Is(err, kafka.KafkaStorageError) {
		t.Fatalf("a move into the failed directory: %v", err)
	}
	r2.m.Abort()
}

// TestFutureReplacesALostLog: when the disk of the current log was replaced, its copy in
// another directory has more records than an empty log.
func TestFutureReplacesALostLog(t *testing.T) {
	mem := vfs.NewMem()
	r := twoDirs(t, mem).open()
	l := r.inDir("/a")
	want := r.fill(l, 40)
	future, err := r.m.CreateFuture(testTP, r.dirID("/b"))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.copyTo(future, l, 30); err != nil {
		t.Fatal(err)
	}
	gone := r.dirID("/a")
	r.close()
	after := mem.Crash(nil, vfs.ProcessKill)
	if err := after.RemoveAll("/a"); err != nil {
		t.Fatal(err)
	}
	r2 := twoDirs(t, after).open()
	l, err = r2.m.Create(testTP, kafka.TopicID{1}, gone, r2.cfg)
	if err != nil || l.dir.path != "/b" || r2.m.Future(testTP) != nil {
		t.Fatalf("%v, %v", l, err)
	}
	equalRecords(t, records(t, l, 0, l.LogEndOffset(), 1000), want[:l.LogEndOffset()])
	r2.close()
}

// moveScript copies a log with a tail that was not flushed from /a to /b and swaps.
type moveScript struct {
	r      *rig
	want   []record
	synced int64 // records that a power loss must not take
	errors bool  // operations fail
}

func newMoveScript(t testing.TB, fsys vfs.FS) *moveScript {
	s := &moveScript{r: twoDirs(t, fsys)}
	s.r.open()
	l := s.r.inDir("/a")
	s.want = s.r.fill(l, 60)
	if err := l.AssignEpochStart(9); err != nil { // an epoch without records
		t.Fatal(err)
	}
	l.UpdateHighWatermark(30)
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	s.synced = l.LogEndOffset()
	return s
}

// move is what the mover does; checkpoints as the node's scheduler writes them.
func (s *moveScript) move() error {
	r := s.r
	future, err := r.m.CreateFuture(testTP, r.dirID("/b"))
	if err != nil {
		return err
	}
	l := r.m.Get(testTP)
	if err := r.copyTo(future, l, 40); err != nil {
		return err
	}
	if err := errors.Join(r.m.CheckpointRecoveryPoints(), r.m.CheckpointHighWatermarks(), r.m.CheckpointLogStartOffsets()); err != nil {
		return err
	}
	if err := r.copyTo(future, l, l.LogEndOffset()); err != nil {
		return err
	}
	if _, err := r.m.SwapFuture(testTP); err != nil {
		return err
	}
	r.m.RunTasks()
	return nil
}

// check opens what a crash left: one current log, with every record that it must have.
func (s *moveScript) check(t *testing.T, after vfs.FS, acked int64, label string) {
	t.Helper()
	r := twoDirs(t, after)
	r.cfg = s.r.cfg
	if err := r.tryOpen(); err != nil {
		t.Fatalf("%s: %v", label, err)
	}
	defer r.m.Abort()
	l := r.m.Get(testTP)
	if l == nil {
		t.Fatalf("%s: there is no current log; future %v", label, r.m.Future(testTP))
	}
	end := l.LogEndOffset()
	if end < acked {
		t.Fatalf("%s: the log in %s ends at %d of %d", label, l.dir.path, end, acked)
	}
	got, err := tryRecords(t, l, 0, end, 1000)
	if err != nil {
		t.Fatalf("%s: %v", label, err)
	}
	for i := range got {
		if got[i] != s.want[i] {
			t.Fatalf("%s: record %+v, want %+v", label, got[i], s.want[i])
		}
	}
	if n := len(r.m.StrayFolders()); n > 0 && !s.errors {
		t.Fatalf("%s: there were two current logs", label)
	}
	current := 0
	for _, dir := range r.dirs {
		entries, err := after.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Name() == testTP.String() {
				current++
			}
		}
	}
	if current != 1 {
		t.Fatalf("%s: %d current folders", label, current)
	}
	if future := r.m.Future(testTP); future != nil && future.dir == l.dir {
		t.Fatalf("%s: the future log is where the current one is", label)
	}
	// The move goes on, or has been done: either way the log ends in /b with all records.
	if l.dir.path == "/a" {
		future := r.m.Future(testTP)
		if future == nil {
			if future, err = r.m.CreateFuture(testTP, r.dirID("/b")); err != nil {
				t.Fatalf("%s: %v", label, err)
			}
		}
		if err := r.copyTo(future, l, end); err != nil {
			t.Fatalf("%s: going on: %v", label, err)
		}
		if l, err = r.m.SwapFuture(testTP); err != nil {
			t.Fatalf("%s: going on: %v", label, err)
		}
	}
	if info, err := r.append(l, 1_700_000_000_000, "after"); err != nil || info.FirstOffset != end || l.dir.path != "/b" {
		t.Fatalf("%s: append in %s at %d: %+v, %v", label, l.dir.path, end, info, err)
	}
}

// TestCrashDuringAMove ends the process after every operation of a move, and cuts the
// power there, in several ways.
func TestCrashDuringAMove(t *testing.T) {
	states := 0
	rng := rand.New(rand.NewSource(1))
	mem := vfs.NewMem()
	var s *moveScript
	began, acked := false, int64(0)
	ops := 0
	trace := vfs.NewTrace(mem, func(op string) {
		if !began {
			return
		}
		ops++
		s.check(t, mem.Crash(rng, vfs.ProcessKill), acked, fmt.Sprintf("kill after %d: %s", ops, op))
		for range max(1, crashSeeds(40)/10) {
			s.check(t, mem.Crash(rng, vfs.PowerLoss), s.synced, fmt.Sprintf("power loss after %d: %s", ops, op))
			states++
		}
	})
	s = newMoveScript(t, trace)
	acked = int64(len(s.want))
	began = true
	if err := s.move(); err != nil {
		t.Fatal(err)
	}
	began = false
	if l := s.r.log(); l.dir.path != "/b" || l.LatestEpoch() != 9 || l.HighWatermark() != 30 {
		t.Fatalf("moved to %s, epoch %d, watermark %d", l.dir.path, l.LatestEpoch(), l.HighWatermark())
	}
	if ops < 50 {
		t.Fatalf("only %d operations", ops)
	}
	t.Logf("%d operations, %d power losses", ops, states)
	s.r.close()
	s.check(t, mem.Crash(rng, vfs.ProcessKill), acked, "clean stop")
}

// TestErrorsDuringAMove lets each operation of a move fail in turn. What was acknowledged is
// served on unless its own directory went offline, and is there after a restart.
func TestErrorsDuringAMove(t *testing.T) {
	for _, injected := range []error{errEIO, errENOSPC, errEMFILE} {
		for nth := 1; ; nth++ {
			mem := vfs.NewMem()
			fault := vfs.NewFault(mem)
			s := newMoveScript(t, fault)
			s.errors = true
			label := fmt.Sprintf("%v at operation %d", injected, nth)
			before := fault.Calls(vfs.OpAny)
			fault.Add(vfs.Rule{Op: vfs.OpAny, Nth: nth, Err: injected})
			err := s.move()
			done := fault.Calls(vfs.OpAny)-before < nth
			fault.Clear()
			s.check(t, mem.Crash(nil, vfs.ProcessKill), int64(len(s.want)), label+" and a kill")
			l := s.r.m.Get(testTP)
			if l == nil {
				t.Fatalf("%s: the log is gone: %v", label, err)
			}
			offline := strings.Join(s.r.offline, " ")
			if !strings.Contains(offline, l.dir.path) {
				equalRecords(t, records(t, l, 0, l.LogEndOffset(), 1000), s.want)
				if err != nil && len(s.r.offline) == 0 {
					// What failed passes: the move is tried again.
					if again := s.move(); again != nil {
						t.Fatalf("%s: again: %v", label, again)
					}
					l = s.r.log()
				}
				info, err := s.r.append(l, 1_700_000_000_000, "more")
				if err != nil {
					t.Fatalf("%s: append: %v", label, err)
				}
				s.want = append(s.want, record{info.FirstOffset, 1_700_000_000_000, "more"})
			}
			s.r.m.Abort()
			s.check(t, mem.Crash(nil, vfs.ProcessKill), int64(len(s.want)), label)
			if done {
				if err != nil {
					t.Fatalf("%s: %v", label, err)
				}
				t.Logf("%v: %d operations", injected, nth-1)
				break
			}
		}
	}
}

// TestTwoCurrentLogs: of two current logs the one that went on stays.
func TestTwoCurrentLogs(t *testing.T) {
	for _, longer := range []string{"/a", "/b"} {
		mem := vfs.NewMem()
		r := twoDirs(t, mem).open()
		l := r.inDir(longer)
		want := r.fill(l, 30)
		r.close()
		other := map[string]string{"/a": "/b", "/b": "/a"}[longer]
		after := mem.Crash(nil, vfs.ProcessKill)
		copyFolder(t, after, path.Join(longer, testTP.String()), path.Join(other, testTP.String()))
		r2 := twoDirs(t, after).open()
		if got := len(r2.m.StrayFolders()); got != 1 {
			t.Fatalf("%d strays", got)
		}
		equalRecords(t, records(t, r2.log(), 0, int64(len(want)), 1000), want)
		r2.m.Abort()
		// One of them goes on.
		after = mem.Crash(nil, vfs.ProcessKill)
		copyFolder(t, after, path.Join(longer, testTP.String()), "/"+testTP.String())
		r3 := twoDirs(t, after).open()
		r3.mustAppend(r3.log(), 1_700_000_000_000, "went on")
		r3.close()
		copyFolder(t, after, "/"+testTP.String(), path.Join(other, testTP.String()))
		r4 := twoDirs(t, after).open()
		if l := r4.log(); l.dir.path != longer || l.LogEndOffset() != int64(len(want))+1 {
			t.Fatalf("the log in %s that ends at %d stays", l.dir.path, l.LogEndOffset())
		}
		r4.close()
	}
}

func copyFolder(t *testing.T, fsys vfs.FS, from, to string) {
	t.Helper()
	if err := fsys.MkdirAll(to, 0o755); err != nil {
		t.Fatal(err)
	}
	entries, err := fsys.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, err := vfs.ReadFile(fsys, path.Join(from, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if err := vfs.WriteFileAtomic(fsys, path.Join(to, e.Name()), data); err != nil {
			t.Fatal(err)
		}
	}
}

// TestUnneededFutureLogs: an attempt to begin a move that failed leaves no second future
// log, and none beside the current one.
func TestUnneededFutureLogs(t *testing.T) {
	mem := vfs.NewMem()
	r := newRig(t, mem)
	r.dirs = []string{"/a", "/b", "/c"}
	r.open()
	l := r.inDir("/a")
	r.fill(l, 20)
	future, err := r.m.CreateFuture(testTP, r.dirID("/b"))
	if err == nil {
		err = r.copyTo(future, l, 10)
	}
	if err != nil {
		t.Fatal(err)
	}
	name, end := future.Folder(), future.LogEndOffset()
	r.close()
	after := mem.Crash(nil, vfs.ProcessKill)
	short := strings.Replace(path.Base(name), ".", ".0", 1)
	if err := after.MkdirAll("/c/"+short, 0o755); err != nil {
		t.Fatal(err)
	}
	copyFolder(t, after, name, "/a/"+path.Base(name))
	for _, dirs := range [][]string{{"/a", "/b", "/c"}, {"/c", "/b", "/a"}} {
		fsys := after.Crash(nil, vfs.ProcessKill)
		r := newRig(t, fsys)
		r.dirs = dirs
		r.open()
		if got := r.m.Future(testTP); got == nil || got.LogEndOffset() != end || got.dir.path == "/c" {
			t.Fatalf("%v: %v", dirs, got)
		}
		r.m.Abort()
		left := 0
		for _, dir := range dirs {
			entries, err := fsys.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if strings.HasSuffix(e.Name(), "-future") {
					left++
				}
			}
		}
		if left != 1 {
			t.Fatalf("%v: %d future folders", dirs, left)
		}
	}
	// Only the one in the directory of the current log is left.
	fsys := after.Crash(nil, vfs.ProcessKill)
	if err := errors.Join(fsys.RemoveAll(name), fsys.RemoveAll("/c/"+short)); err != nil {
		t.Fatal(err)
	}
	r = twoDirs(t, fsys).open()
	if r.m.Future(testTP) != nil || r.log().dir.path != "/a" {
		t.Fatal("a future log is beside the current one")
	}
	r.m.Abort()
}

// TestNewLogHasNoCheckpointOfAnEarlierOne: what the directory's checkpoints say of a log that
// was in it under the same name before, deleted or moved away, must not count for the new one
// after a crash.
func TestNewLogHasNoCheckpointOfAnEarlierOne(t *testing.T) {
	for name, leave := range map[string]func(r *rig) error{
		"deleted": func(r *rig) error { return r.m.Delete(testTP) },
		"deleted before the start": func(r *rig) error {
			err := r.m.Delete(testTP)
			r.reopen()
			return err
		},
		"moved": func(r *rig) error {
			future, err := r.m.CreateFuture(testTP, r.dirID("/b"))
			if err == nil {
				err = future.TruncateFullyAndStartAt(19)
			}
			if err == nil {
				err = r.copyTo(future, r.log(), r.log().LogEndOffset())
			}
			if err == nil {
				_, err = r.m.SwapFuture(testTP)
			}
			if err == nil {
				err = r.m.Delete(testTP)
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			mem := vfs.NewMem()
			r := twoDirs(t, mem).open()
			l := r.inDir("/a")
			r.fill(l, 60)
			l.UpdateHighWatermark(l.LogEndOffset())
			if _, err := l.AdvanceStart(19); err != nil { // a batch begins there
				t.Fatal(err)
			}
			if err := errors.Join(l.Flush(), r.m.CheckpointRecoveryPoints(), r.m.CheckpointHighWatermarks(), r.m.CheckpointLogStartOffsets()); err != nil {
				t.Fatal(err)
			}
			if err := leave(r); err != nil {
				t.Fatal(err)
			}
			l = r.inDir("/a")
			want := []record{{0, 1_700_000_000_000, "a"}, {1, 1_700_000_000_000, "b"}}
			for _, w := range want {
				r.mustAppend(l, w.ts, w.value)
			}
			r2 := twoDirs(t, mem.Crash(nil, vfs.ProcessKill)).open()
			l = r2.log()
			equalRecords(t, records(t, l, l.LogStartOffset(), l.LogEndOffset(), 1000), want)
			if hw := l.HighWatermark(); hw != 0 {
				t.Errorf("the high watermark is %d", hw)
			}
			for _, file := range []string{fileRecoveryPoints, fileHighWatermarks, fileLogStartOffsets} {
				offsets, err := readOffsets(mem, path.Join("/a", file))
				if err != nil || offsets[testTP] != 0 {
					t.Errorf("%s says %d, %v", file, offsets[testTP], err)
				}
			}
			r2.m.Abort()
			r.m.Abort()
		})
	}
}
