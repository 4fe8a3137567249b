package replica

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/isr"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log"
)

// Isolation says how far a fetch may read.
type Isolation uint8

const (
	ToHighWatermark Isolation = iota // consumers that read uncommitted transactions
	ToLastStable                     // consumers that read committed transactions only
	ToLogEnd                         // followers
)

// Replica ids that are not brokers.
const (
	ConsumerReplicaID  int32 = -1
	DebuggingReplicaID int32 = -2
)

// FetchPart is one partition of a fetch: what is asked for and what was found.
type FetchPart struct {
	// P is the partition to read; nil when the caller knows already that the answer
	// is Err.
	P                  *Partition
	FetchOffset        int64
	FollowerLogStart   int64
	MaxBytes           int
	CurrentLeaderEpoch kafka.LeaderEpoch // NoEpoch for none
	LastFetchedEpoch   kafka.LeaderEpoch // NoEpoch for none

	// Preferred is the replica to read from instead, NoReplica for none (KIP-392). Then
	// there are no records.
	Preferred int32
	// Err is the outcome. Offsets are -1 when they are not known.
	Err              error
	Data             log.Data
	HighWatermark    int64
	LastStableOffset int64
	LogStartOffset   int64
	// DivergingEpoch is NoEpoch unless the fetcher has to truncate: this log's epoch
	// at most the fetcher's ends at DivergingEnd.
	DivergingEpoch kafka.LeaderEpoch
	DivergingEnd   int64
	// Aborted lists the transactions to leave out; only for ToLastStable.
	Aborted []log.AbortedTxn

	wait fetchWait
}

// FetchOwner is told when a fetch is done.
type FetchOwner interface {
	// Fetched is called once for each Start, from any goroutine, without locks held.
	// It must not block. The parts hold their outcome until FetchOp.Release.
	Fetched(op *FetchOp)
}

// FetchOp is one fetch over many partitions. Set the fields, then Start. An op may
// be used again once Recycle has said so.
type FetchOp struct {
	Owner       FetchOwner
	Parts       []FetchPart
	ReplicaID   int32 // of the follower; ConsumerReplicaID or DebuggingReplicaID
	BrokerEpoch int64 // of the follower, -1 for none
	MinBytes    int
	MaxBytes    int
	MaxWait     time.Duration
	Isolation   Isolation
	// OnlyLeader refuses to read from a follower.
	OnlyLeader bool
	// OldFormat says that the fetcher knows only message formats without control batches:
	// batches of which it can be shown nothing are passed over.
	OldFormat bool
	// Rack and Listener are the consumer's: with a replica selector the leader may send
	// it to a replica nearby.
	Rack, Listener string
	// throttled says that the rate of throttled replicas is exceeded: those outside of
	// the ISR get no records. Start sets it.
	throttled bool

	m     *Manager
	state atomic.Int32
	// avail is the number of bytes that can be returned, as far as MinBytes cares.
	avail atomic.Int64
	timer clock.Entry
	timed bool // timer was scheduled
	// holds counts who may still touch the op: its owner, and the timer once it is
	// scheduled.
	holds atomic.Int32
	// parked says that DelayedFetchRequests counts the op.
	parked bool
}

// States of a FetchOp that could not be answered at once.
const (
	fetchRegistering int32 = iota // Start is putting it on the partitions' lists
	fetchParked                   // it waits
	fetchClaimed                  // somebody completes it
	fetchEarly                    // somebody wanted to, while it was being registered
)

// FromFollower says whether a broker fetches, to replicate.
func (op *FetchOp) FromFollower() bool { return op.ReplicaID >= 0 }

// Start answers the fetch now when it can: there is enough to return, something is
// wrong, or it does not want to wait. Else it parks it, on the list of each of its
// partitions and in the timer wheel. Owner.Fetched is called either way, in the
// first case before Start returns.
func (op *FetchOp) Start(m *Manager) {
	op.m = m
	op.holds.Store(1)
	op.timed, op.parked = false, false
	op.throttled = op.FromFollower() && m.throttles.leader.excess() > 0
	size, final := op.read(true)
	if final || op.MaxWait <= 0 || size >= op.MinBytes || len(op.Parts) == 0 {
		op.answer()
		return
	}
	op.ReleaseData()
	op.park(size)
}

// answer hands what was read to the owner.
func (op *FetchOp) answer() {
	if op.FromFollower() {
		op.m.throttles.served(op)
	}
	op.Owner.Fetched(op)
}

// read reads all partitions and returns the size found. final says that the answer
// must not wait: an error, or a fetcher that diverges. The first partition with data
// returns a whole batch whatever the limits are, so that the fetcher gets on.
func (op *FetchOp) read(first bool) (size int, final bool) {
	limit, minOne := op.MaxBytes, true
	for i := range op.Parts {
		part := &op.Parts[i]
		if part.P == nil {
			part.unknown(part.Err)
			final = true
			continue
		}
		op.m.Stats.TotalFetchRequests.Add(1)
		part.P.topic.TotalFetchRequests.Add(1)
		part.P.readPart(op, part, min(limit, part.MaxBytes), minOne, first)
		if part.Err != nil || part.DivergingEpoch != kafka.NoEpoch || part.Preferred != NoReplica {
			final = true
		}
		if n := part.Data.Size; n > 0 {
			size += n
			minOne = false
			limit = max(0, limit-n)
		}
	}
	return size, final
}

// unknown is the outcome of a partition that was not read.
func (part *FetchPart) unknown(err error) {
	part.Err = err
	part.Data = log.Data{}
	part.HighWatermark, part.LastStableOffset, part.LogStartOffset = -1, -1, -1
	part.DivergingEpoch, part.DivergingEnd = kafka.NoEpoch, -1
	part.Preferred = NoReplica
	part.Aborted = nil
}

// readPart reads one partition. A follower's progress is noted on the first read of
// a request only.
func (p *Partition) readPart(op *FetchOp, part *FetchPart, maxBytes int, minOne, first bool) {
	if !first && p.quiet(part) {
		return
	}
	part.wait.quiet = false
	var err error
	for again, tries := true, 0; again; tries++ {
		part.unknown(nil)
		var v *view
		if v, err = p.check(part.CurrentLeaderEpoch, op.OnlyLeader); err != nil {
			break
		}
		part.wait.view = v
		err = p.readView(v, op, part, maxBytes, minOne, first)
		// The log may have moved to another directory under this read. The leader epoch may be
		// another one too.
		again = errors.Is(err, errLogChanged) || err != nil && tries == 0 && p.settled(v) != nil
	}
	if err == nil {
		return
	}
	part.unknown(err)
	switch kafka.CodeOf(err) {
	case kafka.UnknownTopicOrPartition, kafka.NotLeaderOrFollower, kafka.UnknownLeaderEpoch, kafka.FencedLeaderEpoch,
		kafka.ReplicaNotAvailable, kafka.KafkaStorageError, kafka.InconsistentTopicID, kafka.OffsetOutOfRange:
	default:
		p.m.Stats.FailedFetchRequests.Add(1)
		p.topic.FailedFetchRequests.Add(1)
	}
}

func (p *Partition) readView(v *view, op *FetchOp, part *FetchPart, maxBytes int, minOne, first bool) error {
	if op.FromFollower() {
		if err := p.knownFollower(op.ReplicaID, part.CurrentLeaderEpoch); err != nil {
			return err
		}
	}
	// The ends are read before the data: what is appended meanwhile must not count as
	// seen. The high watermark comes first, so that it does not pass the others.
	hw := v.log.HighWatermark()
	lso := min(v.log.LastStableOffset(), hw)
	end := v.log.LogEndOffset()
	start := v.log.LogStartOffset()
	upTo := end
	switch op.Isolation {
	case ToHighWatermark:
		upTo = hw
	case ToLastStable:
		upTo = lso
	}
	if !v.leader && part.FetchOffset > upTo && part.FetchOffset <= end {
		// The consumer was told more by the leader than this replica knows yet (KIP-392).
		return kafka.OffsetNotAvailable.Errorf("offset %d of %s is not known to be committed here yet", part.FetchOffset, p.tp)
	}
	part.wait.seen = max(upTo, part.FetchOffset)
	if op.Rack != "" && v.leader && op.ReplicaID == ConsumerReplicaID && p.m.settings.Load().rackAware {
		if part.Preferred = p.preferred(op.Rack, op.Listener, part.FetchOffset); part.Preferred != NoReplica {
			part.HighWatermark, part.LastStableOffset, part.LogStartOffset = hw, lso, start
			return nil
		}
	}
	if part.LastFetchedEpoch != kafka.NoEpoch {
		diverges, err := part.divergence(v.log, start)
		if err != nil {
			return err
		}
		if diverges {
			part.HighWatermark, part.LastStableOffset, part.LogStartOffset = hw, lso, start
			return nil
		}
	}
	readTo := upTo
	if op.throttled && p.m.throttles.leaderHolds(p, v) && !p.m.inSync(p, op.ReplicaID) {
		readTo = part.FetchOffset
	}
	if err := part.readLog(v.log, op, maxBytes, readTo, minOne); err != nil {
		return err
	}
	if op.FromFollower() && first {
		if err := p.followerFetched(v, op, part, end); err != nil {
			part.Data.Release()
			return err
		}
		hw = v.log.HighWatermark()
	}
	part.HighWatermark, part.LastStableOffset, part.LogStartOffset = hw, lso, start
	part.wait.end, part.wait.quiet = end, part.Data.Size == 0
	return nil
}

// quiet says whether the outcome of the first read stands: there was nothing to tell,
// and the partition is as it was. Most partitions of a fetch that ends at its deadline
// are so, and with many of them this is what an idle cluster does.
func (p *Partition) quiet(part *FetchPart) bool {
	w := &part.wait
	if !w.quiet || p.view.Load() != w.view {
		return false
	}
	l := w.view.log
	hw := l.HighWatermark()
	return hw == part.HighWatermark && min(l.LastStableOffset(), hw) == part.LastStableOffset &&
		l.LogEndOffset() == w.end && l.LogStartOffset() == part.LogStartOffset
}

// knownFollower refuses replicas that the assignment does not name. With an epoch in
// the request the follower knows of an assignment that is still on its way to here.
func (p *Partition) knownFollower(id int32, epoch kafka.LeaderEpoch) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.leader == nil:
		return kafka.NotLeaderOrFollower
	case p.leader.Follower(id) != nil:
		return nil
	case epoch != kafka.NoEpoch:
		return kafka.UnknownLeaderEpoch
	default:
		return kafka.NotLeaderOrFollower
	}
}

// followerFetched notes a follower's progress, and completes who waited for it. The fetch was
// verified in the leader epoch of v, without a lock: in a later one the follower may have cut
// its log since, and so may this broker.
func (p *Partition) followerFetched(v *view, op *FetchOp, part *FetchPart, leaderEnd int64) error {
	var w wakes
	p.mu.Lock()
	err := error(kafka.NotLeaderOrFollower)
	if p.leader != nil && v.leader && p.leader.LeaderEpoch() == v.leaderEpoch {
		var rose bool
		rose, err = p.leader.Fetched(isr.Fetch{
			Replica: op.ReplicaID, BrokerEpoch: op.BrokerEpoch, Offset: part.FetchOffset,
			LogStartOffset: part.FollowerLogStart, LeaderEnd: leaderEnd, NowMs: p.m.nowMs(),
		}, p)
		if rose {
			p.advanced(&w)
		}
		if err == nil {
			p.expand(op.ReplicaID)
		}
		p.completeDeletes(&w)
	}
	p.mu.Unlock()
	w.run()
	return err
}

// ReleaseData gives back what was read. The owner calls it when the answer has been
// written; more than once does no harm.
func (op *FetchOp) ReleaseData() {
	for i := range op.Parts {
		part := &op.Parts[i]
		part.Data.Release()
		part.Data = log.Data{}
	}
}

// Recycle gives up the owner's hold and says whether nobody else has one, so that
// the op may be used again. When it says no, the op belongs to the garbage
// collector: the timer may be about to fire.
func (op *FetchOp) Recycle() bool { return op.holds.Add(-1) == 0 }
