package replica

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/kafka"
)

// throttles bounds what moves of replicas may take (KIP-73): the rates are the
// broker's, which replicas they are about is the topics'. Only replicas that are not in
// sync wait; what all throttled replicas move counts.
type throttles struct {
	m        *Manager
	leader   meter
	follower meter
	moves    meter // between directories
}

// meter is a rate over the last samples, and its bound.
type meter struct {
	clock clock.Clock
	// bound in bytes a second; math.MaxInt64 for none. Read without mu.
	bound atomic.Int64

	mu      sync.Mutex
	sample  time.Duration
	samples []float64 // a ring; the newest is at next-1
	next    int
	filled  int
	current time.Time // begin of the newest sample
}

func (t *throttles) configure(m *Manager, cfg *config.Broker) {
	t.m = m
	n, seconds := cfg.ReplicationQuotaWindowNum, cfg.ReplicationQuotaWindowSizeSeconds
	t.leader.configure(m.clock, n, seconds, cfg.LeaderReplicationThrottledRate)
	t.follower.configure(m.clock, n, seconds, cfg.FollowerReplicationThrottledRate)
	t.moves.configure(m.clock, cfg.AlterLogDirsReplicationQuotaWindowNum, cfg.AlterLogDirsReplicationQuotaWindowSizeSeconds,
		cfg.ReplicaAlterLogDirsIOMaxBytesPerSecond)
}

// configure takes the number and length of the samples and the bound.
func (r *meter) configure(c clock.Clock, n int, seconds, bound int64) {
	r.bound.Store(bound)
	r.mu.Lock()
	defer r.mu.Unlock()
	n, size := max(1, n), time.Duration(max(1, seconds))*time.Second
	if r.clock == nil || len(r.samples) != n || r.sample != size {
		r.clock, r.sample, r.samples = c, size, make([]float64, n)
		r.next, r.filled = 0, 0
	}
}

// advance begins new samples up to now. Caller holds mu.
func (r *meter) advance(to time.Time) {
	if r.filled == 0 || to.Sub(r.current) >= time.Duration(len(r.samples)+1)*r.sample {
		clear(r.samples)
		r.samples[0], r.next, r.filled, r.current = 0, 1%len(r.samples), 1, to
		return
	}
	for to.Sub(r.current) >= r.sample {
		r.current = r.current.Add(r.sample)
		r.samples[r.next] = 0
		r.next = (r.next + 1) % len(r.samples)
		r.filled = min(r.filled+1, len(r.samples))
	}
}

// record counts bytes.
func (r *meter) record(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.advance(r.clock.Now())
	r.samples[(r.next+len(r.samples)-1)%len(r.samples)] += float64(n)
}

// sum is what was counted in the samples, and the time that they span, one sample at least.
// Caller holds mu.
func (r *meter) sum() (total float64, span time.Duration) {
	now := r.clock.Now()
	r.advance(now)
	for _, n := range r.samples {
		total += n
	}
	return total, max(r.sample, now.Sub(r.current)+time.Duration(r.filled-1)*r.sample)
}

// excess is how long it takes until the rate is at its bound again, 0 while it is below.
func (r *meter) excess() time.Duration {
	bound := r.bound.Load()
	if bound == math.MaxInt64 {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	total, elapsed := r.sum()
	need := total / max(float64(bound), 1) // seconds in which the total is allowed
	if need <= elapsed.Seconds() {
		return 0
	}
	return min(time.Duration((need-elapsed.Seconds())*float64(time.Second)), time.Duration(len(r.samples))*r.sample) + time.Millisecond
}

// rate is the bytes a second over the samples.
func (r *meter) rate() float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	total, span := r.sum()
	return total / span.Seconds()
}

// throttledReplicas is a parsed *.replication.throttled.replicas.
type throttledReplicas struct {
	all   bool
	pairs []throttledReplica // sorted by nothing; there are few
}

type throttledReplica struct{ partition, broker int32 }

func parseThrottled(list []string) throttledReplicas {
	var t throttledReplicas
	for _, s := range list {
		s = strings.TrimSpace(s)
		if s == "*" {
			t.all = true
			continue
		}
		part, broker, ok := strings.Cut(s, ":")
		p, err1 := strconv.ParseInt(part, 10, 32)
		b, err2 := strconv.ParseInt(broker, 10, 32)
		if ok && err1 == nil && err2 == nil {
			t.pairs = append(t.pairs, throttledReplica{int32(p), int32(b)})
		}
	}
	return t
}

func (t *throttledReplicas) has(partition, broker int32) bool {
	return t.all || slices.Contains(t.pairs, throttledReplica{partition, broker})
}

// followerWait says how long p has to be left out of fetches, 0 for not at all.
func (t *throttles) followerWait(p *Partition, epoch kafka.LeaderEpoch) time.Duration {
	if t.follower.bound.Load() == math.MaxInt64 {
		return 0
	}
	v := p.view.Load()
	if v.leaderEpoch != epoch || !v.cfg.followerThrottled.has(p.tp.Partition, t.m.nodeID) || t.m.inSync(p, t.m.nodeID) {
		return 0
	}
	return t.follower.excess()
}

// replicated counts what a follower has got.
func (t *throttles) replicated(p *Partition, n int) {
	if n > 0 && t.follower.bound.Load() != math.MaxInt64 && p.view.Load().cfg.followerThrottled.has(p.tp.Partition, t.m.nodeID) {
		t.follower.record(n)
	}
}

// leaderHolds says whether a follower's fetch of p gets no records this time. The caller
// has looked whether the rate is exceeded, once a fetch.
func (t *throttles) leaderHolds(p *Partition, v *view) bool {
	return v.cfg.leaderThrottled.has(p.tp.Partition, t.m.nodeID)
}

// served counts what a follower's fetch is answered with.
func (t *throttles) served(op *FetchOp) {
	if t.leader.bound.Load() == math.MaxInt64 {
		return
	}
	n := 0
	for i := range op.Parts {
		part := &op.Parts[i]
		if part.Data.Size > 0 && t.leaderHolds(part.P, part.P.view.Load()) {
			n += part.Data.Size
		}
	}
	if n > 0 {
		t.leader.record(n)
	}
}

// inSync says whether the metadata has the broker in the partition's ISR.
func (m *Manager) inSync(p *Partition, broker int32) bool {
	img := m.image.Load()
	if img == nil {
		return false
	}
	reg := img.Partition(p.tp.Topic, p.tp.Partition)
	return reg != nil && reg.InISR(broker)
}
