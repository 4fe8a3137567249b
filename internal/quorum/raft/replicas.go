package raft

import (
	"sort"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/quorum"
)

// Limits of the table of replicas.
const (
	// observerSessionMs is how long an observer is shown after its last fetch.
	observerSessionMs = 300_000
	maxReplicas       = 10_000
)

// replicaTable is what the leader knows of the replicas of the log. Engine.mu guards
// it; it begins empty with every term.
type replicaTable struct {
	m map[quorum.Replica]*replicaProgress
}

type replicaProgress struct {
	end          kafka.Offset
	fetchedMs    int64
	caughtUpMs   int64
	leaderEnd    kafka.Offset // the leader's log end at the fetch before
	leaderEndAt  int64        // when that was
	everReported bool
}

func (t *replicaTable) reset() { t.m = map[quorum.Replica]*replicaProgress{} }

// update notes that a replica has everything below end. It is caught up when it has
// what the leader had now, or had at its fetch before, as of that fetch (KIP-836).
func (t *replicaTable) update(r quorum.Replica, end, leaderEnd kafka.Offset, nowMs int64) {
	if t.m == nil {
		t.reset()
	}
	p := t.m[r]
	if p == nil {
		if len(t.m) >= maxReplicas {
			return
		}
		p = &replicaProgress{fetchedMs: -1, caughtUpMs: -1}
		t.m[r] = p
	}
	switch {
	case end >= leaderEnd:
		p.caughtUpMs = nowMs
	case p.everReported && end >= p.leaderEnd:
		p.caughtUpMs = max(p.caughtUpMs, p.leaderEndAt)
	}
	p.end, p.fetchedMs = end, nowMs
	p.leaderEnd, p.leaderEndAt, p.everReported = leaderEnd, nowMs, true
}

// state is a row of DescribeQuorum.
func (t *replicaTable) state(r quorum.Replica) quorum.ReplicaState {
	s := quorum.ReplicaState{ID: r.ID, DirectoryID: r.DirectoryID, LogEndOffset: -1, LastFetchTimestampMs: -1, LastCaughtUpTimestampMs: -1}
	if p := t.m[r]; p != nil {
		s.LogEndOffset, s.LastFetchTimestampMs, s.LastCaughtUpTimestampMs = p.end, p.fetchedMs, p.caughtUpMs
	}
	return s
}

// observers are the rows of the replicas that are no voters, by id. Those that were
// silent for too long are dropped.
func (t *replicaTable) observers(isVoter func(quorum.Replica) bool, nowMs int64) []quorum.ReplicaState {
	var out []quorum.ReplicaState
	for r, p := range t.m {
		switch {
		case nowMs-p.fetchedMs > observerSessionMs:
			delete(t.m, r)
		case !isVoter(r):
			out = append(out, t.state(r))
		}
	}
	sort.Slice(out, func(i, j int) bool {
		if out[i].ID != out[j].ID {
			return out[i].ID < out[j].ID
		}
		return out[i].DirectoryID.String() < out[j].DirectoryID.String()
	})
	return out
}

// Describe returns the data of DescribeQuorum.
func (e *Engine) Describe() quorum.Status {
	now := e.o.Clock.Now().UnixMilli()
	e.mu.Lock()
	defer e.mu.Unlock()
	s := quorum.Status{
		LeaderAndEpoch: e.leader,
		HighWatermark:  e.highWatermark.Load(),
		LogEndOffset:   e.o.Log.LogEndOffset(),
		VoterSet:       e.voters,
		KRaftVersion:   e.kraftVersion,
	}
	for _, v := range e.voters {
		key := e.voterKey(v.ID, v.DirectoryID)
		r := e.replicas.state(key)
		r.DirectoryID = v.DirectoryID
		if v.ID == e.o.NodeID {
			r.LogEndOffset = s.LogEndOffset
			if s.Leader == v.ID {
				r.LastFetchTimestampMs, r.LastCaughtUpTimestampMs = now, now
			}
		}
		s.Voters = append(s.Voters, r)
	}
	if s.Leader == e.o.NodeID {
		s.Observers = e.replicas.observers(func(r quorum.Replica) bool {
			v, ok := e.voters.Find(r.ID)
			return ok && (e.kraftVersion == 0 || v.DirectoryID == r.DirectoryID)
		}, now)
	}
	return s
}

// voterKey is the table's key of a voter: in a static quorum the directory that it
// names in its messages is not in the set. The caller holds mu.
func (e *Engine) voterKey(id kafka.NodeID, dir kafka.UUID) quorum.Replica {
	key := quorum.Replica{ID: id, DirectoryID: dir}
	if e.kraftVersion > 0 {
		return key
	}
	for r := range e.replicas.m {
		if r.ID == id {
			return r
		}
	}
	return key
}
