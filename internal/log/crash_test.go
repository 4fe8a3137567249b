package log

import (
	"errors"
	"fmt"
	"math/rand"
	"os"
	"strconv"
	"testing"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/vfs"
)

// crashSeeds is how many states the crash tests look at: enough for every build,
// and as many as GREGOR_CRASH_SEEDS says for a long run.
func crashSeeds(normal int) int {
	if n, err := strconv.Atoi(os.Getenv("GREGOR_CRASH_SEEDS")); err == nil {
		return n
	}
	return normal
}

// script is a random life of one log, and what its client knows.
type script struct {
	r     *rig
	rng   *rand.Rand
	l     *Log
	all   []record // every record that an append reported, by offset
	acked int64    // everything below was flushed and acknowledged
	start int64
	n     int
	pid   int64
	seq   int32
}

func newScript(t testing.TB, fsys vfs.FS, seed int64) *script {
	s := &script{r: newRig(t, fsys), rng: rand.New(rand.NewSource(seed))}
	s.r.cfg.SegmentBytes = 600 + s.rng.Intn(3000)
	s.r.cfg.IndexIntervalBytes = 100 + s.rng.Intn(600)
	s.r.tail = []int64{-1, 1 << 20}[s.rng.Intn(2)]
	s.pid = 1 + int64(s.rng.Intn(5))
	return s
}

// step does one random thing; sync says that every append is flushed before it
// counts as acknowledged.
func (s *script) step(sync bool) error {
	switch k := s.rng.Intn(40); {
	case k < 30:
		return s.append(sync)
	case k == 30:
		return s.l.Roll()
	case k == 31:
		s.l.UpdateHighWatermark(s.acked)
		return s.r.m.CheckpointHighWatermarks()
	case k == 32:
		return s.r.m.CheckpointRecoveryPoints()
	case k == 33:
		s.r.clock.Advance(61 * 1e9)
		s.r.m.RunTasks()
		return nil
	case k == 34 && s.acked > s.start:
		s.l.UpdateHighWatermark(s.acked)
		offset := s.start + s.rng.Int63n(s.acked-s.start+1)
		moved, err := s.l.AdvanceStart(offset)
		if moved {
			s.start = offset
		}
		if err == nil {
			_, err = s.l.DeleteOldSegments(s.r.clock.Now().UnixMilli())
		}
		return errors.Join(err, s.r.m.CheckpointLogStartOffsets())
	case k == 35 && s.l.LogEndOffset() > s.acked:
		to := s.acked + s.rng.Int63n(s.l.LogEndOffset()-s.acked+1)
		_, err := s.l.TruncateTo(to)
		if err == nil {
			s.all = s.all[:s.l.LogEndOffset()]
			s.pid, s.seq = s.pid+10, 0
		}
		return err
	case k == 36:
		return s.l.Flush()
	default:
		s.r.m.RunTasks()
		return nil
	}
}

func (s *script) append(sync bool) error {
	s.n++
	b := batch.NewBuilder(0)
	var recs []record
	for i := 0; i < 1+s.rng.Intn(4); i++ {
		ts := 1_699_999_000_000 + int64(s.n*10+i) // recent: old producers are forgotten
		v := fmt.Sprintf("%d/%d/%s", s.n, i, valueOf(s.rng.Intn(200)))
		b.Append(ts, nil, []byte(v), nil)
		recs = append(recs, record{0, ts, v})
	}
	if s.rng.Intn(3) == 0 {
		b.ProducerID, b.ProducerEpoch, b.BaseSequence = s.pid, 0, s.seq
	}
	data, err := b.Build(nil)
	if err != nil {
		return err
	}
	info, err := s.r.appendRaw(s.l, int32(s.n/20), batch.OriginClient, data)
	if err != nil {
		return err
	}
	if b.ProducerID > 0 {
		s.seq += int32(len(recs))
	}
	for i := range recs {
		recs[i].offset = info.FirstOffset + int64(i)
	}
	s.all = append(s.all[:info.FirstOffset], recs...)
	// Not every append is flushed by itself: a group commit covers several.
	if sync && s.rng.Intn(3) > 0 {
		end := info.LastOffset + 1
		if err := s.l.FlushTo(end); err != nil {
			return err
		}
		s.acked = end
	}
	return nil
}

// check opens what a crash left and compares it with what the client knows.
func (s *script) check(t *testing.T, after vfs.FS, label string) {
	t.Helper()
	r := newRig(t, after)
	r.cfg = s.r.cfg
	if err := r.tryOpen(); err != nil {
		t.Fatalf("%s: %v", label, err)
	}
	l := r.m.Get(testTP)
	if l == nil {
		if s.acked > 0 {
			t.Fatalf("%s: the log with %d acknowledged records is gone", label, s.acked)
		}
		return
	}
	end, start := l.LogEndOffset(), l.LogStartOffset()
	if end < s.acked || start > s.start {
		t.Fatalf("%s: [%d, %d) is left, acknowledged [%d, %d)", label, start, end, s.start, s.acked)
	}
	if end > int64(len(s.all)) {
		t.Fatalf("%s: the log ends at %d, only %d were written", label, end, len(s.all))
	}
	got, err := tryRecords(t, l, start, end, 1+s.rng.Intn(2000))
	if err != nil {
		t.Fatalf("%s: %v", label, err)
	}
	want := s.all[start:end]
	if len(got) != len(want) {
		t.Fatalf("%s: %d records in [%d, %d)", label, len(got), start, end)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("%s: record %+v, want %+v", label, got[i], want[i])
		}
	}
	if start == 0 {
		compareProducers(t, l, label)
	}
	if hw := l.HighWatermark(); hw < start || hw > end {
		t.Fatalf("%s: watermark %d outside of [%d, %d]", label, hw, start, end)
	}
	if info, err := r.append(l, 1_700_000_000_000, "after"); err != nil || info.FirstOffset != end {
		t.Fatalf("%s: append at %d: %+v, %v", label, end, info, err)
	}
	if _, err := l.OffsetForTimestamp(1_699_999_000_005); err != nil {
		t.Fatalf("%s: search by time: %v", label, err)
	}
	r.close()
}

// compareProducers compares the producer state, which came from a snapshot and the
// batches after it, with what all batches say.
func compareProducers(t *testing.T, l *Log, label string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	want := l.newProducers()
	for _, s := range l.view.Load().segs {
		if err := l.scanSegment(s, 0, s.size(), func(infos []batch.Info) error {
			_, err := replay(want, infos)
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	if a, b := fmt.Sprint(l.producers.Entries()), fmt.Sprint(want.Entries()); a != b {
		t.Fatalf("%s: producers %s, want %s", label, a, b)
	}
}

// TestPowerLossKeepsFlushedRecords cuts the power at random moments of random
// lives, several ways each.
func TestPowerLossKeepsFlushedRecords(t *testing.T) {
	for seed := 0; seed < crashSeeds(150); seed++ {
		mem := vfs.NewMem()
		s := newScript(t, mem, int64(seed))
		s.r.open()
		s.l = s.r.create()
		for range 5 + s.rng.Intn(60) {
			if err := s.step(true); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		for k := range 3 {
			s.check(t, mem.Crash(s.rng, vfs.PowerLoss), fmt.Sprintf("seed %d crash %d", seed, k))
		}
		s.acked = s.l.LogEndOffset() // a killed process loses nothing it wrote
		s.check(t, mem.Crash(s.rng, vfs.ProcessKill), fmt.Sprintf("seed %d kill", seed))
		if s.rng.Intn(2) == 0 {
			s.r.close()
			s.check(t, mem.Crash(s.rng, vfs.PowerLoss), fmt.Sprintf("seed %d clean close and power loss", seed))
		}
	}
}

// TestErrorsLoseNothing injects one error at a random operation of a random life,
// lets the life go on as far as it can, and kills the process.
func TestErrorsLoseNothing(t *testing.T) {
	ops := []vfs.Op{vfs.OpAny, vfs.OpWrite, vfs.OpSync, vfs.OpTruncate, vfs.OpCreate, vfs.OpRename, vfs.OpRemove, vfs.OpSyncDir, vfs.OpOpen, vfs.OpRead, vfs.OpSize}
	errs := []error{errEIO, errENOSPC, errEMFILE}
	for seed := 0; seed < crashSeeds(250); seed++ {
		mem := vfs.NewMem()
		fault := vfs.NewFault(mem)
		s := newScript(t, fault, int64(seed))
		s.r.open()
		s.l = s.r.create()
		op, injected := ops[s.rng.Intn(len(ops))], errs[s.rng.Intn(len(errs))]
		label := fmt.Sprintf("seed %d op %d %v", seed, op, injected)
		fault.Add(vfs.Rule{Op: op, Nth: 1 + s.rng.Intn(60), Times: 1 + s.rng.Intn(3), Err: injected, Short: s.rng.Intn(100)})
		for range 80 {
			if err := s.step(true); err != nil && !errors.Is(err, kafka.KafkaStorageError) {
				t.Fatalf("%s: %v", label, err)
			}
			if len(s.r.offline) == 0 && s.rng.Intn(10) == 0 {
				s.compareAll(t, label)
			}
		}
		passing := injected != errEIO && op != vfs.OpSync && op != vfs.OpSyncDir && op != vfs.OpAny
		if passing && len(s.r.offline) > 0 && op != vfs.OpTruncate && op != vfs.OpRename && op != vfs.OpRemove {
			// A truncation that a lack of space or descriptors stops half way has
			// no way back; everything else passes.
			if s.l.broken == nil {
				t.Fatalf("%s: the directory went offline", label)
			}
		}
		fault.Clear()
		s.check(t, mem.Crash(s.rng, vfs.PowerLoss), label)
	}
}

// compareAll reads the whole log while it is in use.
func (s *script) compareAll(t *testing.T, label string) {
	t.Helper()
	got, err := tryRecords(t, s.l, s.l.LogStartOffset(), s.l.LogEndOffset(), 1000)
	if err != nil {
		if expectedFailure(err) {
			return
		}
		t.Fatalf("%s: %v", label, err)
	}
	for i, r := range got {
		if want := s.all[s.l.LogStartOffset()+int64(i)]; r != want {
			t.Fatalf("%s: record %+v, want %+v", label, r, want)
		}
	}
	if n := s.l.LogEndOffset() - s.l.LogStartOffset(); int64(len(got)) != n {
		t.Fatalf("%s: %d records of %d", label, len(got), n)
	}
}

// expectedFailure says whether an injected error came out, in the form in which
// the log reports failures or, from reading a span, as it is.
func expectedFailure(err error) bool {
	return errors.Is(err, kafka.KafkaStorageError) || errors.Is(err, errEIO) || errors.Is(err, errENOSPC) || errors.Is(err, errEMFILE)
}

// TestNamesOfAKilledLife: what a node left in memory when it was killed, names of folders
// and segments among it, is not durable by itself. A flush of the next life makes it so.
func TestNamesOfAKilledLife(t *testing.T) {
	for rolls := range 3 {
		for seed := range int64(20) {
			mem := vfs.NewMem()
			r := newRig(t, mem).open()
			l := r.create()
			for i := range rolls {
				r.mustAppend(l, int64(i), "a", "b")
				if err := l.Roll(); err != nil {
					t.Fatal(err)
				}
			}
			r.mustAppend(l, 5, "c")
			r.reopen()
			end := r.log().LogEndOffset()
			if err := r.log().FlushTo(end); err != nil {
				t.Fatal(err)
			}
			r.m.Abort()
			r = newRig(t, mem.Crash(rand.New(rand.NewSource(seed)), vfs.PowerLoss)).open()
			if l := r.m.Get(testTP); l == nil || l.LogStartOffset() != 0 || l.LogEndOffset() != end {
				t.Fatalf("%d rolls, seed %d: flushed up to %d, left is %v", rolls, seed, end, l)
			}
			r.m.Abort()
		}
	}
}
