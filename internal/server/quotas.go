package server

import (
	"context"
	"sync"
	"time"
)

// quotas counts connections and decides when one may come in. It is the only place
// where they are counted: a connection is counted between admit and leave, which the
// Server calls exactly once each. mu guards every field below it.
type quotas struct {
	cfg *Config

	mu      sync.Mutex
	limits  Limits
	changed chan struct{} // closed and replaced when a slot becomes free
	total   int
	byIP    map[string]int
	rate    bucket
}

// Limits are the limits on connections that can change while the server runs. Zero or
// less means no limit.
type Limits struct {
	MaxConnections               int
	MaxConnectionsPerIP          int
	MaxConnectionsPerIPOverrides map[string]int
	MaxConnectionCreationRate    int
}

// normal returns the limits with "no limit" as a number that is never reached.
func (l Limits) normal() Limits {
	for _, p := range []*int{&l.MaxConnections, &l.MaxConnectionsPerIP, &l.MaxConnectionCreationRate} {
		if *p <= 0 {
			*p = unlimited
		}
	}
	return l
}

// set changes the limits for connections that come from now on; those that wait look
// again.
func (q *quotas) set(l Limits) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.limits = l.normal()
	q.wake()
}

// wake lets every waiting acceptor look again. The caller holds mu.
func (q *quotas) wake() {
	close(q.changed)
	q.changed = make(chan struct{})
}

// listenerQuota is the listener's part of the counts, guarded by quotas.mu.
type listenerQuota struct {
	count int
	rate  bucket
}

func newQuotas(cfg *Config) *quotas {
	return &quotas{cfg: cfg, limits: cfg.limits(), changed: make(chan struct{}), byIP: map[string]int{}}
}

// verdict is what becomes of an accepted connection.
type verdict int

const (
	admitted    verdict = iota
	tooManyOfIP         // its address has as many as it may
	stopped             // the server stopped while it waited
)

// protected says whether the listener is exempt from the broker's limits: the
// inter-broker listener, unless it is the only one.
func (q *quotas) protected(l *Listener) bool {
	return l.InterBroker && len(q.cfg.Listeners) > 1
}

// admit waits until the limits let one more connection in, on the acceptor's
// goroutine, so that what is beyond the limits waits in the system's backlog.
func (q *quotas) admit(ctx context.Context, l *Listener, ip string) verdict {
	start := q.cfg.Clock.Now()
	for {
		q.mu.Lock()
		now := q.cfg.Clock.Now()
		wait := q.rateDelay(l, now)
		if wait == 0 && q.slotFree(l) {
			break
		}
		changed := q.changed
		q.mu.Unlock()
		if !q.await(ctx, wait, changed) {
			return stopped
		}
	}
	defer q.mu.Unlock()
	now := q.cfg.Clock.Now()
	if waited := now.Sub(start); waited > 0 {
		l.srv.metrics.AcceptBlockedNanos.Add(int64(waited))
		l.metrics.BlockedNanos.Add(int64(waited))
	}
	limit, ok := q.limits.MaxConnectionsPerIPOverrides[ip]
	if !ok {
		limit = q.limits.MaxConnectionsPerIP
	}
	if q.byIP[ip] >= limit {
		return tooManyOfIP
	}
	if !q.protected(l) {
		q.rate.take()
	}
	l.quota.rate.take()
	q.byIP[ip]++
	q.total++
	l.quota.count++
	return admitted
}

// await waits for the rate's delay, or for a slot when there is no delay.
func (q *quotas) await(ctx context.Context, delay time.Duration, changed chan struct{}) bool {
	if delay > 0 {
		return q.cfg.Clock.Sleep(ctx, delay) == nil
	}
	select {
	case <-changed:
		return true
	case <-ctx.Done():
		return false
	}
}

// slotFree says whether the counts allow one more. The caller holds mu.
func (q *quotas) slotFree(l *Listener) bool {
	if l.quota.count >= l.MaxConnections {
		return false
	}
	return q.protected(l) || q.total < q.limits.MaxConnections
}

// rateDelay is how long the rates make the next connection wait. The caller holds mu.
func (q *quotas) rateDelay(l *Listener, now time.Time) time.Duration {
	d := l.quota.rate.delay(now, l.MaxConnectionCreationRate)
	if !q.protected(l) {
		d = max(d, q.rate.delay(now, q.limits.MaxConnectionCreationRate))
	}
	return d
}

// leave takes a connection out of the counts.
func (q *quotas) leave(l *Listener, ip string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.byIP[ip]--; q.byIP[ip] <= 0 {
		delete(q.byIP, ip)
	}
	q.total--
	l.quota.count--
	q.wake()
}

// exceeded says whether protected connections pushed the total over the limit.
func (q *quotas) exceeded() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.total > q.limits.MaxConnections
}

// bucket limits a rate: it holds at most one second's worth of tokens.
type bucket struct {
	tokens float64
	last   time.Time
}

// delay refills the bucket and returns how long to wait for a token.
func (b *bucket) delay(now time.Time, rate int) time.Duration {
	if rate >= unlimited {
		b.tokens = 1
		return 0
	}
	full := float64(rate)
	if b.last.IsZero() {
		b.tokens = full
	} else {
		b.tokens = min(full, b.tokens+now.Sub(b.last).Seconds()*float64(rate))
	}
	b.last = now
	if b.tokens >= 1 {
		return 0
	}
	return max(time.Millisecond, time.Duration((1-b.tokens)/float64(rate)*float64(time.Second)))
}

func (b *bucket) take() { b.tokens-- }
