package replica

import (
	"slices"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log"
)

// OffsetQuery is one partition of a ListOffsets request.
type OffsetQuery struct {
	Timestamp          int64
	CurrentLeaderEpoch kafka.LeaderEpoch // NoEpoch for none
	// Client is false for replicas, which see the whole log. Committed asks a client's
	// question within read_committed.
	Client     bool
	Committed  bool
	OnlyLeader bool
}

// ListOffset answers a search by time. NoOffset in the answer means that nothing was
// found. OFFSET_NOT_AVAILABLE says that a new leader does not know yet how far its
// predecessor's records are committed.
func (p *Partition) ListOffset(q OffsetQuery) (log.TimestampOffset, error) {
	none := log.TimestampOffset{Timestamp: log.NoTimestamp, Offset: log.NoOffset, LeaderEpoch: kafka.NoEpoch}
	v, err := p.check(q.CurrentLeaderEpoch, q.OnlyLeader)
	if err != nil {
		return none, err
	}
	hw := v.log.HighWatermark()
	last := v.log.LogEndOffset()
	var lagging error
	if q.Client {
		last = hw
		if q.Committed {
			last = min(v.log.LastStableOffset(), hw)
		}
		if v.leader && v.epochStart > hw {
			lagging = kafka.OffsetNotAvailable.Errorf("the high watermark %d of %s lags behind the start %d of its leader's epoch", hw, p.tp, v.epochStart)
		}
	}
	switch q.Timestamp {
	case log.LatestTimestamp:
		if lagging != nil {
			return none, lagging
		}
		return log.TimestampOffset{Timestamp: log.NoTimestamp, Offset: last, LeaderEpoch: v.leaderEpoch}, nil
	case log.EarliestTimestamp, log.EarliestLocalTimestamp:
		return v.log.OffsetForTimestamp(q.Timestamp)
	}
	found, err := v.log.OffsetForTimestamp(q.Timestamp)
	if err != nil {
		return none, err
	}
	if found.Offset == log.NoOffset || found.Offset >= last {
		return none, lagging
	}
	return found, nil
}

// EndOffsetForEpoch answers where the largest epoch not above the one asked for ends;
// (NoEpoch, NoOffset) when the log does not go back that far.
func (p *Partition) EndOffsetForEpoch(current, epoch kafka.LeaderEpoch) (kafka.LeaderEpoch, int64, error) {
	v, err := p.check(current, true)
	if err != nil {
		return kafka.NoEpoch, log.NoOffset, err
	}
	e, end := v.log.EndOffsetForEpoch(epoch)
	return e, end, nil
}

// DeleteOwner is told when a DeleteRecords that had to wait is done.
type DeleteOwner interface {
	// Deleted is called once for each slot that DeleteRecords left pending, from any
	// goroutine, without locks held.
	Deleted(s *DeleteSlot)
}

// DeleteSlot is one partition of a DeleteRecords request.
type DeleteSlot struct {
	Owner DeleteOwner
	// LowWatermark is the answer, -1 with an error.
	LowWatermark int64
	Err          error

	p        *Partition
	required int64
}

// HighWatermarkOffset stands for the high watermark in DeleteRecords.
const HighWatermarkOffset int64 = -1

// DeleteRecords raises the log start to offset and returns true, or false when
// followers that are alive have not done so yet: then Owner.Deleted follows.
func (p *Partition) DeleteRecords(offset int64, s *DeleteSlot) (done bool) {
	s.p, s.LowWatermark, s.Err = p, -1, nil
	if _, err := p.check(kafka.NoEpoch, true); err != nil {
		s.Err = err
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	v := p.view.Load()
	if p.leader == nil {
		s.Err = kafka.NotLeaderOrFollower
		return true
	}
	if !v.cfg.CleanupDelete && v.cfg.CleanupCompact {
		s.Err = kafka.PolicyViolation.Errorf("Records of partition %s can not be deleted due to the configured policy", p.tp)
		return true
	}
	hw := p.leader.HighWatermark()
	if offset == HighWatermarkOffset {
		offset = hw
	}
	if offset < 0 || offset > hw {
		s.Err = kafka.OffsetOutOfRange.Errorf("The offset %d for partition %s is not valid", offset, p.tp)
		return true
	}
	if _, err := v.log.AdvanceStart(offset); err != nil {
		s.Err = err
		return true
	}
	s.required = offset
	if p.lowReached(s) {
		return true
	}
	p.deletes = append(p.deletes, s)
	return false
}

// lowReached says whether all live replicas start at or after what the slot asked
// for. Caller holds mu and leads.
func (p *Partition) lowReached(s *DeleteSlot) bool {
	s.LowWatermark = p.leader.LowWatermark(p.view.Load().log.LogStartOffset(), p)
	return s.LowWatermark >= s.required
}

// completeDeletes collects the DeleteRecords that the followers have caught up with.
// Caller holds mu and leads.
func (p *Partition) completeDeletes(w *wakes) {
	if len(p.deletes) == 0 {
		return
	}
	p.deletes = slices.DeleteFunc(p.deletes, func(s *DeleteSlot) bool {
		if !p.lowReached(s) {
			return false
		}
		w.deletes = append(w.deletes, s)
		return true
	})
}

// Expire ends the wait of a slot with REQUEST_TIMED_OUT, unless it is completed
// already. The log start stays where it was moved to.
func (s *DeleteSlot) Expire() {
	p := s.p
	if p == nil {
		return
	}
	p.mu.Lock()
	i := slices.Index(p.deletes, s)
	if i >= 0 {
		p.deletes = slices.Delete(p.deletes, i, i+1)
		s.Err = kafka.RequestTimedOut
	}
	p.mu.Unlock()
	if i >= 0 {
		s.Owner.Deleted(s)
	}
}

// ISR is what the leader knows of its replicas, for those who describe partitions.
type ISR struct {
	Replicas, InSync []int32
	HighWatermark    int64
	UnderMinISR      bool
}

// ISR returns the leader's view; ok is false while this broker does not lead.
func (p *Partition) ISR() (s ISR, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leader == nil {
		return ISR{}, false
	}
	return ISR{
		Replicas: p.leader.Replicas(), InSync: p.leader.ISR(),
		HighWatermark: p.leader.HighWatermark(), UnderMinISR: p.leader.UnderMinISR(),
	}, true
}
