package log

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/vfs"
)

// setBack is a clock whose wall time somebody sets back; what has elapsed since a time
// from before that does not know of it.
type setBack struct {
	*clock.Virtual
	back atomic.Int64
}

func (c *setBack) Now() time.Time { return c.Virtual.Now().Add(-time.Duration(c.back.Load())) }

// TestRemovalsGoOnWhenTheWallClockIsSetBack: deleted files must not
// keep their room for hours more.
func TestRemovalsGoOnWhenTheWallClockIsSetBack(t *testing.T) {
	r := newRig(t, vfs.NewMem())
	wall := &setBack{Virtual: r.clock}
	o := r.options()
	o.Clock = wall
	r.openWith(o)
	l := r.create()
	if err := r.m.Delete(testTP); err != nil {
		t.Fatal(err)
	}
	wall.back.Store(int64(5 * time.Hour))
	delay := time.Duration(r.cfg.FileDeleteDelayMs) * time.Millisecond
	for _, c := range []struct {
		elapsed time.Duration
		there   bool
	}{{delay - time.Millisecond, true}, {time.Millisecond, false}} {
		r.clock.Advance(c.elapsed)
		r.m.RunTasks()
		if there, err := vfs.Exists(r.fs, l.Folder()); err != nil || there != c.there {
			t.Fatalf("the folder is there: %v, want %v; %v", there, c.there, err)
		}
	}
}

// TestDamageIsTriedAgainWhenTheWallClockIsSetBack: the pause is a minute all the same.
func TestDamageIsTriedAgainWhenTheWallClockIsSetBack(t *testing.T) {
	r := newRig(t, vfs.NewMem())
	r.cfg.SegmentBytes, r.tail = 900, -1
	wall := &setBack{Virtual: r.clock}
	o := r.options()
	o.Clock = wall
	r.openWith(o)
	l := r.create()
	r.fill(l, 24)
	seg := l.SegmentSizes()[0]
	flip(t, r.fs, l.path(seg.BaseOffset, suffixLog), seg.Size-1)
	tries := 0
	s := r.m.NewScrubber(quick, func(context.Context, *Log, Damage) error { tries++; return context.DeadlineExceeded })
	s.round(context.Background(), false)
	wall.back.Store(int64(5 * time.Hour))
	r.clock.Advance(scrubRetry - time.Millisecond)
	s.again(context.Background())
	if tries != 1 {
		t.Fatalf("%d tries before a minute has passed", tries)
	}
	r.clock.Advance(time.Millisecond)
	s.again(context.Background())
	if tries != 2 {
		t.Fatalf("%d tries after a minute", tries)
	}
}
