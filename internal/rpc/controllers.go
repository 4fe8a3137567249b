package rpc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/rsm"
	"github.com/gregorhq/gregor/internal/wire"
)

// LocalController is the controller in this process, active or not.
type LocalController interface {
	Do(ctx context.Context, principal string, req kmsg.Request) (rsm.Reply, error)
}

// Leader says who leads the metadata quorum and where its controller listener is
// reached; kafka.NoNode while nobody is known to.
type Leader struct {
	ID   kafka.NodeID
	Addr string
}

// Controllers is a channel to the active controller, whoever that is. What brokers ask
// for themselves goes as it is; everything else travels in an Envelope with the
// client's principal and address (KIP-590). A channel is one connection, on which
// requests are answered in order: what must not wait for the other has its own.
type Controllers struct {
	o      Options
	self   kafka.NodeID
	local  LocalController // nil where there is none
	leader func() Leader

	mu     sync.Mutex
	node   *Node         // guarded by mu; the peer at addr
	addr   string        // guarded by mu
	change chan struct{} // closed by LeaderChanged, then replaced; guarded by mu
	closed bool          // guarded by mu
}

// leaderPause is how long the channel waits for news of the leader before it asks
// again.
const leaderPause = 50 * time.Millisecond

// forwardFor is for how long a client's request is tried again, as with Apache Kafka's
// brokers (their channel's retry timeout).
const forwardFor = time.Minute

// NewControllers returns a channel from node self. local is its own controller, which
// is asked directly while it leads; nil if it has none.
func NewControllers(o Options, self kafka.NodeID, local LocalController, leader func() Leader) *Controllers {
	return &Controllers{o: o.withDefaults(), self: self, local: local, leader: leader, change: make(chan struct{})}
}

// clientKey is the key of the Client in a context.
type clientKey struct{}

// Client is on whose behalf a request goes to the controller.
type Client struct {
	// Host is the client's IP address.
	Host string
	// ID is the client id of its request.
	ID string
}

// WithClient returns ctx with the client on whose behalf a request goes.
func WithClient(ctx context.Context, c Client) context.Context {
	return context.WithValue(ctx, clientKey{}, c)
}

// ClientOf returns the client of WithClient; its fields are empty when the request is the
// broker's own.
func ClientOf(ctx context.Context) Client {
	c, _ := ctx.Value(clientKey{}).(Client)
	return c
}

// Do asks the active controller. While there is none, or it cannot be reached, or the
// connection breaks, it asks again, as brokers of Apache Kafka do: after a lost answer
// a request may be decided twice, and the second decision is what is returned. The
// error is RequestTimedOut when ctx ends first, or what the controller says of the
// request as a whole. The reply's EndOffset is -1 when the controller does not tell it.
// What a client asked for is not tried again after forwardFor: by then the client may be
// gone, and would not expect it to be done.
func (c *Controllers) Do(ctx context.Context, principal string, req kmsg.Request) (rsm.Reply, error) {
	var last error
	began := c.o.Clock.Now()
	for {
		change := c.changed()
		reply, err := c.try(ctx, principal, req)
		if err == nil || !c.again(err) {
			return reply, err
		}
		last = err
		if c.wait(ctx, change) != nil || !ownRequest(req.Key()) && c.o.Clock.Since(began) >= forwardFor {
			return rsm.Reply{}, kafka.RequestTimedOut.Errorf("%s: no active controller answered in time: %w", wire.Name(req.Key()), last)
		}
	}
}

// errNoLeader is why nothing was asked.
var errNoLeader = kafka.NotController.Errorf("no active controller is known")

// errPeer marks what the controller said, as opposed to what happened on the way.
type errPeer struct{ error }

func (e errPeer) Unwrap() error { return e.error }

// again says whether another attempt may do better.
func (c *Controllers) again(err error) bool {
	if errors.Is(err, ErrClosed) {
		c.mu.Lock()
		defer c.mu.Unlock()
		return !c.closed
	}
	var said errPeer
	return errors.Is(err, kafka.NotController) || !errors.As(err, &said) && !errors.Is(err, kafka.UnsupportedVersion)
}

// try asks once.
func (c *Controllers) try(ctx context.Context, principal string, req kmsg.Request) (rsm.Reply, error) {
	l := c.leader()
	if l.ID == kafka.NoNode {
		return rsm.Reply{}, errNoLeader
	}
	if l.ID == c.self && c.local != nil {
		if ownRequest(req.Key()) {
			req.SetVersion(req.MaxVersion()) // as a connection would do
		}
		reply, err := c.local.Do(ctx, principal, req)
		if err != nil {
			err = errPeer{err}
		}
		return reply, err
	}
	if l.Addr == "" {
		return rsm.Reply{}, errNoLeader
	}
	node, err := c.peer(l.Addr)
	if err != nil {
		return rsm.Reply{}, err
	}
	if !ownRequest(req.Key()) {
		return c.forward(ctx, node, principal, req)
	}
	resp, err := node.Do(ctx, req)
	if err != nil {
		return rsm.Reply{}, err
	}
	if code := ownErrorCode(resp); code == kafka.NotController.Num() {
		return rsm.Reply{}, errPeer{kafka.NotController.Errorf("node %d is not the active controller", l.ID)}
	}
	return rsm.Reply{Response: resp, EndOffset: -1}, nil
}

// peer returns the node at addr, and lets go of the one before.
func (c *Controllers) peer(addr string) (*Node, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, notSent(ErrClosed)
	}
	if c.node == nil || c.addr != addr {
		if c.node != nil {
			c.letGo()
		}
		c.addr = addr
		c.node = NewNode(c.o, func() (string, error) { return addr, nil })
	}
	return c.node, nil
}

// changed returns a channel that is closed when there is news of the leader.
func (c *Controllers) changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.change
}

// LeaderChanged tells the channel that there is news of the leader: what waits for one
// goes on, and what waits for the answer of another node is asked anew. It does not
// block.
func (c *Controllers) LeaderChanged() {
	l := c.leader()
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.change)
	c.change = make(chan struct{})
	if l.ID != kafka.NoNode && c.node != nil && (l.Addr != c.addr || l.ID == c.self) {
		c.letGo()
	}
}

// letGo ends the connection to a node that does not lead any more. The caller holds mu.
func (c *Controllers) letGo() {
	old := c.node
	c.node, c.addr = nil, ""
	// What it completes may want mu.
	go func() { _ = old.Close() }()
}

// wait returns nil when another attempt makes sense.
func (c *Controllers) wait(ctx context.Context, change <-chan struct{}) error {
	t := c.o.Clock.NewTimer(leaderPause)
	defer t.Stop()
	select {
	case <-change:
	case <-t.C():
	case <-ctx.Done():
		return ctx.Err()
	}
	return ctx.Err()
}

// Close ends the channel: what is under way and what comes later fails.
func (c *Controllers) Close() {
	c.mu.Lock()
	c.closed = true
	n := c.node
	close(c.change)
	c.change = make(chan struct{})
	c.mu.Unlock()
	if n != nil {
		_ = n.Close()
	}
}

// ownRequest says whether brokers send the key for themselves.
func ownRequest(key int16) bool {
	switch key {
	case 56, 62, 63, 67, 70, 73: // AlterPartition, registration, heartbeat, producer ids, controllers, directories
		return true
	}
	return false
}

// ownErrorCode is the error of a whole answer to a request of the broker itself.
func ownErrorCode(resp kmsg.Response) int16 {
	switch r := resp.(type) {
	case *kmsg.AlterPartitionResponse:
		return r.ErrorCode
	case *kmsg.BrokerRegistrationResponse:
		return r.ErrorCode
	case *kmsg.BrokerHeartbeatResponse:
		return r.ErrorCode
	case *kmsg.AllocateProducerIDsResponse:
		return r.ErrorCode
	case *kmsg.ControllerRegistrationResponse:
		return r.ErrorCode
	case *kmsg.AssignReplicasToDirsResponse:
		return r.ErrorCode
	}
	return 0
}

// forward sends req in an Envelope and opens the one that comes back.
func (c *Controllers) forward(ctx context.Context, node *Node, principal string, req kmsg.Request) (rsm.Reply, error) {
	conn, err := node.connect(ctx)
	if err != nil {
		return rsm.Reply{}, err
	}
	client := ClientOf(ctx)
	version := req.GetVersion()
	if r, ok := conn.versions[req.Key()]; ok && (version < r.min || version > r.max) {
		// The doors of brokers serve older versions than controllers do.
		defer req.SetVersion(version)
		req.SetVersion(min(max(version, r.min), r.max))
	}
	env := kmsg.NewPtrEnvelopeRequest()
	env.RequestData = encodeRequest(req, client.ID)
	if env.ClientHostAddress, err = clientAddress(client.Host); err != nil {
		return rsm.Reply{}, errPeer{err}
	}
	kind, name, _ := strings.Cut(principal, ":")
	env.RequestPrincipal = AppendPrincipal(nil, Principal{Type: kind, Name: name})
	answer, err := conn.Do(ctx, env)
	if err != nil {
		return rsm.Reply{}, err
	}
	out := answer.(*kmsg.EnvelopeResponse)
	switch code := kafka.CodeForNum(out.ErrorCode); code {
	case nil:
	case kafka.NotController:
		return rsm.Reply{}, errPeer{kafka.NotController.Errorf("the node that was asked is not the active controller")}
	default:
		// It is about the envelope, which this broker made: the client cannot know what it means.
		c.o.Log.Error("the controller refused to open an envelope", "request", wire.Name(req.Key()), "error", code.Name())
		return rsm.Reply{}, errPeer{kafka.UnknownServerError.Errorf("the controller did not take the request from this broker: %s", code.Name())}
	}
	resp, err := decodeResponse(req, out.ResponseData)
	if err != nil {
		return rsm.Reply{}, errPeer{fmt.Errorf("the controller's answer to %s: %w", wire.Name(req.Key()), err)}
	}
	return rsm.Reply{Response: resp, EndOffset: endOffset(out)}, nil
}
