package raft

import (
	"fmt"
	"slices"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/storage"
)

// recoverVoters finds kraft.version and the voter set: in the newest snapshot, in
// the log behind it, and in the configuration while kraft.version is 0.
func (e *Engine) recoverVoters() error {
	if len(e.snapshots) > 0 {
		r, err := storage.OpenSnapshot(e.o.FS, e.o.Dir, e.latestSnapshot())
		if err != nil {
			return err
		}
		e.kraftVersion, e.voters = r.Header.KRaftVersion, r.Header.Voters
		if err := r.Close(); err != nil {
			return fmt.Errorf("closing checkpoint %s: %w", r.ID, err)
		}
		e.votersOffset = e.latestSnapshot().EndOffset - 1
	}
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
		for i := range infos {
			if infos[i].IsControl {
				b, err := storage.DecodeBatch(data[infos[i].Pos:infos[i].End()], infos[i])
				if err != nil {
					return err
				}
				e.takeVoters(b.Control, infos[i].BaseOffset)
			}
		}
		off = infos[len(infos)-1].LastOffset + 1
	}
	if e.kraftVersion == 0 {
		e.voters = storage.NewVoterSet(e.o.StaticVoters...)
	}
	return nil
}

// takeVoters takes kraft.version and voters over from control records.
func (e *Engine) takeVoters(control []records.Message, base kafka.Offset) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, m := range control {
		switch m := m.(type) {
		case *records.KRaftVersionRecord:
			e.kraftVersion = m.KRaftVersion
		case *records.VotersRecord:
			e.voters, e.votersOffset = storage.VotersFromRecord(m), base
		}
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
func (e *Engine) proposeVoters() {
	if err := e.stepVoters(e.kraftVersion); err != nil {
		// The set stays where it is; the next leader tries again.
		e.o.Logger.Warn("the voter set could not be written", "error", err)
	}
}

// stepVoters proposes a control batch with a kraft.version and the voter set, in
// which this node stands with its own directory and listeners. The caller holds
// mu.
func (e *Engine) stepVoters(kraftVersion int16) error {
	next := storage.NewVoterSet(e.voters...)
	for i := range next {
		if next[i].ID != e.o.NodeID {
			continue
		}
		next[i].DirectoryID, next[i].MaxKRaftVersion = e.o.DirectoryID, 1
		if len(e.o.LocalEndpoints) > 0 {
			next[i].Endpoints = e.o.LocalEndpoints
		}
	}
	version := records.NewKRaftVersionRecord()
	version.KRaftVersion = kraftVersion
	epoch := kafka.LeaderEpoch(e.rn.BasicStatus().HardState.GetTerm())
	data, err := storage.AppendControlBatch(nil, e.nextOffset, epoch, e.o.Clock.Now().UnixMilli(), version, next.Record())
	if err != nil {
		return err
	}
	return e.stepBatch(data, 2)
}

// KRaftVersion is the kraft.version in force.
func (e *Engine) KRaftVersion() int16 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.kraftVersion
}

// UpgradeKRaftVersion makes a static quorum a dynamic one (KIP-853). The records
// need every voter's directory and listeners; a leader knows only its own, so that
// only a sole voter can go there before voters tell the leader about themselves.
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
	case len(e.voters) != 1 || len(e.o.LocalEndpoints) == 0:
		return 0, kafka.InvalidUpdateVersion.Errorf("kraft.version cannot be %d: the leader does not know the directories and listeners of all %d voters", version, len(e.voters))
	}
	if err := e.stepVoters(version); err != nil {
		return 0, err
	}
	return e.nextOffset - 1, nil
}
