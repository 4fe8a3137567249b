package replica

import (
	"sync"
	"time"

	"github.com/gregorhq/gregor/internal/clock"
)

// lagList holds the partitions in which time alone may change something: a follower
// that counts is behind the log end. Appends, elections and changes of the ISR put a
// partition on it, the tick takes it off when its followers have caught up. The tick is
// scheduled only while somebody is on the list.
type lagList struct {
	mu        sync.Mutex
	parts     []*Partition
	entry     clock.Entry
	scheduled bool
}

// watch puts the partition on the list if need be. Caller holds mu and leads.
func (p *Partition) watch() {
	if p.watched || p.m.cluster.Controller == nil || p.leader.Settled(p.m.nowMs()) {
		return
	}
	p.watched = true
	l := &p.m.lag
	l.mu.Lock()
	defer l.mu.Unlock()
	l.parts = append(l.parts, p)
	p.m.scheduleTick()
}

// scheduleTick plans the next tick. Caller holds lag.mu.
func (m *Manager) scheduleTick() {
	l := &m.lag
	if l.scheduled || m.manual {
		return
	}
	if l.entry.Fire == nil {
		// The wheel must not wait for the tick.
		l.entry.Fire = func() { m.start(m.tick) }
	}
	l.scheduled = true
	m.wheel.Schedule(&l.entry, max(time.Millisecond, time.Duration(m.maxLagMs.Load()/2)*time.Millisecond))
}

// tick looks for followers that have fallen out of sync, in the partitions of the list.
func (m *Manager) tick() {
	l := &m.lag
	l.mu.Lock()
	parts := l.parts
	l.parts, l.scheduled = nil, false
	l.mu.Unlock()
	keep := parts[:0]
	var w wakes
	for _, p := range parts {
		if p.tick(&w) {
			keep = append(keep, p)
		}
		w.run()
	}
	if len(keep) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.parts = append(keep, l.parts...)
	m.scheduleTick()
}

// tick says whether the partition has to be looked at again.
func (p *Partition) tick(w *wakes) (again bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leader == nil {
		p.watched = false
		return false
	}
	now := p.m.nowMs()
	if p.leader.Tick(now, p) {
		p.advanced(w)
	}
	p.shrink(now)
	p.watched = !p.leader.Settled(now)
	return p.watched
}
