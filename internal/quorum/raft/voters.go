package raft

import (
	"fmt"
	"maps"
	"slices"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/invariant"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/storage"
)

// voterSetAt is a voter set with the offset of the batch that brought it, -1 when none
// in the log did.
type voterSetAt struct {
	offset       kafka.Offset
	kraftVersion int16
	voters       storage.VoterSet
}

// recoverVoters finds kraft.version and the voter set: in the newest snapshot, in
// the log behind it, and in the configuration while kraft.version is 0. A set counts
// from the moment it is in the log, committed or not.
func (e *Engine) recoverVoters() error {
	first, err := e.votersOfSnapshot()
	if err != nil {
		return err
	}
	e.history = []voterSetAt{first}
	for off, end := e.latestSnapshot().EndOffset, e.o.Log.LogEndOffset(); off < end; {
		data, err := readLog(e.o.Log, off, maxApplyBytes, end)
		if err != nil {
			return err
		}
		infos, err := batch.Infos(data)
		if err != nil {
			return fmt.Errorf("metadata log at offset %d: %w", off, err)
		}
		if len(infos) == 0 {
			return kafka.CorruptMessage.Errorf("metadata log: nothing was read at offset %d of %d", off, end)
		}
		if _, err := e.takeVoters(data, infos); err != nil {
			return err
		}
		off = infos[len(infos)-1].LastOffset + 1
	}
	e.inForce()
	return nil
}

// votersOfSnapshot is what the newest snapshot and the configuration say.
func (e *Engine) votersOfSnapshot() (voterSetAt, error) {
	if len(e.snapshots) == 0 {
		return voterSetAt{offset: -1}, nil
	}
	r, err := storage.OpenSnapshot(e.o.FS, e.o.Dir, e.latestSnapshot())
	if err != nil {
		return voterSetAt{}, err
	}
	at := voterSetAt{offset: e.latestSnapshot().EndOffset - 1, kraftVersion: r.Header.KRaftVersion, voters: r.Header.Voters}
	if err := r.Close(); err != nil {
		return voterSetAt{}, fmt.Errorf("closing checkpoint %s: %w", r.ID, err)
	}
	return at, nil
}

// takeVoters takes kraft.version and voters over from the control batches among
// batches of the log. It says whether there were any.
func (e *Engine) takeVoters(data []byte, infos []batch.Info) (bool, error) {
	taken := false
	for i := range infos {
		if !infos[i].IsControl {
			continue
		}
		b, err := storage.DecodeBatch(data[infos[i].Pos:infos[i].End()], infos[i])
		if err != nil {
			return false, err
		}
		next, found := e.history[len(e.history)-1], false
		for _, m := range b.Control {
			switch m := m.(type) {
			case *records.KRaftVersionRecord:
				next.kraftVersion, found = m.KRaftVersion, true
			case *records.VotersRecord:
				next.voters, found = storage.VotersFromRecord(m), true
			}
		}
		if found {
			next.offset = infos[i].LastOffset
			e.history, taken = append(e.history, next), true
		}
	}
	return taken, nil
}

// inForce makes the last set of the history the one in force. The caller holds mu.
func (e *Engine) inForce() {
	last := e.history[len(e.history)-1]
	e.kraftVersion, e.voters, e.votersOffset = last.kraftVersion, last.voters, last.offset
	if e.kraftVersion == 0 {
		e.voters = storage.NewVoterSet(e.o.StaticVoters...)
	}
}

// raftVoters are the voters as raft knows them. A directory that has taken the place of
// a voter's lost one has no part in its vote. The caller holds mu.
func (e *Engine) raftVoters() []uint64 {
	var out []uint64
	for _, v := range e.voters {
		if v.ID != e.o.NodeID || e.isVoter() {
			out = append(out, raftID(v.ID))
		}
	}
	return out
}

// learnVoters looks for voter sets in batches that were appended.
func (e *Engine) learnVoters(data []byte, infos []batch.Info) error {
	e.mu.Lock()
	taken, err := e.takeVoters(data, infos)
	e.mu.Unlock()
	if err != nil || !taken {
		return err
	}
	return e.applyVoters()
}

// forgetVoters returns to the set that was in force before what was cut off the log.
func (e *Engine) forgetVoters(from kafka.Offset) error {
	e.mu.Lock()
	n := len(e.history)
	for n > 1 && e.history[n-1].offset >= from {
		n--
	}
	cut := n < len(e.history)
	e.history = e.history[:n]
	e.mu.Unlock()
	if !cut {
		return nil
	}
	return e.applyVoters()
}

// applyVoters tells raft of the set in force.
func (e *Engine) applyVoters() error {
	return e.guard(func() error {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.inForce()
		if e.rn == nil {
			return nil // an observer has no part in elections
		}
		e.minding()
		e.o.Logger.Info("the voters of the metadata quorum", "voters", fmt.Sprint(e.voters), "kraftVersion", e.kraftVersion)
		e.reconfigure()
		return nil
	})
}

// reconfigure brings raft's members in line with the set in force. The caller holds mu.
func (e *Engine) reconfigure() {
	want, have := e.raftVoters(), e.rn.Status().Config.Voters.IDs()
	for _, id := range want {
		if _, ok := have[id]; !ok {
			e.changeMember(pb.ConfChangeAddNode, id)
			delete(e.learners, nodeID(id))
		}
	}
	gone := slices.Sorted(maps.Keys(have))
	for _, id := range gone {
		if !slices.Contains(want, id) && len(want) > 0 {
			e.changeMember(pb.ConfChangeRemoveNode, id)
		}
	}
}

// changeMember applies one change to raft's members, which the log decides and not
// raft's own entries. The caller holds mu.
func (e *Engine) changeMember(t pb.ConfChangeType, id uint64) {
	e.rn.ApplyConfChange(&pb.ConfChangeV2{Changes: []*pb.ConfChangeSingle{{Type: t.Enum(), NodeId: new(id)}}})
}

// votersBelow are the voters as the log has them below an offset that is at or behind
// the newest snapshot's end. The caller holds mu.
func (e *Engine) votersBelow(end kafka.Offset) voterSetAt {
	n := len(e.history) - 1
	for n > 0 && e.history[n].offset >= end {
		n--
	}
	return e.history[n]
}

// forgetVotersBelow forgets the sets that only a snapshot older than the one that ends
// here could need. The caller holds mu.
func (e *Engine) forgetVotersBelow(end kafka.Offset) {
	for len(e.history) > 1 && e.history[1].offset < end {
		e.history = e.history[1:]
	}
}

// votersNeedWriting says whether a new leader must write the voter set into the
// log: when it stands only in the checkpoint that formatting left, or when this
// node's listeners have changed. The caller holds mu.
func (e *Engine) votersNeedWriting() bool {
	if e.kraftVersion == 0 {
		return false
	}
	me, ok := e.voters.Find(e.o.NodeID)
	return e.votersOffset < 0 || ok && len(e.o.LocalEndpoints) > 0 && !slices.Equal(me.Endpoints, e.o.LocalEndpoints)
}

// proposeVoters proposes the control batch with kraft.version and the voters right
// behind the leader's first entry. The caller holds mu.
func (e *Engine) proposeVoters(epoch kafka.LeaderEpoch) {
	if err := e.stepVoters(epoch, e.withSelf(e.voters), e.kraftVersion); err != nil {
		// The set stays where it is; the next leader tries again.
		e.o.Logger.Warn("the voter set could not be written", "error", err)
	}
}

// withSelf is the set in which this node stands with its own directory and listeners.
func (e *Engine) withSelf(voters storage.VoterSet) storage.VoterSet {
	next := storage.NewVoterSet(voters...)
	for i := range next {
		if next[i].ID != e.o.NodeID {
			continue
		}
		next[i].DirectoryID, next[i].MaxKRaftVersion = e.o.DirectoryID, 1
		if len(e.o.LocalEndpoints) > 0 {
			next[i].Endpoints = e.o.LocalEndpoints
		}
	}
	return next
}

// stepVoters proposes a control batch with a kraft.version and a voter set. The caller
// holds mu.
// Invariant: this node is in the set. If its log were the furthest and it might not stand
// for election, nobody could lead.
func (e *Engine) stepVoters(epoch kafka.LeaderEpoch, next storage.VoterSet, kraftVersion int16) error {
	me, ok := next.Find(e.o.NodeID)
	invariant.Check(ok && me.DirectoryID == e.o.DirectoryID, "node %d proposes the voters %v", e.o.NodeID, next)
	version := records.NewKRaftVersionRecord()
	version.KRaftVersion = kraftVersion
	data, err := storage.AppendControlBatch(nil, e.nextOffset, epoch, e.o.Clock.Now().UnixMilli(), version, next.Record())
	if err != nil {
		return err
	}
	if err := e.stepBatch(data, 2); err != nil {
		return err
	}
	e.proposedVoters = e.nextOffset - 1
	return nil
}

// KRaftVersion is the kraft.version in force.
func (e *Engine) KRaftVersion() int16 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.kraftVersion
}

// UpgradeKRaftVersion makes a static quorum a dynamic one (KIP-853). The records need
// every voter's directory, which it names in its messages: all must have been heard in
// this epoch.
func (e *Engine) UpgradeKRaftVersion(epoch kafka.LeaderEpoch, version int16) (kafka.Offset, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.mayPropose(epoch); err != nil {
		return 0, err
	}
	switch {
	case version == e.kraftVersion:
		return e.nextOffset - 1, nil
	case version != 1 || e.kraftVersion != 0:
		return 0, kafka.InvalidUpdateVersion.Errorf("kraft.version cannot go from %d to %d", e.kraftVersion, version)
	case len(e.o.LocalEndpoints) == 0:
		return 0, kafka.InvalidUpdateVersion.Errorf("kraft.version cannot be %d: the leader does not know its own listeners", version)
	}
	next := e.withSelf(e.voters)
	for i := range next {
		v := &next[i]
		if v.ID == e.o.NodeID {
			continue
		}
		v.DirectoryID, v.MaxKRaftVersion = e.voterKey(v.ID, kafka.UUID{}).DirectoryID, 1
		if v.DirectoryID == (kafka.UUID{}) || len(v.Endpoints) == 0 {
			return 0, kafka.InvalidUpdateVersion.Errorf("kraft.version cannot be %d: the leader does not know the directory and the listeners of voter %d", version, v.ID)
		}
	}
	if err := e.stepVoters(epoch, next, version); err != nil {
		return 0, err
	}
	return e.nextOffset - 1, nil
}
