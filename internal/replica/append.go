package replica

import (
	"sync"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log"
	"github.com/gregorhq/gregor/internal/producer"
)

// Values of acks.
const (
	AcksAll    int16 = -1
	AcksNone   int16 = 0
	AcksLeader int16 = 1
)

// AppendOwner is told when an append that had to wait is done.
type AppendOwner interface {
	// Appended is called once for each slot that Append left pending, from any
	// goroutine, without locks held. It must not block.
	Appended(s *AppendSlot)
}

// AppendSlot is one append and its outcome. It must not be copied or reused between
// Append and its completion.
type AppendSlot struct {
	// Err, and RecordErrors where single records are to blame, say why the append was
	// refused, or why it could not be acknowledged.
	Err          error
	RecordErrors *batch.RecordErrors
	// BaseOffset and LogAppendTime are -1 when nothing was appended, LogStartOffset
	// when it is not known.
	BaseOffset     int64
	LogAppendTime  int64
	LogStartOffset int64

	owner      AppendOwner
	p          *Partition
	end        int64 // one past the last record
	forFlush   bool  // waits for the flush only, not for the high watermark
	listed     bool
	prev, next *AppendSlot
}

func (s *AppendSlot) finish() {
	s.p.m.Stats.DelayedProduceRequests.Add(-1)
	s.owner.Appended(s)
}

// Appender is what one goroutine appends with: scratch memory, and the fetches that
// its appends woke. The zero value is ready. It may be used for any number of
// appends, Finish after the last.
type Appender struct {
	// Acks, Version (of the Produce request) and Origin apply to the appends that follow.
	Acks    int16
	Version int16
	Origin  batch.Origin
	NowMs   int64
	Owner   AppendOwner
	// TransactionVersion is that of a transaction marker, -1 for everything else. Guard
	// proves that a transactional batch of a client was verified (KIP-890).
	TransactionVersion int16
	Guard              producer.Guard

	scratch batch.Appended
	wakes   wakes
}

// Finish completes the fetches that the appends woke. It runs their reads and
// replies on this goroutine: the caller answers its own client first.
func (a *Appender) Finish() {
	a.wakes.run()
	a.Owner = nil
	a.scratch.Data = nil
}

// Append appends records (one batch, as Produce carries it) as the leader. It
// returns true when the slot has its outcome; false when the slot waits, for the
// high watermark to pass the records (acks=all) or for the flush that the topic asks
// for: then Owner.Appended follows. records must stay unchanged until Append returns.
//
// The batch is validated before the partition is locked, so that checksums and
// decompression of one producer do not hold up others.
func (a *Appender) Append(p *Partition, records []byte, s *AppendSlot) (done bool) {
	*s = AppendSlot{BaseOffset: -1, LogAppendTime: -1, LogStartOffset: -1, p: p, owner: a.Owner}
	st := &p.m.Stats
	st.TotalProduceRequests.Add(1)
	p.topic.TotalProduceRequests.Add(1)
	v, err := p.check(kafka.NoEpoch, true)
	if err != nil {
		s.Err = err
		return true
	}
	s.RecordErrors, err = batch.Validate(&a.scratch, records, &v.cfg.batch, a.Origin, a.Version, a.NowMs)
	if err != nil {
		return s.refuse(v, err, len(records))
	}
	if a.scratch.Rewritten {
		st.ProduceConversions.Add(1)
	}
	p.mu.Lock()
	done, err = p.appendLocked(a, s)
	p.mu.Unlock()
	// A slot that waits may be completed by now: it is not ours any more.
	if err != nil {
		return s.refuse(p.view.Load(), err, len(records))
	}
	p.countIn(&a.scratch)
	return done
}

// refuse sets the outcome of an append that stored nothing.
func (s *AppendSlot) refuse(v *view, err error, size int) bool {
	s.Err = err
	st := &s.p.m.Stats
	switch kafka.CodeOf(err) {
	case kafka.UnknownTopicOrPartition, kafka.NotLeaderOrFollower, kafka.MessageTooLarge, kafka.RecordListTooLarge,
		kafka.CorruptMessage, kafka.KafkaStorageError, kafka.UnknownTopicID:
		// Everyday refusals do not count as failures of the broker.
	default:
		st.FailedProduceRequests.Add(1)
		s.p.topic.FailedProduceRequests.Add(1)
		if v.log != nil {
			s.LogStartOffset = v.log.LogStartOffset()
		}
	}
	switch kafka.CodeOf(err) {
	case kafka.MessageTooLarge:
		st.BytesRejected.Add(int64(size))
		s.p.topic.BytesRejected.Add(int64(size))
	case kafka.CorruptMessage:
		st.InvalidMessageCRC.Add(1)
	case kafka.OutOfOrderSequenceNumber:
		st.InvalidOffsets.Add(1)
	}
	return true
}

// appendLocked is the part of Append under the partition's lock. An error means that
// nothing was appended.
func (p *Partition) appendLocked(a *Appender, s *AppendSlot) (done bool, err error) {
	v, l := p.view.Load(), p.leader
	if v.err != nil {
		return true, v.err
	}
	if l == nil {
		return true, kafka.NotLeaderOrFollower
	}
	if a.Acks == AcksAll && l.UnderMinISR() {
		return true, kafka.NotEnoughReplicas.Errorf("The size of the current ISR : %d is insufficient to satisfy the min.isr requirement of %d for partition %s, live replica(s) broker.id are : %v",
			len(l.ISR()), l.MinISR(), p.tp, l.ISR())
	}
	info, err := v.log.AppendWith(&a.scratch, log.AppendOptions{
		LeaderEpoch: v.leaderEpoch, Origin: a.Origin, NowMs: a.NowMs, TransactionVersion: a.TransactionVersion, Guard: a.Guard,
	})
	if err != nil {
		return true, err
	}
	s.BaseOffset, s.LogAppendTime, s.LogStartOffset = info.FirstOffset, info.LogAppendTime, info.LogStartOffset
	s.end = info.LastOffset + 1
	if !info.Duplicate {
		p.grown(v, s.end, a)
	}
	return p.acked(a, s), nil
}

// grown notes that the log ends at end: the high watermark moves at once where it
// can, and a flush is begun where the topic asks for one.
func (p *Partition) grown(v *view, end int64, a *Appender) {
	if v.log.NeedsFlush() || p.flushTarget > p.flushed {
		p.beginFlush(end)
	} else {
		p.flushed, p.flushTarget = end, end
	}
	nowMs := int64(0) // of no use without followers, and not free for a hot path
	if len(p.leader.Followers()) > 0 {
		nowMs = p.m.nowMs()
		if !p.watched {
			defer p.watch()
		}
	}
	if p.leader.LocalEnd(end, p.flushed, nowMs, p) {
		p.advanced(&a.wakes)
	} else if p.fetches.first != nil {
		// Followers read up to the log end.
		p.wakeFetches(&a.wakes)
	}
}

// beginFlush asks for a flush up to end. Caller holds mu.
func (p *Partition) beginFlush(end int64) {
	p.flushTarget = end
	if !p.flushing && p.m.goFlush(p) {
		p.flushing = true
	}
}

// acked says whether the slot has its acknowledgement already, or parks it.
func (p *Partition) acked(a *Appender, s *AppendSlot) bool {
	s.forFlush = a.Acks != AcksAll
	if a.Acks == AcksNone || p.settle(s) {
		return true
	}
	p.m.Stats.DelayedProduceRequests.Add(1)
	p.appends.push(s)
	return false
}

// settle says whether what the slot waits for has happened, and sets its error. A
// record that is committed in too small an ISR is not acknowledged as such.
func (p *Partition) settle(s *AppendSlot) bool {
	if s.forFlush {
		return s.end <= p.flushed
	}
	if p.leader.HighWatermark() < s.end {
		return false
	}
	if p.leader.MaximalISR() < p.leader.MinISR() {
		s.Err = kafka.NotEnoughReplicasAfterAppend
	}
	return true
}

// completeAppends collects the appends that are settled. Caller holds mu and leads.
func (p *Partition) completeAppends(w *wakes) {
	for s := p.appends.first; s != nil; {
		next := s.next
		if p.settle(s) {
			p.appends.remove(s)
			w.appends = append(w.appends, s)
		}
		s = next
	}
}

// Expire ends the wait of a slot with REQUEST_TIMED_OUT, unless it is completed
// already or about to be. The record stays in the log (and may become committed).
func (s *AppendSlot) Expire() {
	p := s.p
	if p == nil {
		return
	}
	p.mu.Lock()
	expired := s.listed
	if expired {
		p.appends.remove(s)
		s.Err = kafka.RequestTimedOut
	}
	p.mu.Unlock()
	if expired {
		s.finish()
	}
}

// flushLoop makes what was appended durable for those who wait, one sync after the
// other: while one is under way the next ones gather. It ends when nobody waits.
func (p *Partition) flushLoop() {
	var w wakes
	for {
		p.mu.Lock()
		v, target := p.view.Load(), p.flushTarget
		if target <= p.flushed || v.log == nil || p.leader == nil {
			p.flushing = false
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
		err := v.log.FlushTo(target)
		p.mu.Lock()
		if err != nil && p.view.Load().log != v.log {
			// Another log took its place, in another directory.
			p.mu.Unlock()
			continue
		}
		if err != nil {
			// The directory is going offline. What was appended stays unacknowledged.
			p.flushing = false
			p.failAll(kafka.KafkaStorageError, &w)
		} else {
			p.flushDone(&w)
		}
		p.mu.Unlock()
		w.run()
		if err != nil {
			return
		}
	}
}

// flushDone notes what is durable after a flush. That is the log's to say, not the target of
// the flush: the log may have been cut meanwhile, while another replica led. Caller holds mu.
func (p *Partition) flushDone(w *wakes) {
	if p.leader == nil {
		return
	}
	l := p.view.Load().log
	p.flushed = max(p.flushed, l.RecoveryPoint())
	if p.leader.LocalEnd(l.LogEndOffset(), p.flushed, p.m.nowMs(), p) {
		p.advanced(w)
	} else {
		p.completeAppends(w)
	}
}

// appendList is a list of parked appends in order of arrival.
type appendList struct{ first, last *AppendSlot }

func (l *appendList) push(s *AppendSlot) {
	s.prev, s.next, s.listed = l.last, nil, true
	if l.last != nil {
		l.last.next = s
	} else {
		l.first = s
	}
	l.last = s
}

func (l *appendList) remove(s *AppendSlot) {
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		l.first = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	} else {
		l.last = s.prev
	}
	s.prev, s.next, s.listed = nil, nil, false
}

// appenders keeps Appenders between requests.
var appenders = sync.Pool{New: func() any { return new(Appender) }}

// GetAppender returns an Appender, PutAppender takes it back after Finish.
func GetAppender() *Appender  { return appenders.Get().(*Appender) }
func PutAppender(a *Appender) { appenders.Put(a) }
