package raft

import (
	"testing"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/storage"
)

// staticSim is a settled static quorum of three and its leader.
func staticSim(t *testing.T, seed int64, retention int64) (*sim, *simNode) {
	s := newSim(t, seed, 3, func(_ *simNode, o *Options) { o.StaticVoters, o.RetentionBytes = staticSet(3), retention })
	for _, n := range s.nodes {
		n.format(false, nil)
		n.start()
	}
	s.settle()
	return s, s.awaitLeader()
}

// another is a node but that one.
func (s *sim) another(than *simNode) *simNode {
	for _, n := range s.nodes {
		if n != than {
			return n
		}
	}
	return nil
}

// hand gives a node messages that claim to come from another.
func (n *simNode) hand(from kafka.NodeID, msgs ...*pb.Message) {
	env := &envelope{ClusterID: "test", From: from, To: kafka.NoNode, Messages: msgs}
	if _, err := n.engine.Receive(appendEnvelope(nil, env)); err != nil {
		n.s.t.Fatal(err)
	}
	n.pump()
}

// TestNumbersOfOthersStopNobody: raft panics on a commit index beyond the log, on
// acknowledgements of reads that it did not begin, and on a message of its own. None of
// that may come in from outside, whatever came before it in the same request.
func TestNumbersOfOthersStopNobody(t *testing.T) {
	for _, to := range []string{"follower", "leader"} {
		s, lead := staticSim(t, 1, -1)
		n, peer := lead, s.another(lead).id()
		if to == "follower" {
			n, peer = s.another(lead), lead.id()
		}
		for _, from := range []kafka.NodeID{peer, n.id(), 77} {
			for _, later := range []uint64{0, 1} {
				for _, typ := range wireTypes {
					for _, reject := range []bool{false, true} {
						term := uint64(n.engine.Leader().Epoch) + later
						n.hand(from, &pb.Message{Type: typ.Enum(), Term: new(term), LogTerm: new(term), Index: new(uint64(1 << 62)),
							Commit: new(uint64(1 << 62)), Reject: new(reject), RejectHint: new(uint64(1 << 62)), Context: []byte("x"),
							Snapshot: &pb.Snapshot{Metadata: &pb.SnapshotMetadata{Index: new(uint64(1 << 62)), Term: new(term)}}})
						n.hand(from, &pb.Message{Type: typ.Enum(), Term: new(term), Context: []byte("12345678")})
					}
				}
			}
		}
		s.settle()
		s.close()
	}
}

// TestHeartbeatIsJudgedByTheLogBeforeIt: an append in the same request may have cut the
// log off that a heartbeat's commit index lies in.
func TestHeartbeatIsJudgedByTheLogBeforeIt(t *testing.T) {
	s, lead := staticSim(t, 2, -1)
	n := s.another(lead)
	end, epoch := n.engine.o.Log.LogEndOffset(), n.engine.Leader().Epoch
	n.cut = true // what it hears is from here on handed in
	batchAt := func(base kafka.Offset, epoch kafka.LeaderEpoch) []byte {
		b, err := storage.AppendControlBatch(nil, base, epoch, 1, leaderChangeOf(lead.id()))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	app := func(term kafka.LeaderEpoch, at kafka.Offset, data ...[]byte) *pb.Message {
		m := &pb.Message{Type: pb.MsgApp.Enum(), Term: new(uint64(term)), LogTerm: new(uint64(epoch)), Index: new(uint64(end))}
		for i, d := range data {
			m.Entries = append(m.Entries, &pb.Entry{Term: new(uint64(term)), Index: new(uint64(at) + uint64(i) + 1), Data: d})
		}
		return m
	}
	n.hand(lead.id(), app(epoch, end, batchAt(end, epoch), batchAt(end+1, epoch), batchAt(end+2, epoch)))
	if got := n.engine.o.Log.LogEndOffset(); got != end+3 {
		t.Fatalf("the log ends at %d, not %d", got, end+3)
	}
	next := epoch + 1
	n.hand(lead.id(), app(next, end, batchAt(end, next)),
		&pb.Message{Type: pb.MsgHeartbeat.Enum(), Term: new(uint64(next)), Commit: new(uint64(end) + 3)})
	if got := n.engine.o.Log.LogEndOffset(); got != end+1 {
		t.Fatalf("the log ends at %d, not %d", got, end+1)
	}
	if hw := n.engine.HighWatermark(); hw != end {
		t.Errorf("a commit index beyond the log moved the high watermark from %d to %d", end, hw)
	}
	s.close()
}

// TestTailOfABatchIsNoBatch: an append may begin inside a batch only where the batch is.
func TestTailOfABatchIsNoBatch(t *testing.T) {
	s, lead := staticSim(t, 3, -1)
	n := s.another(lead)
	end, epoch := n.engine.o.Log.LogEndOffset(), n.engine.Leader().Epoch
	n.hand(lead.id(), &pb.Message{Type: pb.MsgApp.Enum(), Term: new(uint64(epoch)), LogTerm: new(uint64(epoch)), Index: new(uint64(end)),
		Entries: []*pb.Entry{{Term: new(uint64(epoch)), Index: new(uint64(end) + 1), Data: filler}}})
	if err := n.engine.Err(); err != nil {
		t.Errorf("the engine stopped: %v", err)
	}
	s.settle()
	s.close()
}

// TestBatchesDoNotGoBackInEpoch: a log whose epochs fall is refused before it is written.
func TestBatchesDoNotGoBackInEpoch(t *testing.T) {
	data, err := storage.AppendControlBatch(nil, 7, 3, 1, leaderChangeOf(1))
	if err != nil {
		t.Fatal(err)
	}
	m := &pb.Message{Type: pb.MsgApp.Enum(), Term: new(uint64(5)), LogTerm: new(uint64(4)), Index: new(uint64(7)),
		Entries: []*pb.Entry{{Term: new(uint64(3)), Index: new(uint64(8)), Data: data}}}
	if _, err := parseEnvelope(appendEnvelope(nil, &envelope{ClusterID: "test", From: 1, Messages: []*pb.Message{m}})); err == nil {
		t.Error("a batch of epoch 3 was taken behind one of epoch 4")
	}
	m.LogTerm = new(uint64(6))
	m.Entries = nil
	if _, err := parseEnvelope(appendEnvelope(nil, &envelope{ClusterID: "test", From: 1, Messages: []*pb.Message{m}})); err == nil {
		t.Error("a log of epoch 6 was taken from a leader of epoch 5")
	}
}

// leaderChangeOf is what a leader's first record says.
func leaderChangeOf(id kafka.NodeID) *records.LeaderChangeMessage {
	m := records.NewLeaderChangeMessage()
	m.LeaderID = int32(id)
	return m
}
