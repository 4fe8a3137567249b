package raft

import (
	"fmt"
	"slices"
	"time"

	etcdraft "go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/invariant"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/quorum"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/storage"
)

// run is the loop. It ends when Close asks for it or when something failed.
func (e *Engine) run() {
	defer close(e.done)
	if err := e.deliverSnapshot(); err != nil {
		e.fail(err)
		return
	}
	// A sole voter needs no heartbeats, so an idle one costs no wake-ups.
	var tick <-chan time.Time
	var timer clock.Timer
	interval := e.o.ElectionTimeout / electionTicks
	if len(e.voters) > 1 {
		timer = e.o.Clock.NewTimer(interval)
		defer timer.Stop()
		tick = timer.C()
	}
	for e.step() {
		select {
		case <-e.stop:
			return
		case <-e.wake:
		case <-tick:
			timer.Reset(interval)
			if err := e.tick(); err != nil {
				e.fail(err)
				return
			}
		}
	}
}

// tick moves raft's clock on.
func (e *Engine) tick() error {
	return e.guard(func() error {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.rn.Tick()
		return nil
	})
}

// step handles everything that raft has ready. It says whether to go on.
func (e *Engine) step() bool {
	for {
		select {
		case <-e.stop:
			return false
		default:
		}
		more, err := e.handleReady()
		if err != nil {
			e.fail(err)
			return false
		}
		if !more {
			return true
		}
	}
}

// fail stops the engine for good: nothing is retried after a failed write.
func (e *Engine) fail(err error) {
	e.o.Logger.Error("the metadata quorum stops", "error", err)
	e.mu.Lock()
	e.failure = err
	e.leading = kafka.NoEpoch
	e.leader.Leader = kafka.NoNode
	l := e.leader
	e.mu.Unlock()
	for _, li := range e.listeners {
		li.HandleLeaderChange(l)
	}
	close(e.failed)
}

// handleReady makes one Ready of raft durable and acts on it, in the order that
// raft asks for: vote, entries, messages, delivery.
func (e *Engine) handleReady() (bool, error) {
	var rd etcdraft.Ready
	has := false
	err := e.guard(func() error {
		e.mu.Lock()
		defer e.mu.Unlock()
		if has = e.rn.HasReady(); has {
			rd = e.rn.Ready()
			e.observe(&rd)
		}
		return nil
	})
	if err != nil || !has {
		return false, err
	}
	if err := e.saveVote(rd.HardState); err != nil {
		return false, err
	}
	if err := e.append(rd.Entries); err != nil {
		return false, err
	}
	if err := e.send(rd.Messages); err != nil {
		return false, err
	}
	if rd.SoftState != nil {
		if err := e.leaderChanged(rd.SoftState); err != nil {
			return false, err
		}
	}
	if err := e.deliver(rd.CommittedEntries); err != nil {
		return false, err
	}
	err = e.guard(func() error {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.rn.Advance(rd)
		return nil
	})
	return true, err
}

// send hands messages to the transport. A new leader's empty entry, which is in the
// log by now, goes out as the batch that it became, so that every voter has the
// same bytes.
func (e *Engine) send(msgs []*pb.Message) error {
	if len(msgs) == 0 || e.o.Transport == nil {
		return nil
	}
	for _, m := range msgs {
		for i, en := range m.GetEntries() {
			if len(en.GetData()) > 0 {
				continue
			}
			data, err := e.store.batchAt(kafka.Offset(en.GetIndex()) - 1)
			if err != nil {
				return err
			}
			// The slice may be raft's own; the entry certainly is.
			m.Entries = slices.Clone(m.Entries)
			m.Entries[i] = &pb.Entry{Term: new(en.GetTerm()), Index: new(en.GetIndex()), Type: en.GetType().Enum(), Data: data}
		}
	}
	e.o.Transport.Send(msgs)
	return nil
}

// observe takes over under mu what a Ready says about the log's end.
func (e *Engine) observe(rd *etcdraft.Ready) {
	if n := len(rd.Entries); n > 0 {
		// Proposals move nextOffset when they are made; this is the new leader's empty
		// entry, or what a follower was sent.
		e.nextOffset = max(e.nextOffset, kafka.Offset(rd.Entries[n-1].GetIndex()))
		if rd.SoftState != nil && rd.SoftState.RaftState != etcdraft.StateLeader {
			e.nextOffset = kafka.Offset(rd.Entries[n-1].GetIndex())
		}
	}
	if rd.SoftState != nil && rd.SoftState.RaftState == etcdraft.StateLeader && e.votersNeedWriting() {
		e.proposeVoters()
	}
}

// saveVote writes term and vote if they changed.
func (e *Engine) saveVote(hs *pb.HardState) error {
	if hs == nil {
		return nil
	}
	epoch, voted := kafka.LeaderEpoch(hs.GetTerm()), nodeID(hs.GetVote())
	if epoch == e.state.LeaderEpoch && voted == e.state.VotedID {
		return nil
	}
	next := quorum.ElectionState{LeaderEpoch: epoch, Leader: kafka.NoNode, VotedID: voted}
	if epoch == e.state.LeaderEpoch {
		next.Leader = e.state.Leader
	}
	if voted == e.o.NodeID && e.soleVoter() {
		next.Leader = voted // by this very vote
	}
	return e.writeState(next)
}

// soleVoter says whether this node is the whole quorum.
func (e *Engine) soleVoter() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.voters) == 1 && e.voters[0].ID == e.o.NodeID
}

// writeState replaces quorum-state.
func (e *Engine) writeState(s quorum.ElectionState) error {
	e.mu.Lock()
	version, voters := e.kraftVersion, e.voters
	e.mu.Unlock()
	for _, v := range voters {
		s.Voters = append(s.Voters, v.ID)
		if v.ID == s.VotedID {
			s.VotedDirectoryID = v.DirectoryID
		}
	}
	if err := quorum.WriteElectionState(e.o.FS, e.o.Dir, s, version); err != nil {
		return err
	}
	e.state = s
	return nil
}

// append writes entries to the log and syncs once.
func (e *Engine) append(entries []*pb.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	if first := kafka.Offset(entries[0].GetIndex()) - 1; first < e.o.Log.LogEndOffset() {
		invariant.Check(first >= e.highWatermark.Load(), "truncation to %d below the high watermark %d", first, e.highWatermark.Load())
		if _, err := e.o.Log.TruncateTo(first); err != nil {
			return fmt.Errorf("truncating the metadata log to %d: %w", first, err)
		}
	}
	now := e.o.Clock.Now().UnixMilli()
	var data []byte
	for _, en := range entries {
		switch len(en.GetData()) {
		case 0:
			var err error
			if data, err = e.leaderChangeBatch(data, en, now); err != nil {
				return err
			}
		case len(filler):
		default:
			data = append(data, en.GetData()...)
		}
	}
	infos, err := batch.Infos(data)
	if err != nil {
		return fmt.Errorf("batches for the metadata log: %w", err)
	}
	if _, err := e.o.Log.AppendVerbatim(data, infos, now); err != nil {
		return fmt.Errorf("appending to the metadata log: %w", err)
	}
	end := kafka.Offset(entries[len(entries)-1].GetIndex())
	if got := e.o.Log.LogEndOffset(); got != end {
		return kafka.CorruptMessage.Errorf("the metadata log ends at %d after an append up to %d", got, end)
	}
	if err := e.o.Log.FlushTo(end); err != nil {
		return fmt.Errorf("syncing the metadata log: %w", err)
	}
	return nil
}

// leaderChangeBatch appends the control batch that stands for a leader's empty
// entry.
func (e *Engine) leaderChangeBatch(dst []byte, en *pb.Entry, nowMs int64) ([]byte, error) {
	if !e.wins(en.GetTerm()) {
		return nil, kafka.CorruptMessage.Errorf("the first entry of another leader's epoch %d came without its batch", en.GetTerm())
	}
	m := records.NewLeaderChangeMessage()
	m.LeaderID = int32(e.o.NodeID)
	e.mu.Lock()
	for _, v := range e.voters {
		m.Voters = append(m.Voters, records.Voter{VoterID: int32(v.ID), VoterDirectoryID: v.DirectoryID})
	}
	for _, id := range e.grantingVoters() {
		m.GrantingVoters = append(m.GrantingVoters, records.Voter{VoterID: int32(id)})
	}
	e.mu.Unlock()
	return storage.AppendControlBatch(dst, kafka.Offset(en.GetIndex()-1), kafka.LeaderEpoch(en.GetTerm()), nowMs, m)
}

// wins says whether this node is the leader of the epoch as far as raft knows.
func (e *Engine) wins(term uint64) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	st := e.rn.BasicStatus()
	return st.HardState.GetTerm() != term || st.RaftState == etcdraft.StateLeader
}

// grantingVoters are the voters known to have voted for this node. The caller
// holds mu.
func (e *Engine) grantingVoters() []kafka.NodeID { return []kafka.NodeID{e.o.NodeID} }

// leaderChanged notes who leads. A node that has become the leader tells its
// listeners later, when the first entry of its epoch is committed.
func (e *Engine) leaderChanged(s *etcdraft.SoftState) error {
	leader := nodeID(s.Lead)
	epoch := e.state.LeaderEpoch
	if leader != kafka.NoNode && (leader != e.state.Leader) {
		next := e.state
		next.Voters, next.Leader = nil, leader
		if err := e.writeState(next); err != nil {
			return err
		}
	}
	e.mu.Lock()
	wasLeading := e.leading
	e.leader = quorum.LeaderAndEpoch{Leader: leader, Epoch: epoch}
	e.leading = kafka.NoEpoch
	l := e.leader
	e.mu.Unlock()
	e.pendingSelf = kafka.NoEpoch
	if s.RaftState == etcdraft.StateLeader {
		e.pendingSelf = epoch
		if wasLeading == kafka.NoEpoch {
			return nil
		}
		l.Leader = kafka.NoNode
	}
	for _, li := range e.listeners {
		li.HandleLeaderChange(l)
	}
	return nil
}

// deliver hands committed entries to the listeners.
func (e *Engine) deliver(entries []*pb.Entry) error {
	for _, en := range entries {
		if len(en.GetData()) != len(filler) {
			e.partial = en
		}
		if e.partial == nil {
			return kafka.CorruptMessage.Errorf("metadata log: index %d does not belong to a batch", en.GetIndex())
		}
		if err := e.deliverIfWhole(en.GetIndex()); err != nil {
			return err
		}
	}
	return nil
}

// deliverIfWhole delivers the open batch when index is its last one.
func (e *Engine) deliverIfWhole(index uint64) error {
	if len(e.partial.GetData()) == 0 {
		// The leader's own empty entry: its content is for nobody but the log.
		off := kafka.Offset(index) - 1
		b := &quorum.Batch{Batch: metadata.Batch{BaseOffset: off, LastOffset: off,
			Epoch: kafka.LeaderEpoch(e.partial.GetTerm()), TimestampMs: e.o.Clock.Now().UnixMilli()}}
		return e.deliverBatch(b, nil)
	}
	data := e.partial.GetData()
	info, err := batch.Peek(data)
	if err != nil {
		return fmt.Errorf("metadata log at index %d: %w", e.partial.GetIndex(), err)
	}
	if uint64(info.LastOffset)+1 != index {
		return nil
	}
	decoded, err := storage.DecodeBatch(data, info)
	if err != nil {
		return err
	}
	b := &quorum.Batch{SizeBytes: len(data), Batch: metadata.Batch{
		BaseOffset: info.BaseOffset, LastOffset: info.LastOffset, Epoch: info.LeaderEpoch,
		TimestampMs: info.MaxTimestamp, Messages: decoded.Records}}
	return e.deliverBatch(b, decoded.Control)
}

// deliverBatch moves the high watermark past one batch and tells the listeners.
func (e *Engine) deliverBatch(b *quorum.Batch, control []records.Message) error {
	e.partial = nil
	e.highWatermark.Store(b.LastOffset + 1)
	e.o.Log.UpdateHighWatermark(b.LastOffset + 1)
	e.takeVoters(control, b.BaseOffset)
	for _, li := range e.listeners {
		if err := li.HandleCommit(b); err != nil {
			return fmt.Errorf("applying the metadata log at offset %d: %w", b.BaseOffset, err)
		}
	}
	if e.pendingSelf != kafka.NoEpoch && b.Epoch == e.pendingSelf {
		e.mu.Lock()
		e.leading = e.pendingSelf
		l := e.leader
		e.mu.Unlock()
		e.pendingSelf = kafka.NoEpoch
		for _, li := range e.listeners {
			li.HandleLeaderChange(l)
		}
	}
	return nil
}
