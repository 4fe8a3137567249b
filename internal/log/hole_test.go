package log

import (
	"errors"
	"fmt"
	"math/rand"
	"testing"

	"github.com/gregorhq/gregor/internal/vfs"
)

// TestPowerLossLeavesNoHole: names become durable in the order of the segments, so
// that what a power loss leaves of a log that was never flushed begins where the log
// began and goes on without a gap, compacted or not.
func TestPowerLossLeavesNoHole(t *testing.T) {
	for _, compact := range []bool{false, true} {
		for seed := range int64(300) {
			mem := vfs.NewMem()
			r := newRig(t, mem)
			r.cfg.SegmentBytes, r.cfg.CleanupCompact = 200, compact
			l := r.open().create()
			if compact {
				lookThrough(t, r, l)
			}
			for i := range 12 {
				r.mustAppend(l, 1000+int64(i), fmt.Sprint("value ", i))
			}
			end := l.LogEndOffset()
			after := newRig(t, mem.Crash(rand.New(rand.NewSource(seed)), vfs.PowerLoss))
			after.cfg.SegmentBytes = r.cfg.SegmentBytes // the topic's own configuration is not known at start
			after.open()
			l = after.m.Get(testTP)
			if l == nil {
				continue
			}
			if err := l.Load(); err != nil {
				t.Fatalf("compact %v, seed %d: %v", compact, seed, err)
			}
			if l.LogStartOffset() != 0 {
				t.Fatalf("compact %v, seed %d: the log begins at %d", compact, seed, l.LogStartOffset())
			}
			got, err := tryRecords(t, l, 0, l.LogEndOffset(), 1000)
			if err != nil || int64(len(got)) != l.LogEndOffset() {
				t.Fatalf("compact %v, seed %d: %d records of %d are left below the end %d, %v", compact, seed, len(got), end, l.LogEndOffset(), err)
			}
			after.m.Abort()
			r.m.Abort()
		}
	}
}

// lookThrough is a round of compaction that changes nothing: from now on the directory
// knows that the log is compacted.
func lookThrough(t *testing.T, r *rig, l *Log) {
	t.Helper()
	for i := range 4 {
		r.mustAppend(l, 500+int64(i), fmt.Sprint("early ", i))
	}
	c, err := l.BeginCleaning(4096)
	if err != nil {
		t.Fatal(err)
	}
	defer c.End()
	segs := c.Segments()
	end := segs[len(segs)-1].NextOffset
	if err := c.Begin(0, end); err != nil {
		t.Fatal(err)
	}
	if err := c.Checkpoint(end); err != nil {
		t.Fatal(err)
	}
}

// TestPowerLossAfterAKill: what a process wrote that was killed is there, but nothing says
// that it is durable: a flush of the next process makes it so, with the names.
func TestPowerLossAfterAKill(t *testing.T) {
	for seed := range int64(100) {
		mem := vfs.NewMem()
		r := newRig(t, mem)
		r.cfg.SegmentBytes = 200
		l := r.open().create()
		for i := range 6 {
			r.mustAppend(l, 1000+int64(i), fmt.Sprint("value ", i))
		}
		rng := rand.New(rand.NewSource(seed))
		mem = mem.Crash(rng, vfs.ProcessKill)
		next := newRig(t, mem)
		next.cfg.SegmentBytes = 200
		l = next.open().log()
		next.mustAppend(l, 2000, "flushed")
		end := l.LogEndOffset()
		if err := l.FlushTo(end); err != nil {
			t.Fatal(err)
		}
		last := newRig(t, mem.Crash(rng, vfs.PowerLoss))
		last.cfg.SegmentBytes = 200
		l = last.open().log()
		if got := records(t, l, 0, l.LogEndOffset(), 1000); int64(len(got)) != end {
			t.Fatalf("seed %d: %d of %d flushed records are left", seed, len(got), end)
		}
		for _, x := range []*rig{r, next, last} {
			x.m.Abort()
		}
	}
}

// TestTruncationTakesTheRecoveryPointBack: what lies below the recovery point in the
// checkpoint was durable before it was cut off. What is written in its place is not, and when
// a power loss takes it the log may not go on behind the hole.
func TestTruncationTakesTheRecoveryPointBack(t *testing.T) {
	cut := map[string]func(l *Log) error{
		"TruncateTo":              func(l *Log) error { _, err := l.TruncateTo(1); return err },
		"TruncateFullyAndStartAt": func(l *Log) error { return l.TruncateFullyAndStartAt(0) },
	}
	for name, cut := range cut {
		t.Run(name, func(t *testing.T) {
			mem := vfs.NewMem()
			r := newRig(t, mem).open()
			l := r.create()
			kept := r.fill(l, 6)
			if err := errors.Join(l.Flush(), r.m.CheckpointRecoveryPoints(), cut(l)); err != nil {
				t.Fatal(err)
			}
			kept = kept[:l.LogEndOffset()]
			for i := range 3 {
				v := fmt.Sprint("other ", i)
				info := r.mustAppend(l, 1_700_000_000_000, v)
				kept = append(kept, record{info.FirstOffset, 1_700_000_000_000, v})
				if err := l.Roll(); err != nil {
					t.Fatal(err)
				}
			}
			rng := rand.New(rand.NewSource(1))
			for range 300 {
				after := newRig(t, mem.Crash(rng, vfs.PowerLoss)).open()
				prefixOf(t, name, after.log(), kept)
				after.m.Abort()
			}
			r.m.Abort()
		})
	}
}
