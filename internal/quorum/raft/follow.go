package raft

import (
	"time"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/quorum"
	"github.com/gregorhq/gregor/internal/storage"
)

const (
	// maxLearners bounds the nodes without a vote that a leader sends the log to.
	maxLearners = 64
	// learnerPatience is after how many election timeouts a silent one is dropped.
	learnerPatience = 10
)

// learner is a controller without a vote. It says hello to the leader as long as it
// wants the log; nothing of it is in the log, so that it is the leader's own affair.
type learner struct {
	dir       kafka.UUID
	endpoints []storage.Endpoint
	heard     time.Time
}

// welcome takes a node without a vote that says hello, if this node leads.
func (e *Engine) welcome(env *envelope) {
	id, dir, endpoints := env.From, env.FromDir, env.Endpoints
	e.inbox.push(item{local: func() {
		if !e.seenLeading() || id == e.o.NodeID || len(endpoints) == 0 {
			return
		}
		if _, ok := e.voters.Find(id); ok {
			return // its vote stands in the way until it is removed, or it will learn of it
		}
		l, ok := e.learners[id]
		if !ok && len(e.learners) >= maxLearners {
			return
		}
		if !ok {
			l = &learner{}
			e.learners[id] = l
			e.changeMember(pb.ConfChangeAddLearnerNode, raftID(id))
			if e.timers.tick.IsZero() {
				e.timers.tick = e.o.Clock.Now()
			}
		}
		if ok && l.dir != dir {
			e.startOver(id, dir)
		}
		l.dir, l.endpoints, l.heard = dir, endpoints, e.o.Clock.Now()
	}})
}

// dropLearners forgets the nodes without a vote that are silent, and those of an
// earlier term. The caller holds mu.
func (e *Engine) dropLearners() {
	now := e.o.Clock.Now()
	for id, l := range e.learners {
		if now.Sub(l.heard) > learnerPatience*e.o.ElectionTimeout {
			delete(e.learners, id)
		}
	}
	var gone []kafka.NodeID
	e.eachProgress(func(id kafka.NodeID, p *progress) {
		if p.IsLearner && e.learners[id] == nil {
			gone = append(gone, id)
		}
	})
	for _, id := range gone {
		e.changeMember(pb.ConfChangeRemoveNode, raftID(id))
	}
}

// heardOfLeader takes over what another node says of the leader. Only a node that the
// leader does not know of needs it: voters hear from the leader itself. The caller
// holds mu.
func (e *Engine) heardOfLeader(a answer) {
	switch {
	case a.Leader == kafka.NoNode || a.Leader == e.o.NodeID || a.Epoch < e.seen.epoch || len(a.Endpoints) == 0:
	case a.Leader == e.seen.leader:
		e.leaderAt = a.Endpoints
	case !e.isVoter() || e.seen.leader == kafka.NoNode:
		e.hint = a
	}
}

// sayHello asks the leader for the log; while it is not known, whoever may know it.
func (e *Engine) sayHello() {
	if e.o.Transport == nil {
		return
	}
	e.mayMove()
	e.mu.Lock()
	p, to := e.askNext()
	e.mu.Unlock()
	if p.Endpoint.Host == "" {
		return
	}
	env := &envelope{ClusterID: e.o.ClusterID, From: e.o.NodeID, FromDir: e.o.DirectoryID, To: to,
		Endpoints: e.o.LocalEndpoints, Hello: &hello{MaxKRaftVersion: 1}}
	e.post(p, to, env)
	if e.o.AutoJoin {
		e.mayJoin()
	}
}

// askNext is the leader, or each node that may know it in turn. The caller holds mu.
func (e *Engine) askNext() (Peer, kafka.NodeID) {
	if e.seen.leader != kafka.NoNode {
		if p, _, ok := e.peer(e.seen.leader); ok {
			return p, p.ID
		}
	}
	if h := e.hint; h.Leader != kafka.NoNode && len(h.Endpoints) > 0 && h.Leader != e.o.NodeID {
		e.hint = answer{Leader: kafka.NoNode}
		e.leaderAt = h.Endpoints
		return Peer{ID: h.Leader, Endpoint: h.Endpoints[0]}, h.Leader
	}
	var all []Peer
	for _, ep := range e.o.BootstrapServers {
		all = append(all, Peer{ID: kafka.NoNode, Endpoint: ep})
	}
	for _, v := range e.voters {
		if v.ID != e.o.NodeID && len(v.Endpoints) > 0 {
			all = append(all, Peer{ID: v.ID, Endpoint: v.Endpoints[0]})
		}
	}
	if len(all) == 0 {
		return Peer{}, kafka.NoNode
	}
	e.asked++
	p := all[e.asked%len(all)]
	return p, p.ID
}

// LeaderEndpoints says who leads and where its controller listeners are. A leader whose
// loop is stuck knows of nobody.
func (e *Engine) LeaderEndpoints() (l quorum.LeaderAndEpoch, endpoints []storage.Endpoint) {
	e.mu.Lock()
	defer e.mu.Unlock()
	l = e.leader
	if l.Leader == e.o.NodeID && e.stuck() {
		l.Leader = kafka.NoNode
	}
	if l.Leader == e.o.NodeID && len(e.o.LocalEndpoints) > 0 {
		return l, e.o.LocalEndpoints
	}
	if v, ok := e.voters.Find(l.Leader); ok {
		return l, v.Endpoints
	}
	if l.Leader != kafka.NoNode {
		return l, e.leaderAt
	}
	return l, nil
}
