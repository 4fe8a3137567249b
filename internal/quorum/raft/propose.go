package raft

import (
	"errors"
	"fmt"

	etcdraft "go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/storage"
)

// Propose appends recs as one batch in the given epoch.
func (e *Engine) Propose(epoch kafka.LeaderEpoch, recs []records.Message) (kafka.Offset, error) {
	if len(recs) == 0 {
		return 0, fmt.Errorf("an empty batch was proposed")
	}
	now := e.o.Clock.Now().UnixMilli()
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.mayPropose(epoch); err != nil {
		return 0, err
	}
	data, err := storage.AppendBatch(nil, e.nextOffset, epoch, now, recs)
	if err != nil {
		return 0, err
	}
	if err := e.stepBatch(data, len(recs)); err != nil {
		return 0, err
	}
	return e.nextOffset - 1, nil
}

// mayPropose says whether this node leads in the epoch and its listeners know it.
func (e *Engine) mayPropose(epoch kafka.LeaderEpoch) error {
	st := e.rn.BasicStatus()
	if e.failure != nil || e.closed || e.leading != epoch || epoch == kafka.NoEpoch ||
		st.RaftState != etcdraft.StateLeader || st.HardState.GetTerm() != uint64(epoch) {
		return kafka.NotController.Errorf("node %d does not lead the metadata quorum in epoch %d", e.o.NodeID, epoch)
	}
	if e.stuck() {
		// It may lead still, and then its listeners hear nothing that would end this: whoever
		// proposes must stay in the epoch.
		return kafka.RequestTimedOut.Errorf("node %d does not know whether it still leads the metadata quorum: its log was not written for %v", e.o.NodeID, e.sinceTurn())
	}
	return nil
}

// stepBatch proposes a batch of n records that begins at nextOffset. The caller
// holds mu.
func (e *Engine) stepBatch(data []byte, n int) error {
	entries := make([]*pb.Entry, n)
	entries[0] = &pb.Entry{Data: data}
	for i := 1; i < n; i++ {
		entries[i] = &pb.Entry{Data: filler}
	}
	id := raftID(e.o.NodeID)
	err := e.guard(func() error {
		return e.rn.Step(&pb.Message{Type: pb.MsgProp.Enum(), From: new(id), Entries: entries})
	})
	if errors.Is(err, etcdraft.ErrProposalDropped) && e.rn.BasicStatus().LeadTransferee != etcdraft.None {
		return kafka.RequestTimedOut.Errorf("a batch of %d records was not taken: leadership is being handed over: %w", n, err)
	}
	if errors.Is(err, etcdraft.ErrProposalDropped) {
		return kafka.RequestTimedOut.Errorf("a batch of %d records was not taken: too much waits for its commit: %w", n, err)
	}
	if err != nil {
		return fmt.Errorf("proposing a batch of %d records: %w", n, err)
	}
	e.nextOffset += kafka.Offset(n)
	e.kick()
	return nil
}

// kick wakes the loop.
func (e *Engine) kick() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// NextOffset is the offset of the next record to be proposed.
func (e *Engine) NextOffset(epoch kafka.LeaderEpoch) kafka.Offset {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.leading == epoch {
		return e.nextOffset
	}
	return e.o.Log.LogEndOffset()
}

// Resign gives up leadership: the node enters the next epoch as a follower that
// has not voted. A sole voter then stands for election again at once.
func (e *Engine) Resign(epoch kafka.LeaderEpoch) {
	e.mu.Lock()
	defer e.mu.Unlock()
	st := e.rn.BasicStatus()
	if st.RaftState != etcdraft.StateLeader || st.HardState.GetTerm() != uint64(epoch) || e.failure != nil || e.closed {
		return
	}
	id := raftID(e.o.NodeID)
	err := e.guard(func() error {
		// A response of a later term makes any leader step down.
		err := e.rn.Step(&pb.Message{Type: pb.MsgAppResp.Enum(), From: new(id), To: new(id), Term: new(uint64(epoch) + 1)})
		if err == nil && e.isSole() {
			err = e.rn.Campaign()
		}
		return err
	})
	if err != nil {
		e.o.Logger.Error("resigning", "leaderEpoch", epoch, "error", err)
	}
	e.leading = kafka.NoEpoch
	e.kick()
}
