package sim

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestWallClockStepLeavesTheMonotonicReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWallClock()
		before := w.Now()
		for _, step := range []time.Duration{time.Hour, -30 * time.Minute, time.Nanosecond} {
			w.off.Store(int64(step))
			time.Sleep(time.Second)
			now := w.Now()
			if d := now.Sub(before); d != time.Second {
				t.Errorf("a step by %v: %v passed, not a second", step, d)
			}
			if d := w.Since(before); d != time.Second {
				t.Errorf("a step by %v: %v since, not a second", step, d)
			}
			if d := now.Round(0).Sub(time.Now().Round(0)); d != step {
				t.Errorf("a step by %v: the wall is ahead by %v", step, d)
			}
			before = now
		}
	})
}
