//go:build linux

package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	downTime = 10 * time.Second
	// syncLimit is the time within which every replica must be in sync after a restart, and
	// within which the preferred replicas must lead again after that.
	syncLimit = 3 * time.Minute
)

// killer kills one node after the other and starts it again. mu guards what is below it.
type killer struct {
	c *cluster

	mu        sync.Mutex
	disturbed bool // from a kill until all is as it was
	touched   bool // it was, since somebody asked
	kills     int
	sync, led time.Duration // the longest
}

// run ends with ctx; a node that is down by then is started and waited for.
func (k *killer) run(ctx context.Context, every time.Duration) {
	if every == 0 {
		return
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			k.kill(ctx, k.c.nodes[n%nodes])
		}
	}
}

func (k *killer) kill(ctx context.Context, p *process) {
	k.disturb(true)
	defer k.disturb(false)
	p.kill()
	pause(ctx, downTime)
	if err := p.start(k.c.ended); err != nil {
		k.c.bad.add("starting node %d: %v", p.id, err)
		return
	}
	sync, what := k.c.settled(context.Background(), syncLimit, false)
	if what != "" {
		k.c.bad.add("node %d was killed and started again: not in sync within %v: %s", p.id, syncLimit, what)
		return
	}
	led, what := k.c.settled(context.Background(), syncLimit, true)
	if what != "" {
		k.c.bad.add("node %d was killed and started again: the preferred replicas do not lead within %v: %s", p.id, syncLimit, what)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.kills++
	k.sync, k.led = max(k.sync, sync), max(k.led, led)
	fmt.Printf("node %d was killed and started again after %v: every replica in sync after %.1f s, the preferred ones lead after %.1f s more\n",
		p.id, downTime, sync.Seconds(), led.Seconds())
}

func (k *killer) disturb(on bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.disturbed = on
	k.touched = true
}

// quiet says that nothing was disturbed since the last time.
func (k *killer) quiet() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	touched := k.touched || k.disturbed
	k.touched = k.disturbed
	return !touched
}

func (k *killer) counts() (kills int, sync, led time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.kills, k.sync, k.led
}
