package raft

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
	etcdraft "go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/quorum"
	"github.com/gregorhq/gregor/internal/storage"
)

// offered handles the leader's word that this node is so far behind that only a
// snapshot helps. The file is fetched first; the leader repeats its word until raft
// has the snapshot, so that nothing waits here.
func (e *Engine) offered(m *pb.Message) error {
	id := storage.SnapshotID{EndOffset: kafka.Offset(m.GetSnapshot().GetMetadata().GetIndex()), Epoch: kafka.LeaderEpoch(m.GetSnapshot().GetMetadata().GetTerm())}
	if id.EndOffset <= 0 {
		return nil
	}
	e.mu.Lock()
	term := e.rn.BasicStatus().HardState.GetTerm()
	here, have := e.fetched, e.fetched.EndOffset > e.highWatermark.Load()
	busy := len(e.fetching) > 0
	peer, _, known := e.peer(nodeID(m.GetFrom()))
	e.mu.Unlock()
	switch {
	case m.GetTerm() < term:
		return nil
	case have:
		return e.stepSnapshot(m, here)
	case id.EndOffset <= e.highWatermark.Load():
		return e.stepSnapshot(m, id) // raft answers how far this node is
	case !busy && known:
		e.mu.Lock()
		e.fetching[id] = true
		e.mu.Unlock()
		epoch := kafka.LeaderEpoch(m.GetTerm())
		e.spawn(func() { e.fetchSnapshot(peer, id, epoch) })
	}
	// The leader is alive, so that nobody stands for election meanwhile.
	return e.stepHeartbeat(m)
}

// stepHeartbeat tells raft that the sender leads.
func (e *Engine) stepHeartbeat(m *pb.Message) error {
	return e.guard(func() error {
		e.mu.Lock()
		defer e.mu.Unlock()
		hb := &pb.Message{Type: pb.MsgHeartbeat.Enum(), From: m.From, To: m.To, Term: m.Term, Commit: new(uint64(0))}
		e.timers.contact(e.o.Clock.Now(), e.o.ElectionTimeout)
		return e.rn.Step(hb)
	})
}

// fetchSnapshot brings the file here. It runs beside the loop.
func (e *Engine) fetchSnapshot(p Peer, id storage.SnapshotID, epoch kafka.LeaderEpoch) {
	do := func(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
		return e.o.Transport.Do(ctx, p, req)
	}
	err := quorum.DownloadSnapshot(e.ctx, quorum.Download{
		FS: e.o.FS, Dir: e.o.Dir, Snapshot: id, LeaderEpoch: epoch, ClusterID: e.o.ClusterID,
		Replica:  quorum.Replica{ID: e.o.NodeID, DirectoryID: e.o.DirectoryID},
		MaxBytes: e.o.SnapshotMaxBytes, Do: do,
	})
	if err != nil {
		e.o.Logger.Warn("a metadata snapshot could not be fetched", "snapshot", id.String(), "node", p.ID, "error", err)
	} else {
		e.o.Logger.Info("fetched a metadata snapshot", "snapshot", id.String(), "node", p.ID)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.fetching, id)
	if err == nil {
		e.fetched = id
	}
}

// stepSnapshot hands raft the snapshot, with the members that the file names.
func (e *Engine) stepSnapshot(m *pb.Message, id storage.SnapshotID) error {
	cs := e.store.confState()
	if id.EndOffset > e.highWatermark.Load() {
		r, err := storage.OpenSnapshot(e.o.FS, e.o.Dir, id)
		if err != nil {
			return err
		}
		cs = e.confStateOf(r.Header)
		if err := r.Close(); err != nil {
			return fmt.Errorf("closing checkpoint %s: %w", id, err)
		}
	}
	return e.guard(func() error {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.timers.contact(e.o.Clock.Now(), e.o.ElectionTimeout)
		return e.rn.Step(&pb.Message{Type: pb.MsgSnap.Enum(), From: m.From, To: m.To, Term: m.Term,
			Snapshot: &pb.Snapshot{Metadata: &pb.SnapshotMetadata{Index: new(uint64(id.EndOffset)), Term: new(uint64(id.Epoch)), ConfState: cs}}})
	})
}

// confStateOf are the members that a snapshot names; this node is a learner if it is
// not among them, since raft takes no snapshot that does not know it.
func (e *Engine) confStateOf(h storage.SnapshotHeader) *pb.ConfState {
	voters := h.Voters
	if h.KRaftVersion == 0 {
		voters = storage.NewVoterSet(e.o.StaticVoters...)
	}
	cs, self := &pb.ConfState{}, false
	for _, v := range voters {
		if v.ID == e.o.NodeID && h.KRaftVersion > 0 && v.DirectoryID != e.o.DirectoryID {
			continue
		}
		self = self || v.ID == e.o.NodeID
		cs.Voters = append(cs.Voters, raftID(v.ID))
	}
	if !self {
		cs.Learners = []uint64{raftID(e.o.NodeID)}
	}
	return cs
}

// install puts a snapshot that raft has accepted in the place of the log. The file is
// durable; a crash from here on ends with the same (recoverSnapshots).
func (e *Engine) install(s *pb.Snapshot) error {
	if etcdraft.IsEmptySnap(s) {
		return nil
	}
	return e.installAt(storage.SnapshotID{EndOffset: kafka.Offset(s.GetMetadata().GetIndex()), Epoch: kafka.LeaderEpoch(s.GetMetadata().GetTerm())})
}

func (e *Engine) installAt(id storage.SnapshotID) error {
	if err := e.o.Log.TruncateFullyAndStartAt(id.EndOffset); err != nil {
		return fmt.Errorf("beginning the metadata log at snapshot %s: %w", id, err)
	}
	e.mu.Lock()
	old := e.snapshots
	e.snapshots = []storage.SnapshotID{id}
	e.store.base = id
	e.partial = nil
	e.mu.Unlock()
	first, err := e.votersOfSnapshot()
	if err != nil {
		return err
	}
	e.mu.Lock()
	e.history = []voterSetAt{first}
	e.highWatermark.Store(id.EndOffset)
	e.notify()
	e.mu.Unlock()
	e.o.Log.UpdateHighWatermark(id.EndOffset)
	if err := e.applyVoters(); err != nil {
		return err
	}
	for _, o := range old {
		if o.EndOffset >= id.EndOffset {
			continue
		}
		if err := storage.RemoveSnapshot(e.o.FS, e.o.Dir, o); err != nil {
			e.o.Logger.Warn("an old metadata snapshot could not be removed", "snapshot", o.String(), "error", err)
		}
	}
	return e.deliverSnapshot()
}
