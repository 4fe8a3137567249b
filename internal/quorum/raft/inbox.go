package raft

import (
	"fmt"
	"sync"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/quorum"
	"github.com/gregorhq/gregor/internal/storage"
)

// Limits of what waits for the loop. What does not fit is lost, and raft repeats it.
const (
	maxInboxItems = 8192
	maxInboxBytes = 64 << 20
	// maxAddresses bounds the senders whose addresses are remembered.
	maxAddresses = 1024
)

// item is something for the loop: exactly one of msg, local, refused, answer and
// disconnected is set.
type item struct {
	from kafka.NodeID
	dir  kafka.UUID
	at   []storage.Endpoint
	msg  *pb.Message
	// local is run under Engine.mu.
	local        func()
	answer       *answer
	refused      bool
	disconnected bool
}

// inbox is what others hand to the loop. mu guards items and bytes; grants belongs to
// the loop and is read under Engine.mu.
type inbox struct {
	mu    sync.Mutex
	items []item
	bytes int
	// grants are the voters that gave this node their vote since it last stood.
	grants map[kafka.NodeID]bool
}

// push adds an item. It reports whether there was room.
func (b *inbox) push(it item) bool {
	size := 0
	if it.msg != nil {
		size = entryBytes(it.msg.Entries)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if it.msg != nil && (len(b.items) >= maxInboxItems || b.bytes > 0 && b.bytes+size > maxInboxBytes) {
		return false
	}
	b.items = append(b.items, it)
	b.bytes += size
	return true
}

// take empties the inbox.
func (b *inbox) take() []item {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := b.items
	b.items, b.bytes = nil, 0
	return out
}

// putBack puts items before those that came since.
func (b *inbox) putBack(items []item) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.items = append(items, b.items...)
	for _, it := range items {
		if it.msg != nil {
			b.bytes += entryBytes(it.msg.Entries)
		}
	}
}

// Receive takes a request of another node and answers it. It keeps nothing of body.
func (e *Engine) Receive(body []byte) ([]byte, error) {
	env, err := parseEnvelope(body)
	if err != nil {
		return nil, err
	}
	a := answer{Leader: kafka.NoNode}
	l, endpoints := e.LeaderEndpoints()
	a.Leader, a.Epoch, a.Endpoints = l.Leader, l.Epoch, endpoints
	switch {
	case env.ClusterID != e.o.ClusterID:
		a.Code = kafka.InconsistentClusterID.Num()
	case env.To != kafka.NoNode && env.To != e.o.NodeID,
		env.ToDir != (kafka.UUID{}) && env.ToDir != e.o.DirectoryID:
		a.Code = kafka.InvalidVoterKey.Num()
	default:
		if env.Hello != nil {
			e.welcome(env)
		}
		for _, m := range env.Messages {
			m.To = new(raftID(e.o.NodeID))
			if !e.inbox.push(item{msg: m, from: env.From, dir: env.FromDir, at: env.Endpoints}) {
				break
			}
		}
		e.kick()
	}
	return appendAnswer(nil, a), nil
}

// disconnected hears that a connection has ended.
func (e *Engine) disconnected(id kafka.NodeID) {
	e.inbox.push(item{disconnected: true, from: id})
	e.kick()
}

// takeInbox handles what others handed in. The call to take over leadership counts
// only when everything before it is applied, as campaigning does; so does what afterLog
// names.
func (e *Engine) takeInbox() (bool, error) {
	items := e.inbox.take()
	for i, it := range items {
		if it.msg != nil && i > 0 && e.afterLog(it.msg) {
			e.inbox.putBack(items[i:])
			return true, nil
		}
		if err := e.handleItem(it); err != nil {
			return false, err
		}
	}
	return len(items) > 0, nil
}

func (e *Engine) handleItem(it item) error {
	switch {
	case it.msg != nil:
		return e.stepMessage(it)
	case it.local != nil:
		return e.guard(func() error {
			e.mu.Lock()
			defer e.mu.Unlock()
			it.local()
			return nil
		})
	case it.answer != nil:
		e.mu.Lock()
		defer e.mu.Unlock()
		e.heardOfLeader(*it.answer)
	case it.refused:
		return e.peerRefused(it.from)
	case it.disconnected:
		if it.from == e.seen.leader && e.seen.leader != e.o.NodeID {
			// Whoever answers at the leader's address now is asked at once: nobody does when
			// the process has died.
			e.timers.probe, e.timers.probes = e.o.Clock.Now(), probeTries
		}
	}
	return nil
}

// stepMessage hands a received message to raft.
func (e *Engine) stepMessage(it item) error {
	m := it.msg
	if m.GetType() == pb.MsgSnap && it.from != e.o.NodeID {
		return e.offered(m)
	}
	err := e.guard(func() error {
		e.mu.Lock()
		defer e.mu.Unlock()
		if _, ok := e.addresses[it.from]; len(it.at) > 0 && (ok || len(e.addresses) < maxAddresses) {
			e.addresses[it.from] = it.at
		}
		if isResponse(m.GetType()) && !e.knows(it.from, it.dir) {
			return nil // a directory that is not a member's does not count
		}
		if !e.admit(it.from, m) {
			return nil
		}
		if e.lostItsLog(it.from, m) {
			e.startOver(it.from, it.dir)
		}
		if m.GetType() == pb.MsgVoteResp && !m.GetReject() && e.inbox.grants != nil {
			e.inbox.grants[it.from] = true
		}
		if err := e.rn.Step(m); err != nil {
			e.o.Logger.Debug("a message was not taken", "type", m.GetType().String(), "node", it.from, "error", err)
		}
		now := e.look()
		switch m.GetType() {
		case pb.MsgApp, pb.MsgHeartbeat:
			if now.leader == it.from {
				e.timers.contact(e.o.Clock.Now(), e.o.ElectionTimeout)
			}
		case pb.MsgAppResp, pb.MsgHeartbeatResp:
			if now.leader == e.o.NodeID {
				e.heardFrom(it.from, it.dir)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("message %s of node %d: %w", m.GetType(), it.from, err)
	}
	return nil
}

func isResponse(t pb.MessageType) bool {
	switch t {
	case pb.MsgAppResp, pb.MsgHeartbeatResp, pb.MsgVoteResp, pb.MsgPreVoteResp:
		return true
	}
	return false
}

// knows says whether a directory is that of the member or learner with this id. The
// caller holds mu.
func (e *Engine) knows(id kafka.NodeID, dir kafka.UUID) bool {
	if v, ok := e.voters.Find(id); ok {
		return e.kraftVersion == 0 || v.DirectoryID == dir
	}
	l, ok := e.learners[id]
	return ok && l.dir == dir
}

// heardFrom notes how far a voter or learner has come. The caller holds mu.
func (e *Engine) heardFrom(id kafka.NodeID, dir kafka.UUID) {
	end := kafka.Offset(-1)
	e.eachProgress(func(n kafka.NodeID, p *progress) {
		if n == id {
			end = kafka.Offset(p.Match)
		}
	})
	e.replicas.update(quorum.Replica{ID: id, DirectoryID: dir}, end, e.o.Log.LogEndOffset(), e.o.Clock.Now().UnixMilli())
}
