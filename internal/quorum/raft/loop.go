package raft

import (
	"fmt"
	"math"

	etcdraft "go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/gregorhq/gregor/internal/batch"
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
	if err := e.begin(); err != nil {
		e.fail(err)
		return
	}
	timer := e.o.Clock.NewTimer(math.MaxInt64)
	defer timer.Stop()
	for e.pump() {
		if d, ok := e.untilTimer(); ok {
			timer.Reset(d)
		} else {
			// A sole voter needs no heartbeats, so an idle one costs no wake-ups.
			timer.Stop()
		}
		select {
		case <-e.stop:
			return
		case <-e.wake:
		case <-timer.C():
		}
	}
}

// begin tells the listeners what they begin with.
func (e *Engine) begin() error { return e.deliverSnapshot() }

// pump handles everything that was received, that raft has ready and that is due. It
// says whether to go on.
func (e *Engine) pump() bool {
	for {
		select {
		case <-e.stop:
			return false
		default:
		}
		e.turned.Store(int64(e.o.Clock.Since(e.born)))
		more, err := e.handleReady()
		if err == nil && !more {
			// Raft has nothing ready: everything that is known to be committed is applied,
			// voter sets included, so that this node may stand for election.
			if more, err = e.takeInbox(); err == nil && !more {
				more, err = e.onTimers()
			}
		}
		if err != nil {
			e.fail(err)
			return false
		}
		if !more {
			return true
		}
	}
}

// view is what the listeners are told about, as raft sees it.
type view struct {
	leader kafka.NodeID
	epoch  kafka.LeaderEpoch
	state  etcdraft.StateType
}

// look returns raft's view. The caller holds mu.
func (e *Engine) look() view {
	st := e.rn.BasicStatus()
	return view{nodeID(st.Lead), kafka.LeaderEpoch(st.HardState.GetTerm()), st.RaftState}
}

// fail stops the engine for good: nothing is retried after a failed write.
func (e *Engine) fail(err error) {
	e.o.Logger.Error("the metadata quorum stops", "error", err)
	e.mu.Lock()
	e.failure = err
	e.leading = kafka.NoEpoch
	e.leader.Leader = kafka.NoNode
	l := e.leader
	e.notify()
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
	var now view
	has := false
	err := e.guard(func() error {
		e.mu.Lock()
		defer e.mu.Unlock()
		if has = e.rn.HasReady(); has {
			rd = e.rn.Ready()
			now = e.look()
			e.observe(&rd, now)
		}
		return nil
	})
	if err != nil || !has {
		return false, err
	}
	if err := e.saveVote(rd.HardState); err != nil {
		return false, err
	}
	if err := e.install(rd.Snapshot); err != nil {
		return false, err
	}
	if err := e.append(rd.Entries); err != nil {
		return false, err
	}
	if err := e.send(rd.Messages); err != nil {
		return false, err
	}
	if now != e.seen {
		if err := e.leaderChanged(now); err != nil {
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

// observe takes over under mu what a Ready says.
func (e *Engine) observe(rd *etcdraft.Ready, now view) {
	if !etcdraft.IsEmptySnap(rd.Snapshot) {
		e.nextOffset = kafka.Offset(rd.Snapshot.GetMetadata().GetIndex())
	}
	if n := len(rd.Entries); n > 0 {
		// A Ready holds everything that raft has not handed out yet, so that its last
		// entry is raft's last one.
		e.nextOffset = kafka.Offset(rd.Entries[n-1].GetIndex())
	}
	if now.state == etcdraft.StateLeader && (e.seen.state != etcdraft.StateLeader || e.seen.epoch != now.epoch) {
		e.becomeLeader(now.epoch)
	}
}

// becomeLeader begins this node's term. The caller holds mu.
func (e *Engine) becomeLeader(epoch kafka.LeaderEpoch) {
	e.replicas.reset()
	clear(e.learners)
	e.proposedVoters = -1
	if e.votersNeedWriting() {
		e.proposeVoters(epoch)
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
	e.mu.Lock()
	sole := e.isSole()
	e.mu.Unlock()
	if voted == e.o.NodeID && sole {
		next.Leader = voted // by this very vote
	}
	if voted != kafka.NoNode && voted != e.o.NodeID {
		e.voteGiven()
	}
	return e.writeState(next)
}

// isSole says whether this node is the whole quorum. The caller holds mu.
func (e *Engine) isSole() bool {
	return len(e.voters) == 1 && e.isVoter()
}

// isVoter says whether this node is one of the voters. The caller holds mu.
func (e *Engine) isVoter() bool {
	me, ok := e.voters.Find(e.o.NodeID)
	return ok && (e.kraftVersion == 0 || me.DirectoryID == e.o.DirectoryID)
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
	err := e.patiently("writing quorum-state", func() error {
		return quorum.WriteElectionState(e.o.FS, e.o.Dir, s, version)
	})
	if err != nil {
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
		if err := e.truncateTo(first); err != nil {
			return fmt.Errorf("truncating the metadata log to %d: %w", first, err)
		}
		if err := e.forgetVoters(first); err != nil {
			return err
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
	if err := e.appendVerbatim(data, infos, now); err != nil {
		return fmt.Errorf("appending to the metadata log: %w", err)
	}
	end := kafka.Offset(entries[len(entries)-1].GetIndex())
	if got := e.o.Log.LogEndOffset(); got != end {
		return kafka.CorruptMessage.Errorf("the metadata log ends at %d after an append up to %d", got, end)
	}
	if err := e.o.Log.FlushTo(end); err != nil {
		return fmt.Errorf("syncing the metadata log: %w", err)
	}
	return e.learnVoters(data, infos)
}

// truncateTo cuts the log, and waits for room if need be.
func (e *Engine) truncateTo(offset kafka.Offset) error {
	return e.patiently("truncating", func() error { _, err := e.o.Log.TruncateTo(offset); return err })
}

// appendVerbatim appends batches to the log, and waits for room if need be.
func (e *Engine) appendVerbatim(data []byte, infos []batch.Info, nowMs int64) error {
	return e.patiently("appending", func() error { _, err := e.o.Log.AppendVerbatim(data, infos, nowMs); return err })
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
func (e *Engine) grantingVoters() []kafka.NodeID {
	out := []kafka.NodeID{e.o.NodeID}
	for _, v := range e.voters {
		if e.inbox.grants[v.ID] && v.ID != e.o.NodeID {
			out = append(out, v.ID)
		}
	}
	return out
}

// leaderChanged notes who leads. A node that has become the leader tells its
// listeners later, when the first entry of its epoch is committed.
func (e *Engine) leaderChanged(now view) error {
	if now.leader != kafka.NoNode && now.leader != e.state.Leader {
		next := e.state
		next.Voters, next.Leader = nil, now.leader
		if err := e.writeState(next); err != nil {
			return err
		}
	}
	before := e.seen
	e.seen = now
	e.leaderSeen(before)
	e.mu.Lock()
	wasLeading := e.leading
	e.leader = quorum.LeaderAndEpoch{Leader: now.leader, Epoch: now.epoch}
	if now.state != etcdraft.StateLeader || before.epoch != now.epoch {
		e.leading = kafka.NoEpoch
	}
	l := e.leader
	e.notify()
	e.mu.Unlock()
	e.pendingSelf = kafka.NoEpoch
	if now.state == etcdraft.StateLeader {
		e.pendingSelf = now.epoch
		if wasLeading == kafka.NoEpoch {
			return nil
		}
		l.Leader = kafka.NoNode
	} else if before.leader == now.leader && before.epoch == now.epoch {
		return nil // a follower became a candidate, which is nobody's business
	}
	for _, li := range e.listeners {
		li.HandleLeaderChange(l)
	}
	return nil
}

// notify wakes whoever waits for the high watermark or for the leader. The caller
// holds mu.
func (e *Engine) notify() {
	close(e.changed)
	e.changed = make(chan struct{})
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
		return e.deliverBatch(b)
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
	return e.deliverBatch(b)
}

// deliverBatch moves the high watermark past one batch and tells the listeners.
func (e *Engine) deliverBatch(b *quorum.Batch) error {
	e.partial = nil
	e.mu.Lock()
	e.highWatermark.Store(b.LastOffset + 1)
	e.notify()
	e.mu.Unlock()
	e.o.Log.UpdateHighWatermark(b.LastOffset + 1)
	for _, li := range e.listeners {
		if err := li.HandleCommit(b); err != nil {
			return fmt.Errorf("applying the metadata log at offset %d: %w", b.BaseOffset, err)
		}
	}
	if e.pendingSelf != kafka.NoEpoch && b.Epoch == e.pendingSelf {
		e.mu.Lock()
		e.leading = e.pendingSelf
		l := e.leader
		e.notify() // whoever waits to change the voters may begin
		e.mu.Unlock()
		e.pendingSelf = kafka.NoEpoch
		for _, li := range e.listeners {
			li.HandleLeaderChange(l)
		}
	}
	return nil
}
