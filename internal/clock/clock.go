package clock

import (
	"context"
	"time"
)

// Clock tells the time and wakes sleepers. All methods are safe for concurrent use.
type Clock interface {
	// Now returns the current time. On the real clock it carries a monotonic reading.
	Now() time.Time
	// Since returns the time elapsed since t.
	Since(t time.Time) time.Duration
	// NewTimer returns a timer that sends the time on its channel once, after at least d.
	NewTimer(d time.Duration) Timer
	// AfterFunc calls f once, after at least d. The channel of the returned timer is nil.
	AfterFunc(d time.Duration, f func()) Timer
	// Sleep returns nil after at least d, or ctx's error as soon as ctx is done.
	Sleep(ctx context.Context, d time.Duration) error
}

// Timer is one pending wake-up.
type Timer interface {
	// C is the channel that the time is sent on; nil for a timer made by AfterFunc.
	C() <-chan time.Time
	// Stop prevents the timer from firing. It returns false if it has fired or was stopped already. After Stop returns,
	// no earlier firing is left in the channel.
	Stop() bool
	// Reset makes the timer fire after d from now. It returns whether the timer was pending. No firing of before the
	// Reset is left in the channel.
	Reset(d time.Duration) bool
}

// Real returns the clock of the machine.
func Real() Clock { return realClock{} }

type realClock struct{}

func (realClock) Now() time.Time                  { return time.Now() }
func (realClock) Since(t time.Time) time.Duration { return time.Since(t) }

func (realClock) NewTimer(d time.Duration) Timer { return realTimer{time.NewTimer(d)} }

func (realClock) AfterFunc(d time.Duration, f func()) Timer {
	return realTimer{time.AfterFunc(d, f)}
}

func (c realClock) Sleep(ctx context.Context, d time.Duration) error { return sleep(ctx, c, d) }

// realTimer is one pointer wide, so that putting it into the interface allocates nothing.
type realTimer struct{ t *time.Timer }

func (r realTimer) C() <-chan time.Time        { return r.t.C }
func (r realTimer) Stop() bool                 { return r.t.Stop() }
func (r realTimer) Reset(d time.Duration) bool { return r.t.Reset(d) }

// sleep is Sleep for every clock.
func sleep(ctx context.Context, c Clock, d time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if d <= 0 {
		return nil
	}
	t := c.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
