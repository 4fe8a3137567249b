package rsm

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/invariant"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/replica"
)

// States of a shard.
const (
	shardLoading int32 = iota
	shardActive
	shardResigned
)

// shard is one machine in one leader epoch of its partition. Everything but mail and
// state belongs to its loop.
type shard[M coord.Machine] struct {
	c     *Coordinator[M]
	index int32
	epoch kafka.LeaderEpoch
	part  *replica.Partition
	mail  *mailbox[M]
	state atomic.Int32

	machine M
	// waiting are the clients that have no answer yet, by token.
	waiting   map[coord.Token]Done
	lastToken coord.Token
	timers    map[string]*deadline
	// end is one past the last record that the machine has replayed.
	end int64
	// held are the outcomes that wait for a commit, ordered by end. The clients of the
	// first of them, expired so many, were told REQUEST_TIMED_OUT.
	held    []*held
	expired int
	// expiry wakes the loop when the oldest held outcome has waited for too long, at
	// expiryAt; 0 when it is not set.
	expiry   clock.Entry
	expiryAt int64
	fired    atomic.Bool // expiry has fired, and has to be set again if it was too early
}

// held is an outcome that waits for the high watermark to reach end.
type held struct {
	end      int64
	op       any // for Machine.Committed
	replies  []coord.Reply
	effects  []coord.Effect
	deadline int64 // by elapsedMs
	// slot tells of the commit, if told: of an append its own does, and of a barrier only
	// where nothing else with the same end does.
	slot replica.AppendSlot
	told bool
}

// ready says whether requests are accepted.
func (s *shard[M]) ready() error {
	switch s.state.Load() {
	case shardLoading:
		return kafka.CoordinatorLoadInProgress
	case shardResigned:
		return kafka.NotCoordinator
	}
	return nil
}

func (s *shard[M]) nowMs() int64 { return s.c.cfg.Clock.Now().UnixMilli() }

// elapsedMs is time that the wall clock's changes do not touch.
func (s *shard[M]) elapsedMs() int64 { return s.c.cfg.Clock.Since(s.c.started).Milliseconds() }

// run is the shard's goroutine.
func (s *shard[M]) run() {
	defer s.c.wg.Done()
	if s.begin() {
		s.loop()
	}
	s.resign()
}

// begin loads the machine and tells it what it has to know. It returns false when the
// shard has to end.
func (s *shard[M]) begin() bool {
	took, ok := s.reload()
	if !ok {
		return false
	}
	s.c.loadTimes.Observe(int64(took))
	s.c.cfg.Logger.Info("loaded the state of a coordinator", "partition", s.part.TopicPartition(), "leaderEpoch", s.epoch,
		"endOffset", s.end, "ms", took.Milliseconds())
	now := s.nowMs()
	s.apply(s.machine.Loaded(now), now)
	s.mail.dropImages()
	if img := s.c.image.Load(); img != nil && s.c.cfg.Image != nil {
		s.apply(s.c.cfg.Image(s.machine, nil, img, now), now)
	}
	return s.state.CompareAndSwap(shardLoading, shardActive)
}

// loop runs what the mailbox holds until it is closed.
func (s *shard[M]) loop() {
	var items []item[M]
	closed := false
	for {
		<-s.mail.signal
		for {
			items, closed = s.mail.take(items)
			if closed {
				s.refuse(items)
				return
			}
			for i := range items {
				if s.state.Load() != shardActive {
					s.refuse(items[i:])
					return
				}
				s.handle(&items[i])
			}
			if !s.settle() {
				return
			}
			if len(items) == 0 {
				break
			}
		}
	}
}

// refuse answers those who are not served any more.
func (s *shard[M]) refuse(items []item[M]) {
	for i := range items {
		if done := items[i].done; done != nil {
			done(nil, kafka.NotCoordinator)
		}
	}
}

// handle runs one operation or timer.
func (s *shard[M]) handle(it *item[M]) {
	now := s.nowMs()
	if it.timer != nil {
		s.fire(it.timer, now)
		return
	}
	to := coord.NoToken
	if it.done != nil {
		s.lastToken++
		to = s.lastToken
		s.waiting[to] = it.done
	}
	s.apply(it.op(s.machine, now, to), now)
}

// apply does what an outcome asks for.
func (s *shard[M]) apply(o coord.Outcome, nowMs int64) {
	for _, t := range o.Timers {
		s.setTimer(t, nowMs)
	}
	for _, text := range o.Notes {
		s.c.cfg.Notes.Info(text)
	}
	switch {
	case len(o.Records) > 0 || o.Txn != nil && o.Txn.Marker:
		s.appendOutcome(o, nowMs)
	case o.ReadBarrier && (len(o.Replies) > 0 || len(o.Effects) > 0):
		s.barrier(o)
	default:
		s.finish(o.Replies, o.Effects)
	}
}

// finish sends replies and runs effects.
func (s *shard[M]) finish(replies []coord.Reply, effects []coord.Effect) {
	for _, r := range replies {
		s.answer(r.To, r.Response, r.Err)
	}
	for _, e := range effects {
		if s.c.cfg.OnEffect != nil {
			s.c.cfg.OnEffect(s.index, s.epoch, e)
		}
	}
}

// answer sends one reply, unless the token has had one.
func (s *shard[M]) answer(to coord.Token, resp kmsg.Response, err error) {
	done, ok := s.waiting[to]
	if !ok {
		return
	}
	delete(s.waiting, to)
	if err != nil {
		resp = nil
	}
	done(resp, err)
}

// barrier sends replies once everything that the machine has replayed is committed.
// While nothing waits it still asks whether this broker leads in the shard's epoch,
// so that a former leader answers no reads.
func (s *shard[M]) barrier(o coord.Outcome) {
	if hw, ok := s.part.CommittedInEpoch(s.epoch); ok && hw >= s.end {
		s.finish(o.Replies, o.Effects)
		return
	}
	s.hold(&held{end: s.end, replies: o.Replies, effects: o.Effects}, true)
}

// hold keeps an outcome until its commit. watch asks the partition to tell, for
// outcomes whose own append does not.
func (s *shard[M]) hold(h *held, watch bool) {
	now := s.elapsedMs()
	h.deadline = now + s.c.cfg.CommitTimeout.Milliseconds()
	// Ends only grow, and what tells of one is kept until its commit.
	h.told = !watch || len(s.held) == 0 || s.held[len(s.held)-1].end < h.end
	s.held = append(s.held, h)
	if len(s.held) == 1 {
		s.expireAt(h.deadline, now)
	}
	if watch && h.told && s.part.AwaitCommit(s.epoch, h.end, s, &h.slot) {
		s.mail.poke() // it has happened meanwhile, or never will here
	}
}

// Appended tells that the high watermark passed a held outcome, or that this broker
// leads no more. It comes from any goroutine; the loop looks for itself.
func (s *shard[M]) Appended(*replica.AppendSlot) { s.mail.poke() }

// settle finishes what is committed and gives up waiting where it took too long. It
// returns false when this broker does not lead in the shard's epoch any more.
func (s *shard[M]) settle() bool {
	for len(s.held) > 0 && s.state.Load() == shardActive {
		hw, ok := s.part.CommittedInEpoch(s.epoch)
		if !ok {
			return false
		}
		h := s.held[0]
		if hw < h.end {
			break
		}
		s.held[0] = nil
		s.held = s.held[1:]
		s.expired = max(s.expired-1, 0)
		s.commit(h)
	}
	s.expire()
	return s.state.Load() == shardActive
}

// commit finishes a held outcome.
func (s *shard[M]) commit(h *held) {
	now := s.nowMs()
	var after coord.Outcome
	if h.op != nil {
		after = s.machine.Committed(h.op, now)
	}
	s.finish(h.replies, h.effects)
	s.apply(after, now)
}

// expire answers clients whose records were not committed in time. The records stay,
// and what else waits for their commit goes on waiting.
func (s *shard[M]) expire() {
	if s.fired.Swap(false) {
		s.expiryAt = 0
	}
	if len(s.held) == 0 {
		s.held = nil
		s.expireAt(0, 0)
		return
	}
	now := s.elapsedMs()
	first, i := s.expired, s.expired
	for ; i < len(s.held) && s.held[i].deadline <= now; i++ {
		h := s.held[i]
		for _, r := range h.replies {
			s.answer(r.To, nil, kafka.RequestTimedOut)
		}
		h.replies = nil
		// Of a read nothing is left to do. While the watermark stands still the same
		// clients ask again and again, and each would stay.
		if h.told || h.op != nil || len(h.effects) > 0 {
			s.held[s.expired] = h
			s.expired++
		}
	}
	if i > first {
		s.held = slices.Delete(s.held, s.expired, i)
	}
	if s.expired < len(s.held) {
		s.expireAt(s.held[s.expired].deadline, now)
	}
}

// expireAt sets expiry, 0 for never. Where it is set already it stays as it is.
func (s *shard[M]) expireAt(atMs, nowMs int64) {
	if s.expiryAt == atMs {
		return
	}
	s.c.cfg.Wheel.Cancel(&s.expiry)
	if s.expiryAt = atMs; atMs != 0 {
		s.c.cfg.Wheel.Schedule(&s.expiry, time.Duration(atMs-nowMs)*time.Millisecond)
	}
}

// resign ends the shard: everybody who waits learns that this is not the coordinator.
func (s *shard[M]) resign() {
	s.state.Store(shardResigned)
	s.mail.close()
	items, _ := s.mail.take(nil)
	s.refuse(items)
	s.dropTimers()
	tokens := make([]coord.Token, 0, len(s.waiting))
	for t := range s.waiting {
		tokens = append(tokens, t)
	}
	slices.Sort(tokens)
	for _, t := range tokens {
		s.answer(t, nil, kafka.NotCoordinator)
	}
	s.held, s.expired = nil, 0
	s.machine.Resigned()
	s.c.cfg.Logger.Info("resigned as coordinator", "partition", s.part.TopicPartition(), "leaderEpoch", s.epoch)
}

// mustNotAppend drops the records of an outcome that may not have any.
func mustNotAppend(o *coord.Outcome) {
	invariant.Check(len(o.Records) == 0 && o.Txn == nil, "the outcome of a failed append has %d records", len(o.Records))
	o.Records, o.Txn = nil, nil
}
