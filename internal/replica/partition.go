package replica

import (
	"sync"
	"sync/atomic"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/isr"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log"
)

// topicConfig is what one topic's configuration means to its partitions, shared by
// all of them.
type topicConfig struct {
	config.Topic
	batch batch.Config
	// leaderThrottled and followerThrottled name the replicas whose moves are slowed down.
	leaderThrottled, followerThrottled throttledReplicas
}

// view is what readers need to know of a partition. It never changes once it is
// published; a change of leadership or configuration publishes another.
type view struct {
	log         *log.Log // nil when offline or deleted
	cfg         *topicConfig
	err         *kafka.Code // why there is no log
	leader      bool        // this broker leads
	leaderID    int32       // isr.NoNode for none
	leaderEpoch kafka.LeaderEpoch
	epochStart  int64 // meaningful while leading
}

// Partition is one replica on this broker.
type Partition struct {
	m       *Manager
	tp      kafka.TopicPartition
	topicID kafka.TopicID
	topic   *TopicStats // of all of the topic's partitions here
	// lag is how far the log is behind its leader's high watermark, as of the last fetch
	// from it.
	lag atomic.Int64

	// view is stored under mu and read without it.
	view atomic.Pointer[view]

	// mu guards what follows and orders appends. Under it nothing outward is called
	// but the log and the isr mind. Order: mu before the log's own lock; never two
	// partitions at once.
	mu sync.Mutex
	// leader is nil while this broker does not lead.
	leader *isr.Leader
	// fetches, appends and deletes are parked, each in the order of arrival.
	fetches fetchList
	appends appendList
	deletes []*DeleteSlot
	// flushed and flushTarget are about flush.messages: records below flushed are as
	// durable as the topic asks, and a flush up to flushTarget has been asked for.
	// flushing says that a goroutine is at it.
	flushed, flushTarget int64
	flushing             bool
	// watched says that the partition is on the list of lagging ones.
	watched bool

	// Manager.mu guards what follows: who fetches for this replica, in which epoch.
	fetcher    *assignedFetcher
	fetcherID  fetcherID
	fetchEpoch kafka.LeaderEpoch
}

// TopicPartition names the partition.
func (p *Partition) TopicPartition() kafka.TopicPartition { return p.tp }

// TopicID is the id of the topic that the partition belongs to.
func (p *Partition) TopicID() kafka.TopicID { return p.topicID }

// Log returns the log, nil when it is offline or deleted.
func (p *Partition) Log() *log.Log { return p.view.Load().log }

// Config returns the effective topic configuration.
func (p *Partition) Config() *config.Topic { return &p.view.Load().cfg.Topic }

// Leader returns the leader and epoch that this broker believes in.
func (p *Partition) Leader() (id int32, epoch kafka.LeaderEpoch) {
	v := p.view.Load()
	return v.leaderID, v.leaderEpoch
}

// IsLeader says whether this broker leads the partition.
func (p *Partition) IsLeader() bool { return p.view.Load().leader }

// check returns the view if it may serve a request that carries epoch.
func (p *Partition) check(epoch kafka.LeaderEpoch, onlyLeader bool) (*view, error) {
	v := p.view.Load()
	if v.err != nil {
		return v, v.err
	}
	if err := isr.CheckEpoch(v.leaderEpoch, epoch); err != nil {
		return v, err
	}
	// A replica that follows nobody has nobody to tell it what is committed: its high
	// watermark may be that of long ago (R11).
	if !v.leader && (onlyLeader || v.leaderID == isr.NoNode) {
		return v, kafka.NotLeaderOrFollower
	}
	return v, nil
}

// lead makes this broker the leader of an epoch, or applies a change of the ISR or
// the assignment within it. The log knows the epoch's start before anybody is served
// (R4). Who is to be completed is collected in w.
func (p *Partition) lead(a isr.Assignment, cfg *topicConfig, w *wakes) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.view.Load()
	if old.log == nil {
		return nil
	}
	l := p.leader
	newEpoch := l == nil || a.LeaderEpoch > l.LeaderEpoch()
	if newEpoch {
		// This also loads a log that was only looked at from outside so far: its end and
		// its high watermark are certain from here on.
		if err := old.log.AssignEpochStart(a.LeaderEpoch); err != nil {
			return err
		}
	}
	end := old.log.LogEndOffset()
	if l == nil {
		p.flushed, p.flushTarget = end, end
		if old.log.NeedsFlush() {
			// What was fetched last, or recovered, may await its flush still.
			p.flushed = old.log.RecoveryPoint()
			p.beginFlush(end)
		}
		l = isr.NewLeader(p.m.nodeID, end, old.log.HighWatermark(), p.flushed, p.m.maxLagMs.Load())
	}
	applied, rose := l.Update(a, end, p.m.nowMs(), p)
	if !applied {
		return nil
	}
	p.leader = l
	if newEpoch {
		p.view.Store(&view{log: old.log, cfg: cfg, leader: true, leaderID: p.m.nodeID, leaderEpoch: a.LeaderEpoch, epochStart: l.EpochStart()})
		// A fetch carries the epoch that it was made for: it looks again. Appends that
		// wait go on waiting, since their records are still in the leader's log.
		p.wakeAllFetches(w)
	}
	if rose {
		p.advanced(w)
	}
	p.completeAppends(w)
	p.completeDeletes(w)
	p.watch()
	return nil
}

// follow makes this broker a follower, or a replica of a partition without leader.
func (p *Partition) follow(leaderID int32, epoch kafka.LeaderEpoch, cfg *topicConfig, w *wakes) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.view.Load()
	if old.log == nil || epoch < old.leaderEpoch {
		return
	}
	if !old.leader && old.leaderID == leaderID && old.leaderEpoch == epoch {
		return // the ISR or the assignment changed
	}
	if old.leader {
		old.log.ClearVerifications()
	}
	p.leader = nil
	p.view.Store(&view{log: old.log, cfg: cfg, leaderID: leaderID, leaderEpoch: epoch})
	p.failAll(kafka.NotLeaderOrFollower, w)
}

// close takes the log away: code says why, to those who ask from now on and to
// those who wait.
func (p *Partition) close(code *kafka.Code, w *wakes) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := *p.view.Load()
	old.log, old.leader, old.err = nil, false, code
	p.leader = nil
	p.view.Store(&old)
	p.failAll(code, w)
}

// reconfigure replaces the topic's configuration. ahead says that cfg is ahead of the image
// that the ISR is from.
func (p *Partition) reconfigure(cfg *topicConfig, ahead bool, w *wakes) {
	p.mu.Lock()
	defer p.mu.Unlock()
	v := *p.view.Load()
	v.cfg = cfg
	p.view.Store(&v)
	if v.log != nil {
		v.log.Reconfigure(cfg.Topic)
	}
	p.setLimits(ahead, w)
}

// setLimits gives the leader's view the limits in force. Ahead of its image a
// min.insync.replicas may be raised, but not lowered: the ISR that is known may be one that
// another leader has replaced before the value was lowered. Caller holds mu.
func (p *Partition) setLimits(ahead bool, w *wakes) {
	if p.leader == nil {
		return
	}
	minISR := p.view.Load().cfg.MinInsyncReplicas
	if ahead {
		minISR = max(minISR, p.leader.MinISR())
	}
	if p.leader.SetLimits(minISR, p.m.maxLagMs.Load(), p.m.nowMs(), p) {
		p.advanced(w)
	}
}

// advanced passes the leader's high watermark to the log and collects who waited
// for it. Caller holds mu.
func (p *Partition) advanced(w *wakes) {
	v := p.view.Load()
	v.log.UpdateHighWatermark(p.leader.HighWatermark())
	p.completeAppends(w)
	p.wakeFetches(w)
}

// failAll collects everybody who waits. Caller holds mu.
func (p *Partition) failAll(code *kafka.Code, w *wakes) {
	for s := p.appends.first; s != nil; s = p.appends.first {
		p.appends.remove(s)
		s.Err = code
		w.appends = append(w.appends, s)
	}
	p.wakeAllFetches(w)
	for _, s := range p.deletes {
		s.Err = code
		w.deletes = append(w.deletes, s)
	}
	p.deletes = nil
}

// wakes collects what was completed under a partition's lock, to be told after it
// is released. The zero value is ready; run leaves it ready again.
type wakes struct {
	appends []*AppendSlot
	fetches []*FetchOp
	deletes []*DeleteSlot
}

// run tells everybody, in the order appends, deletes, fetches: who produced has
// waited for longest. No lock is held.
func (w *wakes) run() {
	for i, s := range w.appends {
		w.appends[i] = nil
		s.finish()
	}
	for i, s := range w.deletes {
		w.deletes[i] = nil
		s.Owner.Deleted(s)
	}
	for i, op := range w.fetches {
		w.fetches[i] = nil
		op.complete()
	}
	w.appends, w.fetches, w.deletes = w.appends[:0], w.fetches[:0], w.deletes[:0]
}
