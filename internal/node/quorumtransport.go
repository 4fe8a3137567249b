package node

import (
	"context"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/quorum/raft"
	"github.com/gregorhq/gregor/internal/rpc"
	"github.com/gregorhq/gregor/internal/wire"
)

// quorumTransport carries the quorum's requests between controller listeners. Raft's
// messages to a peer have a connection of their own, on which everything is answered at
// once; Kafka's requests, which the peer may hold, have another.
type quorumTransport struct {
	options rpc.Options

	mu           sync.Mutex
	disconnected func(kafka.NodeID)      // guarded by mu
	messages     map[raft.Peer]*rpc.Node // guarded by mu
	requests     map[raft.Peer]*rpc.Node // guarded by mu
	closed       bool                    // guarded by mu
}

var _ raft.Transport = (*quorumTransport)(nil)

// Pauses between attempts to reach another voter: an election must not wait for them.
const (
	quorumBackoff    = 20 * time.Millisecond
	maxQuorumBackoff = 200 * time.Millisecond
)

// newQuorumTransport makes a transport; a peer that is silent for timeout is taken to
// have lost its connection.
func newQuorumTransport(o rpc.Options, timeout time.Duration) *quorumTransport {
	o.Backoff, o.MaxBackoff, o.ConnectTimeout, o.RequestTimeout = quorumBackoff, maxQuorumBackoff, timeout, timeout
	return &quorumTransport{options: o, messages: map[raft.Peer]*rpc.Node{}, requests: map[raft.Peer]*rpc.Node{}}
}

// OnDisconnect is raft.Transport's.
func (t *quorumTransport) OnDisconnect(f func(kafka.NodeID)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.disconnected = f
}

// peer returns the connection of a kind to a peer. A node that has moved leaves its old
// ones behind, which end with the transport: controllers change their addresses seldom.
func (t *quorumTransport) peer(p raft.Peer, messages bool) (*rpc.Node, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, rpc.ErrClosed
	}
	nodes, o := t.requests, t.options
	if messages {
		nodes = t.messages
		o.Disconnected = func(error) { t.lost(p.ID) }
	} else {
		o.RequestTimeout = forwardingTimeout
	}
	n := nodes[p]
	if n == nil {
		addr := net.JoinHostPort(p.Endpoint.Host, strconv.Itoa(int(p.Endpoint.Port)))
		n = rpc.NewNode(o, func() (string, error) { return addr, nil })
		nodes[p] = n
	}
	return n, nil
}

// lost tells the engine that an established connection has ended.
func (t *quorumTransport) lost(id kafka.NodeID) {
	t.mu.Lock()
	f := t.disconnected
	t.mu.Unlock()
	if f != nil && id != kafka.NoNode {
		f(id)
	}
}

// Send is raft.Transport's.
func (t *quorumTransport) Send(p raft.Peer, body []byte, done func([]byte, error)) {
	n, err := t.peer(p, true)
	if err != nil {
		done(nil, err)
		return
	}
	n.Go(&raftMessage{body: body}, func(resp kmsg.Response, err error) {
		if err != nil {
			done(nil, err)
			return
		}
		done(resp.(*raftMessage).body, nil)
	})
}

// Do is raft.Transport's.
func (t *quorumTransport) Do(ctx context.Context, p raft.Peer, req kmsg.Request) (kmsg.Response, error) {
	n, err := t.peer(p, false)
	if err != nil {
		return nil, err
	}
	return n.Do(ctx, req)
}

// close ends all connections.
func (t *quorumTransport) close() {
	t.mu.Lock()
	t.closed = true
	var all []*rpc.Node
	for _, nodes := range []map[raft.Peer]*rpc.Node{t.messages, t.requests} {
		for _, n := range nodes {
			all = append(all, n)
		}
	}
	t.mu.Unlock()
	for _, n := range all {
		_ = n.Close() // it always succeeds
	}
}

// raftMessage is the private request, and its response: bytes that only the engine
// understands. There is one version.
type raftMessage struct{ body []byte }

var (
	_ kmsg.Request  = (*raftMessage)(nil)
	_ kmsg.Response = (*raftMessage)(nil)
)

func (*raftMessage) Key() int16                   { return wire.RaftMessage }
func (*raftMessage) MaxVersion() int16            { return 0 }
func (*raftMessage) SetVersion(int16)             {}
func (*raftMessage) GetVersion() int16            { return 0 }
func (*raftMessage) IsFlexible() bool             { return false }
func (m *raftMessage) AppendTo(dst []byte) []byte { return append(dst, m.body...) }
func (m *raftMessage) ReadFrom(src []byte) error  { m.body = src; return nil }
func (*raftMessage) ResponseKind() kmsg.Response  { return &raftMessage{} }
func (*raftMessage) RequestKind() kmsg.Request    { return &raftMessage{} }
