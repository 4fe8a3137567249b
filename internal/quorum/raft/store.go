package raft

import (
	"fmt"
	"sync"

	etcdraft "go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log"
	"github.com/gregorhq/gregor/internal/quorum"
	"github.com/gregorhq/gregor/internal/storage"
)

type progress = tracker.Progress

// filler is the data of an entry that only takes up an index.
var filler = []byte{0}

// logStore shows the metadata log to the raft library. The library calls it from
// whoever holds Engine.mu; the log may be read by anyone.
type logStore struct {
	log *log.Log
	// snapshot returns the newest snapshot.
	snapshot func() storage.SnapshotID
	// base is the snapshot at which the log begins for raft, the zero id for offset
	// 0. The log itself may still hold older batches. Engine.mu guards it.
	base storage.SnapshotID
	// state and voters are those that the library starts with.
	state  quorum.ElectionState
	voters []uint64

	mu      sync.Mutex
	failure error // the first error, guarded by mu
}

// err is the first error of the log, or nil.
func (s *logStore) err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure
}

// fail keeps the first error. The library panics on what is returned; Engine.guard
// turns that into the error kept here.
func (s *logStore) fail(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure == nil {
		s.failure = err
	}
	return err
}

// InitialState is term, vote, commit index and voters to start with. Everything in
// a snapshot is committed; how far the rest is, the quorum finds out.
func (s *logStore) InitialState() (*pb.HardState, *pb.ConfState, error) {
	hs := &pb.HardState{
		Term:   new(uint64(s.state.LeaderEpoch)),
		Vote:   new(uint64(etcdraft.None)),
		Commit: new(uint64(s.snapshot().EndOffset)),
	}
	if s.state.VotedID != kafka.NoNode {
		hs.Vote = new(raftID(s.state.VotedID))
	}
	return hs, s.confState(), nil
}

func (s *logStore) confState() *pb.ConfState {
	return &pb.ConfState{Voters: s.voters}
}

// FirstIndex and LastIndex: index i is the record at offset i-1.
func (s *logStore) FirstIndex() (uint64, error) { return uint64(s.base.EndOffset) + 1, nil }
func (s *logStore) LastIndex() (uint64, error)  { return uint64(s.log.LogEndOffset()), nil }

// Term is the leader epoch of the record at offset i-1. Of the record before the
// log's first one it is known from the snapshot at which the log begins.
func (s *logStore) Term(i uint64) (uint64, error) {
	start, end := uint64(s.base.EndOffset), uint64(s.log.LogEndOffset())
	switch {
	case i < start:
		return 0, etcdraft.ErrCompacted
	case i > end:
		return 0, etcdraft.ErrUnavailable
	case i == start:
		return uint64(s.base.Epoch), nil
	}
	epoch := s.log.EpochForOffset(kafka.Offset(i - 1))
	if epoch == kafka.NoEpoch {
		return 0, s.fail(kafka.CorruptMessage.Errorf("metadata log: the leader epoch of offset %d is not known", i-1))
	}
	return uint64(epoch), nil
}

// Entries reads whole batches and hands them out as entries; it may return fewer
// than asked for, cut between batches.
func (s *logStore) Entries(lo, hi, maxSize uint64) ([]*pb.Entry, error) {
	if lo <= uint64(s.base.EndOffset) {
		return nil, etcdraft.ErrCompacted
	}
	if hi > uint64(s.log.LogEndOffset())+1 {
		return nil, etcdraft.ErrUnavailable
	}
	limit := int(min(maxSize, maxApplyBytes))
	data, err := readLog(s.log, kafka.Offset(lo-1), limit, kafka.Offset(hi-1))
	if err != nil {
		return nil, s.fail(err)
	}
	infos, err := batch.Infos(data)
	if err != nil {
		return nil, s.fail(fmt.Errorf("metadata log at offset %d: %w", lo-1, err))
	}
	var out []*pb.Entry
	for i := range infos {
		out = appendEntries(out, data[infos[i].Pos:infos[i].End()], infos[i], lo, hi)
	}
	if len(out) == 0 {
		return nil, s.fail(kafka.CorruptMessage.Errorf("metadata log: nothing was read at offset %d of %d", lo-1, hi-1))
	}
	return out, nil
}

// appendEntries appends the entries of one batch that lie in [lo, hi).
func appendEntries(dst []*pb.Entry, data []byte, info batch.Info, lo, hi uint64) []*pb.Entry {
	first, last := uint64(info.BaseOffset)+1, uint64(info.LastOffset)+1
	term := uint64(info.LeaderEpoch)
	for i := max(first, lo); i <= last && i < hi; i++ {
		e := &pb.Entry{Term: new(term), Index: new(i), Data: filler}
		if i == first {
			e.Data = data
		}
		dst = append(dst, e)
	}
	return dst
}

// Snapshot is asked for when a follower needs what the log has no more. Only the name
// of the newest one goes out: who needs it fetches the file.
func (s *logStore) Snapshot() (*pb.Snapshot, error) {
	id := s.snapshot()
	if id.EndOffset <= 0 {
		return nil, etcdraft.ErrSnapshotTemporarilyUnavailable
	}
	return &pb.Snapshot{Metadata: &pb.SnapshotMetadata{Index: new(uint64(id.EndOffset)), Term: new(uint64(id.Epoch)), ConfState: s.confState()}}, nil
}

// readLog returns a copy of whole batches in [offset, upTo), at least one, and more
// up to maxBytes.
func readLog(l *log.Log, offset kafka.Offset, maxBytes int, upTo kafka.Offset) ([]byte, error) {
	d, err := l.Read(offset, maxBytes, upTo, true)
	if err != nil {
		return nil, fmt.Errorf("reading the metadata log at offset %d: %w", offset, err)
	}
	defer d.Release()
	out, err := l.AppendData(nil, &d)
	if err != nil {
		return nil, fmt.Errorf("reading the metadata log at offset %d: %w", offset, err)
	}
	return out, nil
}
