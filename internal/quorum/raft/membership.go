package raft

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	etcdraft "go.etcd.io/raft/v3"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/quorum"
	"github.com/gregorhq/gregor/internal/storage"
	"github.com/gregorhq/gregor/internal/wire"
)

// A change of the voter set (KIP-853) is one VotersRecord behind the log's end. It
// counts at every node from the moment it is in its log. What makes that safe: the
// leader has an entry of its own epoch committed, the change before is committed, and
// at most one voter comes or goes at a time, so that any two majorities in use share a
// voter. Whoever proposes a set is in it, so that the furthest log is always that of a
// node that may stand for election.

// AddVoter makes a node a voter. It must follow the log of this leader already and have
// caught up with it.
func (e *Engine) AddVoter(ctx context.Context, v storage.Voter, ackWhenCommitted bool) error {
	return e.changeVoters(ctx, ackWhenCommitted, "adding", func() (storage.VoterSet, error) {
		if _, ok := e.voters.Find(v.ID); ok {
			return nil, kafka.DuplicateVoter.Errorf("The voter id for %s is already part of the set of voters %s.", keyString(v.ID, v.DirectoryID), keysString(e.voters))
		}
		p := e.replicas.m[quorum.Replica{ID: v.ID, DirectoryID: v.DirectoryID}]
		l := e.learners[v.ID]
		if l == nil || l.dir != v.DirectoryID {
			return nil, kafka.RequestTimedOut.Errorf("New voter %s is not ready to receive requests", keyString(v.ID, v.DirectoryID))
		}
		if p == nil || p.caughtUpMs <= 0 {
			return nil, kafka.RequestTimedOut.Errorf("Aborted add voter operation for %s since it is lagging behind", keyString(v.ID, v.DirectoryID))
		}
		return storage.NewVoterSet(append(slices.Clone(e.voters), v)...), nil
	})
}

// RemoveVoter takes a voter's vote. A leader that is to go hands leadership over first:
// the error is NotController then, and the next leader is to be asked.
func (e *Engine) RemoveVoter(ctx context.Context, r quorum.Replica) error {
	err := e.changeVoters(ctx, true, "removing", func() (storage.VoterSet, error) {
		v, ok := e.voters.Find(r.ID)
		if !ok || v.DirectoryID != r.DirectoryID || len(e.voters) == 1 {
			return nil, kafka.VoterNotFound.Errorf("Cannot remove voter %s from the set of voters %s", keyString(r.ID, r.DirectoryID), keysString(e.voters))
		}
		if r.ID == e.o.NodeID {
			return nil, errOwnRemoval
		}
		return storage.NewVoterSet(slices.DeleteFunc(slices.Clone(e.voters), func(o storage.Voter) bool { return o.ID == r.ID })...), nil
	})
	if !errors.Is(err, errOwnRemoval) {
		return err
	}
	return e.leave(ctx)
}

// leave hands leadership over, so that another leader may remove this node. It tries as
// long as ctx lasts; the error says what became of it, NotController that it is done.
func (e *Engine) leave(ctx context.Context) error {
	for !e.handOver(ctx) {
		pause := e.o.Clock.NewTimer(e.o.ElectionTimeout / electionTicks)
		select {
		case <-pause.C():
			continue
		case <-ctx.Done():
			pause.Stop()
			return kafka.RequestTimedOut.Errorf("node %d leads the metadata quorum and no other voter has taken over, without which it is not removed: %w", e.o.NodeID, context.Cause(ctx))
		case <-e.failed:
		case <-e.ctx.Done():
		}
		pause.Stop()
		return errStopping()
	}
	return kafka.NotController.Errorf("node %d has handed leadership over: the next leader removes it from the voters", e.o.NodeID)
}

// errOwnRemoval is why a leader does not propose a set of voters.
var errOwnRemoval = errors.New("a leader does not propose a set of voters without itself")

// errNotYet marks what is in the way of a change of the voters and will pass.
type errNotYet struct{ error }

func (e errNotYet) Unwrap() error { return e.error }

func errStopping() error { return kafka.BrokerNotAvailable.Errorf("this controller is stopping") }

// UpdateVoter changes where a voter is reached and what it supports.
func (e *Engine) UpdateVoter(ctx context.Context, epoch kafka.LeaderEpoch, v storage.Voter) error {
	if err := e.leaderOnly(epoch); err != nil {
		return err
	}
	if len(v.Endpoints) == 0 || v.MinKRaftVersion < 0 || v.MaxKRaftVersion < v.MinKRaftVersion {
		return kafka.InvalidRequest.Errorf("voter %d names no listener or no range of kraft.version", v.ID)
	}
	return e.changeVoters(ctx, true, "updating", func() (storage.VoterSet, error) {
		old, ok := e.voters.Find(v.ID)
		if !ok || old.DirectoryID != v.DirectoryID {
			return nil, kafka.VoterNotFound.Errorf("%s is not one of the voters %s", keyString(v.ID, v.DirectoryID), keysString(e.voters))
		}
		if e.kraftVersion < v.MinKRaftVersion || e.kraftVersion > v.MaxKRaftVersion {
			return nil, kafka.InvalidRequest.Errorf("voter %d does not support kraft.version %d", v.ID, e.kraftVersion)
		}
		if old.MaxKRaftVersion == v.MaxKRaftVersion && old.MinKRaftVersion == v.MinKRaftVersion && slices.Equal(old.Endpoints, v.Endpoints) {
			return nil, nil
		}
		next := storage.NewVoterSet(e.voters...)
		next[slices.IndexFunc(next, func(o storage.Voter) bool { return o.ID == v.ID })] = v
		return next, nil
	})
}

// changeVoters proposes the set that next returns under mu, nil for none, and waits
// until it is committed. It waits too for what must be committed before: who asks a new
// leader, as after a removal that made another hand over, need not ask again.
func (e *Engine) changeVoters(ctx context.Context, wait bool, what string, next func() (storage.VoterSet, error)) error {
	for {
		e.mu.Lock()
		changed, epoch := e.changed, e.leader.Epoch
		last, err := e.proposeChange(epoch, what, next)
		e.mu.Unlock()
		var later errNotYet
		switch {
		case errors.As(err, &later):
		case err != nil || last < 0 || !wait:
			return err
		default:
			return e.awaitCommit(ctx, epoch, last)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return later.error
		case <-e.ctx.Done():
			return errStopping()
		}
	}
}

// proposeChange returns the change's last offset, -1 when there is nothing to change.
// The caller holds mu.
func (e *Engine) proposeChange(epoch kafka.LeaderEpoch, what string, next func() (storage.VoterSet, error)) (kafka.Offset, error) {
	st := e.rn.BasicStatus()
	switch {
	case e.failure != nil || e.closed || st.RaftState != etcdraft.StateLeader || st.HardState.GetTerm() != uint64(epoch):
		return 0, kafka.NotLeaderOrFollower.Errorf("node %d does not lead the metadata quorum", e.o.NodeID)
	case e.leading != epoch:
		return 0, errNotYet{kafka.RequestTimedOut.Errorf("Request timed out waiting for leader to establish HWM and fence previous voter changes")}
	case e.kraftVersion < 1:
		return 0, kafka.UnsupportedVersion.Errorf("Cluster doesn't support %s voter because the kraft.version feature is %d", what, e.kraftVersion)
	case e.votersOffset >= e.highWatermark.Load() || e.proposedVoters >= e.highWatermark.Load():
		return 0, errNotYet{kafka.RequestTimedOut.Errorf("Request timed out waiting for voters to commit the latest voter change at %d with HWM %d", max(e.votersOffset, e.proposedVoters), e.highWatermark.Load())}
	}
	set, err := next()
	if err != nil || set == nil {
		return -1, err
	}
	if err := e.stepVoters(epoch, set, e.kraftVersion); err != nil {
		return 0, err
	}
	return e.nextOffset - 1, nil
}

// awaitCommit waits until offset last of this leader's epoch is committed.
func (e *Engine) awaitCommit(ctx context.Context, epoch kafka.LeaderEpoch, last kafka.Offset) error {
	for {
		e.mu.Lock()
		changed, hw, l := e.changed, e.highWatermark.Load(), e.leader
		e.mu.Unlock()
		switch {
		case hw > last && e.o.Log.EpochForOffset(last) == epoch:
			return nil
		case l.Epoch != epoch || l.Leader != e.o.NodeID:
			return kafka.NotLeaderOrFollower.Errorf("node %d ceased to lead the metadata quorum before the change of voters was committed", e.o.NodeID)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return kafka.RequestTimedOut.Errorf("the change of voters is not committed yet: %w", context.Cause(ctx))
		case <-e.ctx.Done():
			return errStopping()
		}
	}
}

// keyString and keysString are a voter and a voter set as Kafka prints them.
func keyString(id kafka.NodeID, dir kafka.UUID) string {
	return fmt.Sprintf("ReplicaKey(id=%d, directoryId=%s)", id, dir)
}

func keysString(s storage.VoterSet) string {
	var keys []string
	for _, v := range s {
		keys = append(keys, keyString(v.ID, v.DirectoryID))
	}
	return "[" + strings.Join(keys, ", ") + "]"
}

// mayJoin asks the leader to make this node a voter (KIP-1186): first to remove its
// earlier directory, if that is a voter, then to add it. One request is under way at a
// time. It is called by the loop.
func (e *Engine) mayJoin() {
	e.mu.Lock()
	defer e.mu.Unlock()
	p, _, ok := e.leaderOrHint()
	if e.asking || e.isVoter() || !ok || len(e.o.LocalEndpoints) == 0 {
		return
	}
	var req kmsg.Request
	if old, found := e.voters.Find(e.o.NodeID); found && old.DirectoryID != e.o.DirectoryID {
		r := kmsg.NewPtrRemoveRaftVoterRequest()
		r.ClusterID, r.VoterID, r.VoterDirectoryID = &e.o.ClusterID, int32(old.ID), old.DirectoryID
		req = r
	} else if e.kraftVersion > 0 && e.highWatermark.Load() > 0 {
		r := kmsg.NewPtrAddRaftVoterRequest()
		r.ClusterID, r.TimeoutMillis = &e.o.ClusterID, int32(e.o.ElectionTimeout/time.Millisecond)
		r.VoterID, r.VoterDirectoryID = int32(e.o.NodeID), e.o.DirectoryID
		for _, ep := range e.o.LocalEndpoints {
			l := kmsg.NewAddRaftVoterRequestListener()
			l.Name, l.Host, l.Port = ep.Listener, ep.Host, ep.Port
			r.Listeners = append(r.Listeners, l)
		}
		req = r
	} else {
		return
	}
	e.ask(p, req)
}

// mayMove tells the leader where this voter is reached and what it supports, if the voter
// set says otherwise (KIP-853); it says whether that is so. A leader writes its own place
// itself.
func (e *Engine) mayMove() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	me, ok := e.voters.Find(e.o.NodeID)
	own := e.o.LocalEndpoints
	if !ok || !e.isVoter() || e.kraftVersion < 1 || len(own) == 0 || e.o.Transport == nil ||
		slices.Equal(me.Endpoints, own) && me.MinKRaftVersion == 0 && me.MaxKRaftVersion == 1 {
		return false
	}
	p, epoch, ok := e.leaderOrHint()
	if !ok || p.ID == e.o.NodeID || e.asking {
		return true
	}
	req := kmsg.NewPtrUpdateRaftVoterRequest()
	req.ClusterID, req.CurrentLeaderEpoch = &e.o.ClusterID, epoch
	req.VoterID, req.VoterDirectoryID = int32(e.o.NodeID), e.o.DirectoryID
	for _, at := range own {
		l := kmsg.NewUpdateRaftVoterRequestListener()
		l.Name, l.Host, l.Port = at.Listener, at.Host, at.Port
		req.Listeners = append(req.Listeners, l)
	}
	req.KRaftVersionFeature.MaxSupportedVersion = 1
	e.ask(p, req)
	return true
}

// leaderOrHint is the leader and its epoch; while none is known, who leads by another
// node's word. The caller holds mu.
func (e *Engine) leaderOrHint() (Peer, kafka.LeaderEpoch, bool) {
	if p, _, ok := e.peer(e.leader.Leader); ok {
		return p, e.leader.Epoch, true
	}
	if h := e.hint; e.leader.Leader == kafka.NoNode && h.Leader != kafka.NoNode && len(h.Endpoints) > 0 {
		return Peer{ID: h.Leader, Endpoint: h.Endpoints[0]}, h.Epoch, true
	}
	return Peer{}, kafka.NoEpoch, false
}

// ask sends a request about this node's own place among the voters. What is refused is
// asked again by whoever asked. The caller holds mu.
func (e *Engine) ask(p Peer, req kmsg.Request) {
	e.asking = true
	e.spawn(func() {
		resp, err := e.o.Transport.Do(e.ctx, p, req)
		if u, ok := resp.(*kmsg.UpdateRaftVoterResponse); ok && err == nil && u.ErrorCode != 0 {
			err = kafka.CodeForNum(u.ErrorCode)
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		e.asking = false
		if err != nil && e.ctx.Err() == nil {
			e.o.Logger.Info("asking the leader for a change of the voters", "request", wire.Name(req.Key()), "leader", p.ID, "error", err)
		}
	})
}
