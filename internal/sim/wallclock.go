package sim

import (
	"sync/atomic"
	"time"

	"github.com/gregorhq/gregor/internal/clock"
)

// wallClock is the clock of one host. Its wall time can be set, as an administrator or
// NTP does it; its monotonic reading, which timers and differences go by, runs on.
//
// In a synctest bubble time.Now has no monotonic reading, so that differences would go by
// the wall. Times of a wallClock have one.
type wallClock struct {
	clock.Clock
	off atomic.Int64 // nanoseconds that the wall time is ahead
}

func newWallClock() *wallClock { return &wallClock{Clock: clock.Real()} }

// monotonicZero has a monotonic reading of zero.
var monotonicZero = clock.WithMonotonic(time.Unix(0, 0), 0)

func (w *wallClock) Now() time.Time {
	return clock.WithMonotonic(time.Now().Add(time.Duration(w.off.Load())), time.Since(monotonicZero))
}

func (w *wallClock) Since(t time.Time) time.Duration { return w.Now().Sub(t) }
