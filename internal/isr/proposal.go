package isr

import (
	"slices"

	"github.com/gregorhq/gregor/internal/kafka"
)

// NoNode stands where no broker is meant. Node ids are int32 here, as in the
// metadata image, so that its replica lists need no copy.
const NoNode int32 = -1

// Member is one broker of a proposed ISR with the epoch under which it is meant; -1
// when the leader has not heard from it.
type Member struct {
	ID          int32
	BrokerEpoch int64
}

// Proposal is an ISR that the leader asks the controller for (AlterPartition).
type Proposal struct {
	LeaderEpoch    kafka.LeaderEpoch
	PartitionEpoch int32 // the version that the proposal builds on
	ISR            []Member
	Added          int32   // NoNode when shrinking
	Removed        []int32 // nil when expanding
}

// Pending is the proposal in flight, nil for none.
func (l *Leader) Pending() *Proposal { return l.pending }

// Expand proposes the follower for the ISR if it may join: nothing is in flight, it
// has reached the high watermark and the start of the leader's epoch, and the
// controller would take it. The proposal counts towards the high watermark at once.
func (l *Leader) Expand(id int32, localEpoch int64, b Brokers) *Proposal {
	f := l.Follower(id)
	if f == nil || l.pending != nil || slices.Contains(l.a.ISR, id) || !l.eligible(f, b) {
		return nil
	}
	if f.EndOffset < l.hw || f.EndOffset < l.epochStart {
		return nil
	}
	l.pending = l.propose(append(slices.Clone(l.a.ISR), id), localEpoch)
	l.pending.Added = id
	return l.pending
}

// Shrink proposes to drop the followers that were not caught up for the lag limit.
// They hold the high watermark back until the metadata has it.
func (l *Leader) Shrink(nowMs, localEpoch int64) *Proposal {
	if l.pending != nil {
		return nil
	}
	var keep, drop []int32
	for _, id := range l.a.ISR {
		f := l.Follower(id)
		if id == l.local || f != nil && f.caughtUp(l.localEnd, nowMs, l.maxLagMs) {
			keep = append(keep, id)
		} else {
			drop = append(drop, id)
		}
	}
	if len(drop) == 0 {
		return nil
	}
	l.pending = l.propose(keep, localEpoch)
	l.pending.Removed = drop
	return l.pending
}

func (l *Leader) propose(isr []int32, localEpoch int64) *Proposal {
	p := &Proposal{LeaderEpoch: l.a.LeaderEpoch, PartitionEpoch: l.a.PartitionEpoch, Added: NoNode}
	for _, id := range isr {
		m := Member{ID: id, BrokerEpoch: -1}
		if id == l.local {
			m.BrokerEpoch = localEpoch
		} else if f := l.Follower(id); f != nil && f.HasEpoch {
			m.BrokerEpoch = f.BrokerEpoch
		}
		p.ISR = append(p.ISR, m)
	}
	return p
}

// Committed applies the controller's acceptance of p. It is ignored when p is no
// longer the proposal in flight, or the answer is of another epoch. It says whether
// the high watermark rose.
//
// Whoever left goes on to count until Update brings an image that has the change. The
// answer may overtake a raised min.insync.replicas, by which the controller has made the
// removed member an eligible leader that has every acknowledged record (KIP-966). The
// image cannot: what was committed before the change comes with it or before it.
func (l *Leader) Committed(p *Proposal, isr []int32, leaderEpoch kafka.LeaderEpoch, partitionEpoch int32, nowMs int64, b Brokers) bool {
	if p == nil || l.pending != p || leaderEpoch != l.a.LeaderEpoch || partitionEpoch < l.a.PartitionEpoch {
		return false
	}
	l.pending = nil
	for _, id := range l.a.ISR {
		if !slices.Contains(isr, id) && !slices.Contains(l.left, id) {
			l.left = append(l.left, id)
		}
	}
	l.a.ISR = slices.Clone(isr)
	l.a.PartitionEpoch = partitionEpoch
	return l.advance(nowMs, b)
}

// Rejected applies the controller's refusal of p, and says whether to send it again.
//
// Only INELIGIBLE_REPLICA and OPERATION_NOT_ATTEMPTED prove that p was not applied
// and never will be: the leader goes back to the committed ISR. The other final
// errors leave p pending until the metadata says what is in force; anything else is
// repeated.
func (l *Leader) Rejected(p *Proposal, code *kafka.Code) (again bool) {
	if p == nil || l.pending != p {
		return false
	}
	switch code {
	case kafka.OperationNotAttempted, kafka.IneligibleReplica:
		l.pending = nil
		return false
	case kafka.UnknownTopicOrPartition, kafka.UnknownTopicID, kafka.FencedLeaderEpoch,
		kafka.InvalidUpdateVersion, kafka.InvalidRequest, kafka.NewLeaderElected:
		return false
	default:
		return true
	}
}
