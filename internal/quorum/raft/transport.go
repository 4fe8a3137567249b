package raft

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/rpc"
	"github.com/gregorhq/gregor/internal/wire"
)

// RPC is the Transport over connections to the other nodes' controller listeners: one
// for the messages of each peer, and one for its other requests, so that a snapshot
// does not hold up a heartbeat.
type RPC struct {
	messages, requests rpc.Options

	mu    sync.Mutex
	peers map[Peer]*rpcPeer  // guarded by mu
	gone  func(kafka.NodeID) // guarded by mu
	// closed is set by Close; nothing is opened after it. Guarded by mu.
	closed bool
}

// rpcPeer is one peer at one address.
type rpcPeer struct{ messages, requests *rpc.Node }

// NewRPC returns a transport; Close ends its connections. Messages are answered at once,
// requests may be held by the peer: each kind has options of its own.
func NewRPC(messages, requests rpc.Options) *RPC {
	return &RPC{messages: messages, requests: requests, peers: map[Peer]*rpcPeer{}}
}

// OnDisconnect sets what hears of connections that ended.
func (t *RPC) OnDisconnect(f func(kafka.NodeID)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.gone = f
}

// peer returns the connections to p, nil after Close. A node that has moved leaves its
// old ones behind, which end with the transport: controllers seldom move.
func (t *RPC) peer(p Peer) *rpcPeer {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	c := t.peers[p]
	if c == nil {
		addr := net.JoinHostPort(p.Endpoint.Host, strconv.Itoa(int(p.Endpoint.Port)))
		where := func() (string, error) { return addr, nil }
		o, gone := t.messages, t.gone
		o.Disconnected = func(error) {
			if gone != nil && p.ID != kafka.NoNode {
				gone(p.ID)
			}
		}
		c = &rpcPeer{messages: rpc.NewNode(o, where), requests: rpc.NewNode(t.requests, where)}
		t.peers[p] = c
	}
	return c
}

// Send carries a private request.
func (t *RPC) Send(p Peer, body []byte, done func([]byte, error)) {
	c := t.peer(p)
	if c == nil {
		done(nil, rpc.ErrClosed)
		return
	}
	c.messages.Go(&message{body: body}, func(resp kmsg.Response, err error) {
		if err != nil {
			done(nil, err)
			return
		}
		done(resp.(*messageAnswer).body, nil)
	})
}

// Do sends one of Kafka's requests.
func (t *RPC) Do(ctx context.Context, p Peer, req kmsg.Request) (kmsg.Response, error) {
	c := t.peer(p)
	if c == nil {
		return nil, rpc.ErrClosed
	}
	resp, err := c.requests.Do(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("%s to node %d: %w", wire.Name(req.Key()), p.ID, err)
	}
	return resp, nil
}

// Close ends all connections.
func (t *RPC) Close() error {
	t.mu.Lock()
	t.closed = true
	peers := t.peers
	t.peers = nil
	t.mu.Unlock()
	var first error
	for _, c := range peers {
		for _, n := range []*rpc.Node{c.messages, c.requests} {
			if err := n.Close(); err != nil && first == nil {
				first = err
			}
		}
	}
	return first
}

// message and messageAnswer carry the private encoding under key wire.RaftMessage.
type (
	message       struct{ body []byte }
	messageAnswer struct{ body []byte }
)

var (
	_ Transport     = (*RPC)(nil)
	_ kmsg.Request  = (*message)(nil)
	_ kmsg.Response = (*messageAnswer)(nil)
)

func (*message) Key() int16                   { return wire.RaftMessage }
func (*message) MaxVersion() int16            { return 0 }
func (*message) SetVersion(int16)             {}
func (*message) GetVersion() int16            { return 0 }
func (*message) IsFlexible() bool             { return false }
func (*message) ResponseKind() kmsg.Response  { return &messageAnswer{} }
func (m *message) AppendTo(dst []byte) []byte { return append(dst, m.body...) }

// ReadFrom takes a copy, as its memory is the connection's.
func (m *message) ReadFrom(b []byte) error {
	m.body = append([]byte(nil), b...)
	return nil
}

func (*messageAnswer) Key() int16                   { return wire.RaftMessage }
func (*messageAnswer) MaxVersion() int16            { return 0 }
func (*messageAnswer) SetVersion(int16)             {}
func (*messageAnswer) GetVersion() int16            { return 0 }
func (*messageAnswer) IsFlexible() bool             { return false }
func (*messageAnswer) RequestKind() kmsg.Request    { return &message{} }
func (m *messageAnswer) AppendTo(dst []byte) []byte { return append(dst, m.body...) }

// ReadFrom takes a copy, as its memory is the connection's.
func (m *messageAnswer) ReadFrom(b []byte) error {
	m.body = append([]byte(nil), b...)
	return nil
}
