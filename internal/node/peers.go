package node

import (
	"sync"
	"time"

	"github.com/gregorhq/gregor/internal/brokerapi"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/rpc"
)

// answerSlack is what a broker gets beyond request.timeout.ms to say that it ran out of
// time itself.
const answerSlack = 500 * time.Millisecond

// peers are the connections to other brokers that the doors use, one for each broker
// and purpose. They are opened when they are needed.
type peers struct {
	n *Node

	mu     sync.Mutex
	nodes  map[peerKey]*rpc.Node // guarded by mu
	closed bool                  // guarded by mu
}

type peerKey struct {
	id      kafka.NodeID
	purpose string
}

// get returns the connection. Its address is the one that the broker has when it is
// opened.
func (p *peers) get(id kafka.NodeID, purpose string) brokerapi.Peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := peerKey{id, purpose}
	n := p.nodes[k]
	if n == nil {
		n = p.n.peer(id, purpose, time.Duration(p.n.static.RequestTimeoutMs)*time.Millisecond+answerSlack)
		if p.closed {
			_ = n.Close() // it refuses what it is given
			return n
		}
		if p.nodes == nil {
			p.nodes = map[peerKey]*rpc.Node{}
		}
		p.nodes[k] = n
	}
	return n
}

// close ends all connections: what waits for an answer fails.
func (p *peers) close() {
	p.mu.Lock()
	p.closed = true
	nodes := p.nodes
	p.nodes = nil
	p.mu.Unlock()
	for _, n := range nodes {
		_ = n.Close() // it always succeeds
	}
}
