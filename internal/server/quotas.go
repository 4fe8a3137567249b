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

// Limits are the limits on connections, which can change while the server runs. A count
// of 0 lets nobody in; of rates, a second, 0 means no limit.
type Limits struct {
	// MaxConnections is max.connections, which the inter-broker listener is exempt from
	// unless it is the only one.
	MaxConnections int
	// MaxConnectionsPerIP is max.connections.per.ip, MaxConnectionsPerIPOverrides what
	// single addresses have instead of it.
	MaxConnectionsPerIP          int
	MaxConnectionsPerIPOverrides map[string]int
	// MaxConnectionCreationRate is max.connection.creation.rate.
	MaxConnectionCreationRate int
	// Listeners are the limits of listeners by name, beside those above.
	Listeners map[string]ListenerLimits
}

// ListenerLimits are the limits of one listener.
type ListenerLimits struct {
	MaxConnections            int
	MaxConnectionCreationRate int
}

// NoLimits are limits that nobody reaches.
func NoLimits() Limits { return Limits{MaxConnections: unlimited, MaxConnectionsPerIP: unlimited} }

// unlimited is the default of Kafka's limits, a number that is never reached.
const unlimited = 1<<31 - 1

// set changes the limits for connections that come from now on; those that wait look
// again.
func (q *quotas) set(l Limits) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.limits = l
	q.wake()
}

// of are the limits of a listener.
func (l *Limits) of(listener string) ListenerLimits {
	if own, ok := l.Listeners[listener]; ok {
		return own
	}
	return ListenerLimits{MaxConnections: unlimited}
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
	q := &quotas{cfg: cfg, limits: NoLimits(), changed: make(chan struct{}), byIP: map[string]int{}}
	if cfg.Limits != nil {
		q.limits = *cfg.Limits
	}
	return q
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
	if l.quota.count >= q.limits.of(l.Name).MaxConnections {
		return false
	}
	return q.protected(l) || q.total < q.limits.MaxConnections
}

// rateDelay is how long the rates make the next connection wait. The caller holds mu.
func (q *quotas) rateDelay(l *Listener, now time.Time) time.Duration {
	d := l.quota.rate.delay(now, q.limits.of(l.Name).MaxConnectionCreationRate)
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
	if rate <= 0 || rate >= unlimited {
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
