package raft

import (
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/quorum"
)

// A leader remembers how much of its log each member has acknowledged in its epoch, and
// raft never probes below that. A member that comes back with an empty directory refuses
// what it is sent from there on, as long as the epoch lasts, and its leader, at once told
// so, sends it again. Apache Kafka's leader serves such a follower from where it asks.

// standIn is raft's id of nobody: what is sent to it goes nowhere.
const standIn = uint64(1) << 32

// lostItsLog says whether a refusal shows that a member does not have what it has
// acknowledged in this epoch. One that was overtaken by an acknowledgement looks the
// same; to begin again with that member costs a few messages. The caller holds mu.
func (e *Engine) lostItsLog(from kafka.NodeID, m *pb.Message) bool {
	if m.GetType() != pb.MsgAppResp || !m.GetReject() {
		return false
	}
	now := e.look()
	if now.leader != e.o.NodeID || m.GetTerm() != uint64(now.epoch) {
		return false
	}
	lost := false
	e.eachProgress(func(id kafka.NodeID, p *progress) { lost = lost || id == from && m.GetRejectHint() < p.Match })
	return lost
}

// startOver makes raft forget what a member has acknowledged, which it does only when
// the member goes and comes again. Without a voter fewer acknowledgements could be a
// majority, and what they had committed would not count with it: so there is a stand-in
// meanwhile, which acknowledges nothing. With it neither a set of one voter more nor one
// without the member is content with fewer of the others. Nothing is sent or written
// before all of it is done. The caller holds mu.
func (e *Engine) startOver(id kafka.NodeID, dir kafka.UUID) {
	voter, member := false, false
	e.eachProgress(func(n kafka.NodeID, p *progress) {
		if n == id {
			voter, member = !p.IsLearner, true
		}
	})
	if !member || id == e.o.NodeID {
		return
	}
	e.o.Logger.Warn("a controller has lost its metadata log and gets everything again", "node", id, "directory", dir.String())
	// It has not caught up any more, which AddRaftVoter asks for.
	delete(e.replicas.m, quorum.Replica{ID: id, DirectoryID: dir})
	if !voter {
		e.changeMember(pb.ConfChangeRemoveNode, raftID(id))
		e.changeMember(pb.ConfChangeAddLearnerNode, raftID(id))
		return
	}
	e.changeMember(pb.ConfChangeAddNode, standIn)
	e.changeMember(pb.ConfChangeRemoveNode, raftID(id))
	e.changeMember(pb.ConfChangeAddNode, raftID(id))
	e.changeMember(pb.ConfChangeRemoveNode, standIn)
}
