package replica

import (
	"sync/atomic"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log"
	"github.com/gregorhq/gregor/internal/metadata"
)

// TopicStats counts what the partitions of one topic on this broker did. Producers
// write the first group, consumers the second.
type TopicStats struct {
	MessagesIn            atomic.Int64
	BytesIn               atomic.Int64
	TotalProduceRequests  atomic.Int64
	FailedProduceRequests atomic.Int64
	BytesRejected         atomic.Int64

	_                   [64]byte
	BytesOut            atomic.Int64
	TotalFetchRequests  atomic.Int64
	FailedFetchRequests atomic.Int64
}

// TopicStats are the counters of the partition's topic.
func (p *Partition) TopicStats() *TopicStats { return p.topic }

// countIn counts a batch that was appended.
func (p *Partition) countIn(a *batch.Appended) {
	bytes, n := int64(len(a.Data)), a.NumRecords()
	p.m.Stats.BytesIn.Add(bytes)
	p.m.Stats.MessagesIn.Add(n)
	p.topic.BytesIn.Add(bytes)
	p.topic.MessagesIn.Add(n)
}

// noteLag takes the leader's high watermark of the answer that was just replicated.
func (p *Partition) noteLag(leaderHW int64) {
	if l := p.Log(); l != nil {
		p.lag.Store(max(0, leaderHW-l.LogEndOffset()))
	}
}

// Topics calls f for every topic that has a partition here, in no order.
func (m *Manager) Topics(f func(name string, s *TopicStats)) {
	m.table.all(func(e *topicEntry) { f(e.name, &e.stats) })
}

// Status is what there is to say of a partition without holding anybody up: no lock is
// taken, and a log that was not used yet is not loaded.
type Status struct {
	TopicPartition kafka.TopicPartition
	// Log is nil when the replica is offline.
	Log *log.Log
	// Reg is the partition in the image that was applied last; nil when it is gone.
	Reg *metadata.Partition
	// Leader says that this broker leads; what counts replicas is 0 or false otherwise, as
	// in Kafka.
	Leader          bool
	Replicas, ISR   int
	UnderReplicated bool
	UnderMinISR     bool
	AtMinISR        bool
	Reassigning     bool
	// Lag is how far a follower is behind its leader's high watermark.
	Lag      int64
	LeaderID int32 // isr.NoNode for none
}

// Status returns the partition's status.
func (p *Partition) Status() Status {
	v := p.view.Load()
	s := Status{TopicPartition: p.tp, Log: v.log, Leader: v.leader, LeaderID: v.leaderID}
	img := p.m.image.Load()
	if img == nil {
		return s
	}
	if s.Reg = img.Partition(p.tp.Topic, p.tp.Partition); s.Reg == nil {
		return s
	}
	if !v.leader {
		s.Lag = p.lag.Load()
		return s
	}
	s.Replicas, s.ISR = len(s.Reg.Replicas), len(s.Reg.ISR)
	s.UnderReplicated = s.ISR < s.Replicas-len(s.Reg.AddingReplicas)
	least := min(v.cfg.MinInsyncReplicas, s.Replicas)
	s.UnderMinISR, s.AtMinISR = s.ISR < least, s.ISR == least
	s.Reassigning = s.Reg.Reassigning()
	return s
}

// ReplicationRates are the bytes a second that throttled replicas have moved lately:
// from this broker as leader, to it as follower, and between its directories.
func (m *Manager) ReplicationRates() (leader, follower, moves float64) {
	return m.throttles.leader.rate(), m.throttles.follower.rate(), m.throttles.moves.rate()
}
