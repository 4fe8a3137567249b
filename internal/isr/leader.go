package isr

import (
	"cmp"
	"slices"

	"github.com/gregorhq/gregor/internal/invariant"
	"github.com/gregorhq/gregor/internal/kafka"
)

// unknownOffset is the end offset of a follower that has not fetched yet.
const unknownOffset = -1

// Follower is what the leader knows of one other replica.
type Follower struct {
	ID             int32
	EndOffset      int64 // where it fetches from; -1 before its first fetch
	LogStartOffset int64 // its own; -1 before its first fetch
	BrokerEpoch    int64 // of its last fetch; -1 when it named none
	HasEpoch       bool  // it has fetched, so BrokerEpoch means something

	LastCaughtUpMs int64
	lastFetchMs    int64
	// lastFetchLeaderEnd is the leader's end offset when the last fetch arrived.
	lastFetchLeaderEnd int64
}

// caughtUp says whether the follower counts as in sync with the leader's log.
func (f *Follower) caughtUp(leaderEnd, nowMs, maxLagMs int64) bool {
	return f.EndOffset == leaderEnd || nowMs-f.LastCaughtUpMs <= maxLagMs
}

// Assignment is what one image of the metadata says about a partition that this broker
// leads. MinISR is min.insync.replicas, by which the ISR of the same image is judged: the
// controller has judged by no older value when it decided on the ELR (KIP-966).
type Assignment struct {
	LeaderEpoch    kafka.LeaderEpoch
	PartitionEpoch int32
	Replicas       []int32
	ISR            []int32
	MinISR         int
}

// Brokers answers what the metadata knows of other brokers.
type Brokers interface {
	// Eligible says whether the broker is registered, not fenced and not shutting
	// down, and returns the epoch of its registration.
	Eligible(id int32) (epoch int64, ok bool)
}

// Leader is the leader's view of one partition.
type Leader struct {
	local      int32
	a          Assignment
	followers  []Follower // ordered by id
	epochStart int64
	localEnd   int64
	localSafe  int64 // the part of the leader's own log that counts: see LocalEnd
	hw         int64
	maxLagMs   int64
	pending    *Proposal
	// left are the members that answers to proposals have removed since the last image.
	// They count until an image has the change: see Committed.
	left []int32
}

// NewLeader returns the view of a leader whose log ends at end and whose high
// watermark is hw. Everything below safe counts, as for LocalEnd. Update must follow.
func NewLeader(local int32, end, hw, safe, maxLagMs int64) *Leader {
	return &Leader{
		local:    local,
		a:        Assignment{LeaderEpoch: kafka.NoEpoch, PartitionEpoch: -1, MinISR: 1},
		localEnd: end, localSafe: min(safe, end), hw: hw,
		maxLagMs: maxLagMs, epochStart: end,
	}
}

// LeaderEpoch is the epoch that this broker leads in.
func (l *Leader) LeaderEpoch() kafka.LeaderEpoch { return l.a.LeaderEpoch }

// PartitionEpoch is the version of the ISR that is in force.
func (l *Leader) PartitionEpoch() int32 { return l.a.PartitionEpoch }

// EpochStart is the log end at the moment the epoch began.
func (l *Leader) EpochStart() int64 { return l.epochStart }

// HighWatermark is one past the last committed record.
func (l *Leader) HighWatermark() int64 { return l.hw }

// ISR is the committed set of in-sync replicas. The caller must not change it.
func (l *Leader) ISR() []int32 { return l.a.ISR }

// Replicas is the assignment. The caller must not change it.
func (l *Leader) Replicas() []int32 { return l.a.Replicas }

// Followers lists the other replicas, ordered by id.
func (l *Leader) Followers() []Follower { return l.followers }

// MinISR is min.insync.replicas, bounded by the number of replicas.
func (l *Leader) MinISR() int { return min(l.a.MinISR, len(l.followers)+1) }

// UnderMinISR says whether acks=all has to be refused.
func (l *Leader) UnderMinISR() bool { return len(l.a.ISR) < l.MinISR() }

// MaximalISR is the number of replicas that an acknowledgement may name: a proposed
// member counts already, a member proposed for removal counts still. One that was removed
// by an answer is waited for, but no part of it.
func (l *Leader) MaximalISR() int {
	n := len(l.a.ISR)
	if l.pending != nil && l.pending.Added != NoNode {
		n++
	}
	return n
}

func (l *Leader) inMaximalISR(id int32) bool {
	return slices.Contains(l.a.ISR, id) || slices.Contains(l.left, id) || l.pending != nil && l.pending.Added == id
}

// SetLimits applies changed values of min.insync.replicas and
// replica.lag.time.max.ms, and says whether the high watermark rose.
func (l *Leader) SetLimits(minISR int, maxLagMs, nowMs int64, b Brokers) bool {
	l.a.MinISR, l.maxLagMs = minISR, maxLagMs
	return l.advance(nowMs, b)
}

// Update applies what the metadata says. It returns false for news that are older
// than what is known. A new leader epoch begins at end, the log's end offset; the
// owner has made (epoch, end) durable before. Epochs may be left out: this broker may then
// not have led in all of them. hwRose says whether the high watermark moved, as it does when
// the ISR shrinks.
func (l *Leader) Update(a Assignment, end, nowMs int64, b Brokers) (applied, hwRose bool) {
	if a.PartitionEpoch < l.a.PartitionEpoch || a.LeaderEpoch < l.a.LeaderEpoch {
		return false, false
	}
	newEpoch := a.LeaderEpoch > l.a.LeaderEpoch
	forget := !l.followsOn(a.LeaderEpoch)
	if a.PartitionEpoch > l.a.PartitionEpoch || newEpoch {
		// News of the version that is known already, as they come after the answer to a
		// proposal, say nothing about the next one: it may yet be committed and must go
		// on to count.
		l.pending = nil
	}
	l.a, l.left = a, nil
	if newEpoch {
		l.setLocalEnd(end)
		l.epochStart = end
	}
	l.assignFollowers()
	for i := range l.followers {
		f := &l.followers[i]
		if newEpoch {
			f.reset(slices.Contains(a.ISR, f.ID), forget, end, nowMs)
		}
	}
	return true, l.advance(nowMs, b)
}

// followsOn says whether a new epoch is the one after this leader's last. Every change of
// the leader takes an epoch, also that to none, so that nobody else has led in between and
// what the followers have of this log they still have. The metadata may come with epochs left
// out, of which one may have been another leader's: a follower has cut its log towards it.
func (l *Leader) followsOn(epoch kafka.LeaderEpoch) bool {
	return l.a.LeaderEpoch != kafka.NoEpoch && epoch == l.a.LeaderEpoch+1
}

// assignFollowers keeps the state of replicas that stay assigned.
func (l *Leader) assignFollowers() {
	old := l.followers
	if len(l.a.Replicas) <= 1 && len(old) == 0 {
		return
	}
	var next []Follower
	for _, id := range l.a.Replicas {
		if id == l.local {
			continue
		}
		if i := slices.IndexFunc(old, func(f Follower) bool { return f.ID == id }); i >= 0 {
			next = append(next, old[i])
		} else {
			next = append(next, Follower{ID: id, EndOffset: unknownOffset, LogStartOffset: unknownOffset, BrokerEpoch: -1, lastFetchLeaderEnd: unknownOffset})
		}
	}
	slices.SortFunc(next, func(a, b Follower) int { return cmp.Compare(a.ID, b.ID) })
	l.followers = next
}

// reset begins a leader epoch for a follower. One in the ISR gets the benefit of a
// whole lag period; one outside counts as never caught up, so that it does not hold
// the high watermark back. forget says that the follower may have another log by now than
// the one that its fetches told of.
func (f *Follower) reset(inSync, forget bool, leaderEnd, nowMs int64) {
	f.LastCaughtUpMs, f.lastFetchMs = 0, 0
	if inSync {
		f.LastCaughtUpMs = nowMs
	}
	if forget {
		f.EndOffset, f.LogStartOffset, f.lastFetchLeaderEnd = unknownOffset, unknownOffset, unknownOffset
		f.BrokerEpoch, f.HasEpoch = -1, false
		return
	}
	f.lastFetchLeaderEnd = leaderEnd
	if inSync {
		f.lastFetchMs = nowMs
	}
}

// LocalEnd notes that the leader's log now ends at end, of which everything below
// safe counts towards the high watermark: safe trails end while a flush is awaited
// that the topic asks for. It says whether the high watermark rose.
func (l *Leader) LocalEnd(end, safe, nowMs int64, b Brokers) bool {
	l.setLocalEnd(end)
	l.localSafe = max(l.localSafe, min(safe, end))
	return l.advance(nowMs, b)
}

func (l *Leader) setLocalEnd(end int64) {
	invariant.Check(end >= l.localEnd, "leader's log end went back from %d to %d in epoch %d", l.localEnd, end, l.a.LeaderEpoch)
	l.localEnd = max(l.localEnd, end)
}

// advance raises the high watermark as far as the replicas allow.
func (l *Leader) advance(nowMs int64, b Brokers) bool {
	if l.UnderMinISR() {
		return false
	}
	hw := l.localSafe
	for i := range l.followers {
		f := &l.followers[i]
		if f.EndOffset >= hw {
			continue
		}
		if l.inMaximalISR(f.ID) || f.caughtUp(l.localEnd, nowMs, l.maxLagMs) && l.eligible(f, b) {
			hw = f.EndOffset
		}
	}
	if hw <= l.hw {
		return false
	}
	invariant.Check(hw <= l.localEnd, "high watermark %d above the log end %d", hw, l.localEnd)
	l.hw = hw
	return true
}

// Tick looks at the high watermark again: a follower outside of the ISR that held it
// back may have been behind for too long by now. It says whether it rose.
func (l *Leader) Tick(nowMs int64, b Brokers) bool { return l.advance(nowMs, b) }

// Settled says whether time alone changes nothing: every follower that counts has
// reached the log end.
func (l *Leader) Settled(nowMs int64) bool {
	for i := range l.followers {
		f := &l.followers[i]
		if f.EndOffset != l.localEnd && (l.inMaximalISR(f.ID) || nowMs-f.LastCaughtUpMs <= l.maxLagMs) {
			return false
		}
	}
	return true
}

// LowWatermark is the smallest log start offset of the leader, given, and of the
// followers that are alive: what DeleteRecords waits for.
func (l *Leader) LowWatermark(localStart int64, b Brokers) int64 {
	low := localStart
	for i := range l.followers {
		f := &l.followers[i]
		if _, ok := b.Eligible(f.ID); ok && f.LogStartOffset < low {
			low = f.LogStartOffset
		}
	}
	return low
}
