package isr

import (
	"slices"

	"github.com/gregorhq/gregor/internal/kafka"
)

// CheckEpoch compares the epoch that a request carries with the one in force here;
// requests that carry none pass (KIP-320).
func CheckEpoch(ours, theirs kafka.LeaderEpoch) error {
	switch {
	case theirs == kafka.NoEpoch || theirs == ours:
		return nil
	case theirs < ours:
		return kafka.FencedLeaderEpoch
	default:
		return kafka.UnknownLeaderEpoch
	}
}

// Diverges says whether a fetcher whose last record has the epoch lastFetched and
// that goes on from offset holds records that this log does not. epoch and end are
// what this log knows: the largest epoch not above lastFetched and where it ends.
func Diverges(lastFetched kafka.LeaderEpoch, offset int64, epoch kafka.LeaderEpoch, end int64) bool {
	return epoch < lastFetched || end < offset
}

// Follower returns the state of a replica, nil when it is not assigned.
func (l *Leader) Follower(id int32) *Follower {
	if i := slices.IndexFunc(l.followers, func(f Follower) bool { return f.ID == id }); i >= 0 {
		return &l.followers[i]
	}
	return nil
}

// Fetch is one fetch of a follower, verified against the leader's log.
type Fetch struct {
	Replica        int32
	BrokerEpoch    int64 // -1 when the request names none
	Offset         int64
	LogStartOffset int64 // the follower's own
	LeaderEnd      int64 // the leader's end offset when the request was read
	NowMs          int64
}

// Fetched notes the progress of a follower. The caller has checked the epochs and
// that the follower does not diverge. It says whether the high watermark rose.
//
// NOT_LEADER_OR_FOLLOWER answers a replica that is not assigned and a fetch of an
// earlier incarnation of the broker, whose disk may have been lost since (KIP-903);
// OFFSET_OUT_OF_RANGE one that is ahead of the leader.
func (l *Leader) Fetched(r Fetch, b Brokers) (hwRose bool, err error) {
	f := l.Follower(r.Replica)
	if f == nil {
		return false, kafka.NotLeaderOrFollower.Errorf("replica %d is not assigned in leader epoch %d", r.Replica, l.a.LeaderEpoch)
	}
	if epoch, ok := b.Eligible(r.Replica); ok && r.BrokerEpoch != -1 && r.BrokerEpoch < epoch {
		return false, kafka.NotLeaderOrFollower.Errorf("fetch of replica %d with broker epoch %d, registered is %d", r.Replica, r.BrokerEpoch, epoch)
	}
	if r.Offset > l.localEnd {
		return false, kafka.OffsetOutOfRange.Errorf("replica %d fetches from %d, the leader's log ends at %d", r.Replica, r.Offset, l.localEnd)
	}
	switch {
	case r.Offset >= r.LeaderEnd:
		f.LastCaughtUpMs = max(f.LastCaughtUpMs, r.NowMs)
	case r.Offset >= f.lastFetchLeaderEnd:
		// It has reached what was the end when it last fetched: it keeps up, though new
		// records arrive before each of its fetches.
		f.LastCaughtUpMs = max(f.LastCaughtUpMs, f.lastFetchMs)
	}
	moved := f.EndOffset != r.Offset
	f.EndOffset, f.LogStartOffset = r.Offset, r.LogStartOffset
	f.lastFetchLeaderEnd = max(f.lastFetchLeaderEnd, r.LeaderEnd)
	f.lastFetchMs = r.NowMs
	f.BrokerEpoch, f.HasEpoch = r.BrokerEpoch, true
	if !moved {
		return false, nil
	}
	return l.advance(r.NowMs, b), nil
}

// eligible says whether the controller would accept the follower into the ISR.
func (l *Leader) eligible(f *Follower, b Brokers) bool {
	epoch, ok := b.Eligible(f.ID)
	return ok && f.HasEpoch && (f.BrokerEpoch == -1 || f.BrokerEpoch == epoch)
}
