//go:build linux

package main

import (
	"context"
	"math"
	"sync/atomic"
	"time"
)

// pacer spreads work over time. One goroutine waits; anybody sets the rate.
type pacer struct {
	rate atomic.Uint64 // bits of a float64, things a second
	next time.Time
}

func newPacer(rate float64) *pacer {
	p := &pacer{}
	p.set(rate)
	return p
}

// unthrottled is a rate without limit.
var unthrottled = math.Inf(1)

func (p *pacer) set(rate float64) { p.rate.Store(math.Float64bits(rate)) }

// grain is how early things may be: to wait for each of many thousand a second would keep
// a CPU busy with timers.
const grain = 2 * time.Millisecond

// wait waits until n more things are due, or nearly so; false if ctx ends before. What was
// missed is made up for no longer than a second.
func (p *pacer) wait(ctx context.Context, n int) bool {
	rate, now := math.Float64frombits(p.rate.Load()), time.Now()
	if math.IsInf(rate, 1) {
		p.next = now
		return ctx.Err() == nil
	}
	if earliest := now.Add(-time.Second); p.next.Before(earliest) {
		p.next = earliest
	}
	p.next = p.next.Add(time.Duration(float64(n) / rate * float64(time.Second)))
	if d := p.next.Sub(now); d > grain {
		return pause(ctx, d)
	}
	return ctx.Err() == nil
}
