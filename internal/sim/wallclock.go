package sim

import (
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/gregorhq/gregor/internal/clock"
)

// wallClock is the clock of one host. Its wall time can be set, as an administrator or
// NTP does it; its monotonic reading, which timers and differences go by, runs on.
//
// In a synctest bubble time.Now has no monotonic reading, so that differences would go by
// the wall. Times of a wallClock have one, made as package time lays out a Time;
// TestWallClockStepLeavesTheMonotonicReading holds it to that.
type wallClock struct {
	clock.Clock
	off atomic.Int64 // nanoseconds that the wall time is ahead
}

func newWallClock() *wallClock { return &wallClock{Clock: clock.Real()} }

// rawTime is the layout of the two words of a time.Time with a monotonic reading.
type rawTime struct {
	wall uint64 // hasMonotonic, 33 bits of seconds since 1885, 30 bits of nanoseconds
	ext  int64  // the monotonic reading
}

const (
	hasMonotonic = 1 << 63
	// unixFrom1885 are the seconds from 1885 to 1970.
	unixFrom1885 = (85*365 + 20) * 86400
)

// monotonicZero has a monotonic reading of zero.
var monotonicZero = withMonotonic(time.Unix(0, 0), 0)

func withMonotonic(wall time.Time, reading int64) time.Time {
	t := wall.Round(0)
	raw := (*rawTime)(unsafe.Pointer(&t))
	raw.wall = hasMonotonic | uint64(wall.Unix()+unixFrom1885)<<30 | uint64(wall.Nanosecond())
	raw.ext = reading
	return t
}

func (w *wallClock) Now() time.Time {
	return withMonotonic(time.Now().Add(time.Duration(w.off.Load())), int64(time.Since(monotonicZero)))
}

func (w *wallClock) Since(t time.Time) time.Duration { return w.Now().Sub(t) }
