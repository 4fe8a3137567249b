package raft

import (
	etcdraft "go.etcd.io/raft/v3"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/quorum"
	"github.com/gregorhq/gregor/internal/storage"
)

// Stats is what Kafka's raft-metrics tell of this node.
type Stats struct {
	quorum.LeaderAndEpoch
	// State is current-state: leader, follower, candidate, prospective, unattached or
	// observer.
	State string
	// Voted is whom this node has voted for in the epoch, kafka.NoNode for nobody.
	Voted         kafka.NodeID
	HighWatermark kafka.Offset
	LogEndOffset  kafka.Offset
	LogEndEpoch   kafka.LeaderEpoch
	Voters        int
	// Observers is how many nodes without a vote fetch from this one; 0 unless it leads.
	Observers int
	Snapshot  storage.SnapshotID
}

// Stats returns what there is to tell now.
func (e *Engine) Stats() Stats {
	d := e.Describe()
	s := Stats{LeaderAndEpoch: d.LeaderAndEpoch, Voted: kafka.NoNode, HighWatermark: d.HighWatermark, LogEndOffset: d.LogEndOffset,
		LogEndEpoch: e.o.Log.LatestEpoch(), Voters: len(d.VoterSet), Observers: len(d.Observers)}
	e.mu.Lock()
	defer e.mu.Unlock()
	s.Snapshot = e.latestSnapshot()
	_, voter := e.voters.Find(e.o.NodeID)
	state := etcdraft.StateFollower
	if e.rn != nil {
		b := e.rn.BasicStatus()
		state = b.RaftState
		if v := b.HardState.GetVote(); v != 0 {
			s.Voted = nodeID(v)
		}
	}
	switch {
	case s.Leader == e.o.NodeID:
		s.State = "leader"
	case !voter:
		s.State = "observer"
	case state == etcdraft.StateCandidate:
		s.State = "candidate"
	case state == etcdraft.StatePreCandidate:
		s.State = "prospective"
	case s.Leader == kafka.NoNode:
		s.State = "unattached"
	default:
		s.State = "follower"
	}
	return s
}

// Stats returns what there is to tell now.
func (ob *Observer) Stats() Stats { return ob.e.Stats() }
