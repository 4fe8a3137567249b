package raft

import (
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/gregorhq/gregor/internal/kafka"
)

// Raft trusts what it is told of this node's own log, and panics when that is wrong. It
// is wrong without anybody's ill will when a disk was replaced: the leader of the same
// epoch remembers what the lost directory had acknowledged. So what others say of this
// log is held against it before raft hears it.

// afterLog says whether a message can be judged only when everything before it is in the
// log: what came with it may have cut the log off.
func (e *Engine) afterLog(m *pb.Message) bool {
	return m.GetType() == pb.MsgTimeoutNow || m.GetType() == pb.MsgHeartbeat && m.GetCommit() > uint64(e.HighWatermark())
}

// admit says whether raft may hear a message, and takes out of it what raft must not
// hear. The caller holds mu.
func (e *Engine) admit(from kafka.NodeID, m *pb.Message) bool {
	if from == e.o.NodeID {
		return false // the answer would go to itself, and an acknowledgement be one of its own disk
	}
	last := uint64(e.nextOffset)
	switch m.GetType() {
	case pb.MsgHeartbeat:
		if m.GetCommit() > last {
			// Not up to the log's end either: the end that is here need not be the leader's.
			m.Commit = new(uint64(0))
		}
	case pb.MsgHeartbeatResp:
		m.Context = nil // it would acknowledge reads, of which this node begins none
	case pb.MsgAppResp:
		return m.GetReject() || m.GetIndex() <= last
	case pb.MsgApp:
		return e.continues(m)
	}
	return true
}

// continues says whether an append that begins inside a batch begins inside one that is
// here: without its first entry the rest is no batch. The caller holds mu.
func (e *Engine) continues(m *pb.Message) bool {
	skip := uint64(0)
	for _, en := range m.Entries {
		if len(en.GetData()) != len(filler) {
			break
		}
		skip++
	}
	if skip == 0 {
		return true
	}
	if before, err := e.store.Term(m.GetIndex()); err != nil || before != m.GetLogTerm() {
		return true // raft answers where the two logs part
	}
	term, err := e.store.Term(m.GetIndex() + skip)
	return err == nil && term == m.Entries[skip-1].GetTerm()
}
