package raft

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	etcdraft "go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/rpc"
)

// send hands messages to the transport, together those for one peer, in raft's order.
// What they rest on is durable by now.
func (e *Engine) send(msgs []*pb.Message) error {
	if e.o.Transport == nil {
		return nil
	}
	byPeer := map[kafka.NodeID][]*pb.Message{}
	var order []kafka.NodeID
	for _, m := range msgs {
		to := nodeID(m.GetTo())
		if to == e.o.NodeID || to == kafka.NoNode {
			continue
		}
		whole, err := e.whole(m)
		if err != nil {
			return err
		}
		if m.GetType() == pb.MsgSnap {
			// The peer fetches the file and asks again by being behind: until then it is
			// probed with every heartbeat.
			e.inbox.push(item{local: func() { e.rn.ReportSnapshot(m.GetTo(), etcdraft.SnapshotFailure) }})
		}
		if _, ok := byPeer[to]; !ok {
			order = append(order, to)
		}
		byPeer[to] = append(byPeer[to], whole...)
	}
	for _, to := range order {
		e.sendTo(to, byPeer[to])
	}
	return nil
}

// sendTo sends messages to one peer in requests of a bounded size.
func (e *Engine) sendTo(to kafka.NodeID, msgs []*pb.Message) {
	e.mu.Lock()
	peer, dir, ok := e.peer(to)
	e.mu.Unlock()
	if !ok {
		return
	}
	for len(msgs) > 0 {
		n, size := 0, 0
		for n < len(msgs) && n < maxMessages && (n == 0 || size+entryBytes(msgs[n].Entries) <= messageBytes) {
			size += entryBytes(msgs[n].Entries)
			n++
		}
		env := &envelope{ClusterID: e.o.ClusterID, From: e.o.NodeID, FromDir: e.o.DirectoryID, To: to, ToDir: dir,
			Endpoints: e.o.LocalEndpoints, Messages: msgs[:n]}
		msgs = msgs[n:]
		e.post(peer, to, env)
	}
}

// post sends a request. What is answered before Send has returned is the failure of an
// earlier attempt: it proves nothing about now.
func (e *Engine) post(p Peer, to kafka.NodeID, env *envelope) {
	var returned atomic.Bool
	e.o.Transport.Send(p, appendEnvelope(nil, env), func(b []byte, err error) {
		if err != nil && !returned.Load() {
			err = errNotNow
		}
		e.answered(to, b, err)
	})
	returned.Store(true)
}

// errNotNow stands for a peer that could not be reached a moment ago.
var errNotNow = fmt.Errorf("%w: the peer could not be reached a moment ago", rpc.ErrNotSent)

// peer says where a voter or learner is reached. The caller holds mu.
func (e *Engine) peer(id kafka.NodeID) (Peer, kafka.UUID, bool) {
	if v, ok := e.voters.Find(id); ok && len(v.Endpoints) > 0 {
		return Peer{ID: id, Endpoint: v.Endpoints[0]}, v.DirectoryID, true
	}
	if l, ok := e.learners[id]; ok && len(l.endpoints) > 0 {
		return Peer{ID: id, Endpoint: l.endpoints[0]}, l.dir, true
	}
	if id == e.leader.Leader && len(e.leaderAt) > 0 {
		return Peer{ID: id, Endpoint: e.leaderAt[0]}, kafka.UUID{}, true
	}
	if at := e.addresses[id]; len(at) > 0 {
		return Peer{ID: id, Endpoint: at[0]}, kafka.UUID{}, true
	}
	return Peer{}, kafka.UUID{}, false
}

// answered hears what became of a request.
func (e *Engine) answered(to kafka.NodeID, body []byte, err error) {
	switch {
	case errors.Is(err, rpc.ErrRefused):
		e.inbox.push(item{refused: true, from: to})
		e.kick()
	case err != nil:
		e.inbox.push(item{local: func() { e.rn.ReportUnreachable(raftID(to)) }})
		e.kick()
	default:
		a, err := parseAnswer(body)
		if err != nil {
			e.o.Logger.Warn("an answer of another controller does not parse", "node", to, "error", err)
			return
		}
		if a.Code != 0 {
			e.o.Logger.Warn("another controller refuses the messages of this one", "node", to, "error", kafka.CodeForNum(a.Code))
			return
		}
		e.inbox.push(item{answer: &a, from: to})
		e.kick()
	}
}

func entryBytes(entries []*pb.Entry) int {
	n := 0
	for _, en := range entries {
		n += len(en.GetData())
	}
	return n
}

// whole makes messages that can travel of one of raft's: they end with a batch, they
// are bounded, and a new leader's empty entry is the batch that it became, so that every
// voter has the same bytes. A message about entries that this node does not have any
// more gives none. One may begin inside a batch: raft probes at any index. Who has the
// index before it has the whole batch, so that nothing of it is missed.
func (e *Engine) whole(m *pb.Message) ([]*pb.Message, error) {
	entries := m.GetEntries()
	if m.GetType() != pb.MsgApp || len(entries) == 0 {
		return []*pb.Message{m}, nil
	}
	entries = slices.Clone(entries) // the slice may be raft's own
	for i, en := range entries {
		if len(en.GetData()) > 0 {
			continue
		}
		data, info, err := e.stored(en)
		if err != nil || data == nil || uint64(info.BaseOffset)+1 != en.GetIndex() {
			return nil, err
		}
		entries[i] = &pb.Entry{Term: new(en.GetTerm()), Index: new(en.GetIndex()), Data: data}
	}
	return cutMessage(m, entries), nil
}

// stored returns the batch that holds an entry, nil when the log has none of its epoch
// there: another leader's may have taken its place since raft made the message.
func (e *Engine) stored(en *pb.Entry) ([]byte, batch.Info, error) {
	at, end := kafka.Offset(en.GetIndex())-1, e.o.Log.LogEndOffset()
	if at >= end || at < e.o.Log.LogStartOffset() {
		return nil, batch.Info{}, nil
	}
	data, err := readLog(e.o.Log, at, 1, end)
	if err != nil {
		return nil, batch.Info{}, err
	}
	info, err := batch.Peek(data)
	if err != nil {
		return nil, info, fmt.Errorf("metadata log at offset %d: %w", at, err)
	}
	if uint64(info.LeaderEpoch) != en.GetTerm() || info.Size > len(data) {
		return nil, info, nil
	}
	return data[:info.Size], info, nil
}

// cutMessage splits an append between batches. Each part says which entry comes before
// it, as raft would have said had it sent them one by one.
func cutMessage(m *pb.Message, entries []*pb.Entry) []*pb.Message {
	var out []*pb.Message
	prevTerm := m.GetLogTerm()
	for len(entries) > 0 {
		n, size := 0, 0
		for n < len(entries) {
			en := entries[n]
			if begins := len(en.GetData()) > len(filler); begins && n > 0 && size+len(en.GetData()) > messageBytes {
				break
			}
			size += len(en.GetData())
			n++
		}
		out = append(out, &pb.Message{
			Type: m.GetType().Enum(), To: m.To, From: m.From, Term: m.Term, Commit: m.Commit,
			Index: new(entries[0].GetIndex() - 1), LogTerm: new(prevTerm), Entries: entries[:n:n],
		})
		prevTerm, entries = entries[n-1].GetTerm(), entries[n:]
	}
	return out
}
