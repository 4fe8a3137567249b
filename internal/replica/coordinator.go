package replica

import (
	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/kafka"
)

// A coordinator appends to its partition in the leader epoch in which it loaded its
// state, and in no other: in between another leader may have written records that it
// does not know.

// AppendInEpoch is Append that refuses with NOT_LEADER_OR_FOLLOWER unless this broker
// leads the partition in that epoch. The check and the append are one step.
func (a *Appender) AppendInEpoch(p *Partition, records []byte, epoch kafka.LeaderEpoch, s *AppendSlot) (done bool) {
	*s = AppendSlot{BaseOffset: -1, LogAppendTime: -1, LogStartOffset: -1, p: p, owner: a.Owner}
	v, err := p.check(kafka.NoEpoch, true)
	if err != nil {
		s.Err = err
		return true
	}
	if s.RecordErrors, err = batch.Validate(&a.scratch, records, &v.cfg.batch, a.Origin, a.Version, a.NowMs); err != nil {
		return s.refuse(v, err, len(records))
	}
	p.mu.Lock()
	if v = p.view.Load(); v.leader && v.leaderEpoch != epoch {
		err = kafka.NotLeaderOrFollower.Errorf("%s: append in leader epoch %d, the broker leads in %d", p.tp, epoch, v.leaderEpoch)
	} else {
		done, err = p.appendLocked(a, s)
	}
	p.mu.Unlock()
	if err != nil {
		return s.refuse(v, err, len(records))
	}
	p.countIn(&a.scratch)
	return done
}

// End is one past the last record of an append that stored something.
func (s *AppendSlot) End() int64 { return s.end }

// AwaitCommit parks the slot until the high watermark reaches end while this broker
// leads in that epoch; owner.Appended follows unless it returns true. The slot's Err
// says that it will not happen here.
func (p *Partition) AwaitCommit(epoch kafka.LeaderEpoch, end int64, owner AppendOwner, s *AppendSlot) (done bool) {
	*s = AppendSlot{BaseOffset: -1, LogAppendTime: -1, LogStartOffset: -1, p: p, owner: owner, end: end}
	p.mu.Lock()
	defer p.mu.Unlock()
	v := p.view.Load()
	switch {
	case v.err != nil:
		s.Err = v.err
		return true
	case p.leader == nil || v.leaderEpoch != epoch:
		s.Err = kafka.NotLeaderOrFollower
		return true
	case p.settle(s):
		return true
	}
	p.m.Stats.DelayedProduceRequests.Add(1)
	p.appends.push(s)
	return false
}

// CommittedInEpoch is the high watermark as of a moment in which this broker led the
// partition in that epoch; ok is false when it does not. A high watermark of any other
// time may have passed over records that this leader did not write (KAFKA-20634).
func (p *Partition) CommittedInEpoch(epoch kafka.LeaderEpoch) (hw int64, ok bool) {
	l := p.Log()
	if l == nil {
		return 0, false
	}
	hw = l.HighWatermark()
	v := p.view.Load()
	return hw, v.leader && v.leaderEpoch == epoch
}
