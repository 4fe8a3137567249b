package raft

import (
	"testing"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/vfs"
)

// wipe replaces a dead node's disk by an empty one that is formatted again.
func (n *simNode) wipe() {
	n.fs = vfs.NewMem()
	n.format(false, nil)
}

// TestReplacedDiskOfAStaticVoter: a voter of a static quorum that comes back with an
// empty directory gets everything from the same leader, in the same epoch: also where
// that leader has nobody else to commit anything with.
func TestReplacedDiskOfAStaticVoter(t *testing.T) {
	for seed := range int64(20) {
		size := 2 + int(seed%3)
		s := newSim(t, seed, size, func(_ *simNode, o *Options) { o.StaticVoters, o.RetentionBytes = staticSet(size), 3000 })
		for _, n := range s.nodes {
			n.format(false, nil)
			n.start()
		}
		s.settle()
		lead := s.awaitLeader()
		if seed%2 == 0 {
			lead.snapshot()
		}
		l, n := lead.engine.Leader(), s.another(lead)
		n.kill(vfs.ProcessKill)
		n.wipe()
		n.start()
		up := []*simNode{lead, n}
		for _, third := range s.nodes {
			switch {
			case third == lead || third == n:
			case size == 3:
				third.kill(vfs.PowerLoss)
			default:
				up = append(up, third)
			}
		}
		s.settle(up...)
		if now := lead.engine.Leader(); now != l {
			t.Errorf("seed %d: %+v leads instead of %+v", seed, now, l)
		}
		s.close()
	}
}

// TestReplacedDiskOfADynamicQuorum: the same where the metadata log alone is lost, and
// where a node without a vote comes back soon enough for the leader to remember it, with
// the directory that it had or another one.
func TestReplacedDiskOfADynamicQuorum(t *testing.T) {
	for _, what := range []string{"voter", "learner", "learner, another directory"} {
		t.Run(what, func(t *testing.T) {
			var s *sim
			var lead *simNode
			if what == "voter" {
				s, lead = newVoters(t, 6)
			} else {
				s = newDynamicSim(t, 6, 3, false)
				s.settle()
				lead = s.awaitLeader()
			}
			l, n := lead.engine.Leader(), s.another(lead)
			n.kill(vfs.ProcessKill)
			n.fs = vfs.NewMem()
			if what == "learner, another directory" {
				n.dirID[7] = 1
			}
			n.format(true, nil)
			n.start()
			s.settle()
			if now := lead.engine.Leader(); now != l {
				t.Errorf("%+v leads instead of %+v", now, l)
			}
			s.close()
		})
	}
}

// TestStartingOverCommitsNothing: while a leader forgets what one voter had, no fewer
// acknowledgements count as a majority.
func TestStartingOverCommitsNothing(t *testing.T) {
	for size := 2; size <= 5; size++ {
		s := newSim(t, int64(size), size, func(_ *simNode, o *Options) { o.StaticVoters = staticSet(size) })
		for _, n := range s.nodes {
			n.format(false, nil)
			n.start()
		}
		s.settle()
		lead := s.awaitLeader()
		lost, reached := s.another(lead), size/2-1 // with the leader one too few
		for _, n := range s.nodes {
			if n == lost || n != lead && reached == 0 {
				n.cut = true
			} else if n != lead {
				reached--
			}
		}
		before := lead.engine.HighWatermark()
		s.propose()
		s.run(50 * time.Millisecond)
		lead.hand(lost.id(), &pb.Message{Type: pb.MsgAppResp.Enum(), Term: new(uint64(lead.engine.Leader().Epoch)), Index: new(uint64(before)), Reject: new(true)})
		s.run(50 * time.Millisecond)
		match := uint64(1)
		lead.engine.eachProgress(func(id kafka.NodeID, p *progress) {
			if id == lost.id() {
				match = p.Match
			}
		})
		if end := lead.engine.o.Log.LogEndOffset(); match != 0 || lead.engine.HighWatermark() != before || end == before {
			t.Errorf("of %d voters: the lost one has %d, %d is committed of %d, it was %d", size, match, lead.engine.HighWatermark(), end, before)
		}
		s.settle()
		s.close()
	}
}
