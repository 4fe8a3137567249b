package node

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log4j"
	"github.com/gregorhq/gregor/internal/quorum"
	"github.com/gregorhq/gregor/internal/replica"
	"github.com/gregorhq/gregor/internal/rpc"
	"github.com/gregorhq/gregor/internal/rsm"
	"github.com/gregorhq/gregor/internal/storage"
)

// channels are the ways to the active controller. Requests on one are answered in
// order, so what must not wait for the others has its own.
type channels struct {
	heartbeats, alterPartition, assignments, forwarding *rpc.Controllers
}

// forwardingTimeout is how long an active controller may be silent before a forwarded
// request is sent again on another connection. It is longer than what clients wait for.
const forwardingTimeout = 2 * time.Minute

func (n *Node) newChannels() {
	session := time.Duration(n.static.BrokerSessionTimeoutMs) * time.Millisecond
	n.channels = channels{
		heartbeats:     n.newChannel("heartbeat", session),
		alterPartition: n.newChannel("alter-partition", session),
		assignments:    n.newChannel("directory-assignments", session),
		forwarding:     n.newChannel("forwarding", forwardingTimeout),
	}
}

func (n *Node) newChannel(name string, timeout time.Duration) *rpc.Controllers {
	var local rpc.LocalController
	if n.controller != nil {
		local = ownController{n}
	}
	o := n.rpcOptions("kafka.server.NodeToControllerChannelManager", name)
	o.RequestTimeout = timeout
	return rpc.NewControllers(o, n.static.NodeID, local, n.leader)
}

// ownController is this node's controller, asked by its own broker.
type ownController struct{ n *Node }

func (c ownController) Do(ctx context.Context, principal string, req kmsg.Request) (rsm.Reply, error) {
	switch req.(type) {
	case *kmsg.AddRaftVoterRequest, *kmsg.RemoveRaftVoterRequest:
		// They come from the broker's doors, so the controller's doors are connected.
		return c.n.ctlAPI.Do(ctx, principal, req, c.n.static.ControllerListenerNames[0])
	}
	return c.n.controller.Do(ctx, principal, req)
}

// rpcOptions are those of a connection of this node with a purpose.
func (n *Node) rpcOptions(logger, purpose string) rpc.Options {
	return rpc.Options{
		Net: n.deps.Net, Clock: n.deps.Clock, ClientID: fmt.Sprintf("%d-%s", n.static.NodeID, purpose),
		Log: log4j.Named(n.log, logger, fmt.Sprintf("id=%d name=%s", n.static.NodeID, purpose)),
	}
}

// each calls f with every channel.
func (c *channels) each(f func(*rpc.Controllers)) {
	for _, ch := range []*rpc.Controllers{c.heartbeats, c.alterPartition, c.assignments, c.forwarding} {
		if ch != nil {
			f(ch)
		}
	}
}

// leader is the active controller as the quorum knows it, with the listener that this
// node reaches controllers by.
func (n *Node) leader() rpc.Leader {
	l, endpoints := n.meta.LeaderEndpoints()
	out := rpc.Leader{ID: l.Leader}
	if e, ok := pickEndpoint(endpoints, n.static.ControllerListenerNames); ok {
		out.Addr = net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port)))
	}
	return out
}

// pickEndpoint returns the endpoint of the first listener that there is one of.
func pickEndpoint(endpoints []storage.Endpoint, listeners []string) (storage.Endpoint, bool) {
	for _, name := range listeners {
		for _, e := range endpoints {
			if e.Listener == name {
				return e, true
			}
		}
	}
	return storage.Endpoint{}, false
}

// leaderNews tells the channels and the death watch who leads.
type leaderNews struct{ n *Node }

var _ quorum.Listener = leaderNews{}

func (leaderNews) HandleCommit(*quorum.Batch) error               { return nil }
func (leaderNews) HandleSnapshot(s *storage.SnapshotReader) error { return nil }

func (l leaderNews) HandleLeaderChange(quorum.LeaderAndEpoch) {
	// The engine may hold what asking it needs.
	go func() {
		l.n.channels.each((*rpc.Controllers).LeaderChanged)
		if l.n.deaths != nil {
			l.n.deaths.elected()
		}
	}()
}

// alterPartitions is the channel for AlterPartition as the replica manager knows it.
type alterPartitions struct{ n *Node }

func (c alterPartitions) Do(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	reply, err := c.n.channels.alterPartition.Do(ctx, brokerPrincipal, req)
	return reply.Response, err
}

// assignments is the channel for AssignReplicasToDirs as the replica manager knows it.
type assignments struct{ n *Node }

func (c assignments) Do(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	reply, err := c.n.channels.assignments.Do(ctx, brokerPrincipal, req)
	return reply.Response, err
}

// cluster is how the replica manager reaches other nodes.
func (n *Node) cluster() replica.Cluster {
	return replica.Cluster{
		Peers: func(id kafka.NodeID) replica.Peer {
			return n.peer(id, "replica-fetcher", time.Duration(n.static.ReplicaSocketTimeoutMs)*time.Millisecond)
		},
		Controller:  alterPartitions{n},
		Assignments: assignments{n},
		BrokerEpoch: func() int64 { return n.lifecycle.brokerEpoch() },
	}
}

// peer opens a way to another broker, at the inter-broker listener that its
// registration tells at the time. A connection on which a request has no answer for that
// long is given up.
func (n *Node) peer(id kafka.NodeID, purpose string, timeout time.Duration) *rpc.Node {
	o := n.rpcOptions("kafka.server.BrokerBlockingSender", purpose)
	o.RequestTimeout = timeout
	return rpc.NewNode(o, func() (string, error) { return n.brokerAddr(id) })
}

// brokerAddr is where another broker is reached.
func (n *Node) brokerAddr(id kafka.NodeID) (string, error) {
	b := n.loader.Current().Broker(int32(id))
	if b == nil {
		return "", kafka.BrokerNotAvailable.Errorf("broker %d is not registered", id)
	}
	e, ok := b.Endpoint(n.static.InterBrokerListenerName)
	if !ok {
		return "", kafka.BrokerNotAvailable.Errorf("broker %d has no listener %s", id, n.static.InterBrokerListenerName)
	}
	if e.SecurityProtocol != plaintext {
		return "", kafka.BrokerNotAvailable.Errorf("broker %d has another security protocol than PLAINTEXT at its listener %s, which this build does not speak", id, e.Name)
	}
	return net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port))), nil
}

// plaintext is Kafka's number of the security protocol PLAINTEXT in registrations.
const plaintext = 0
