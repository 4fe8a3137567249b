package cleaner

import (
	"context"
	"sync"
	"time"

	"github.com/gregorhq/gregor/internal/clock"
)

// throttle holds the reading and writing of all goroutines together to
// log.cleaner.io.max.bytes.per.second. mu guards the fields below it.
type throttle struct {
	clock clock.Clock

	mu   sync.Mutex
	rate float64
	free time.Time // when what was taken so far will have been due
}

// slack is how much of the rate that was not used counts later.
const slack = 300 * time.Millisecond

func (t *throttle) setRate(rate float64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rate = rate
}

// take waits until n more bytes are due, or until ctx ends.
func (t *throttle) take(ctx context.Context, n int) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	t.mu.Lock()
	cost := float64(n) / t.rate * float64(time.Second)
	if cost < 1 {
		t.mu.Unlock()
		return nil
	}
	now := t.clock.Now()
	if oldest := now.Add(-slack); t.free.Before(oldest) {
		t.free = oldest
	}
	t.free = t.free.Add(time.Duration(min(cost, float64(time.Hour))))
	wait := t.free.Sub(now)
	t.mu.Unlock()
	if wait <= 0 {
		return nil
	}
	return t.clock.Sleep(ctx, wait)
}
