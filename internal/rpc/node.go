package rpc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/wire"
)

// Node is a peer. Its methods may be called from any goroutine.
type Node struct {
	o    Options
	addr func() (string, error)

	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	mu   sync.Mutex
	conn *Conn // guarded by mu; nil when there is none
	// dialing is closed when the attempt under way has ended; nil when there is none.
	dialing chan struct{} // guarded by mu
	waiting []waiting     // what the attempt under way is for; guarded by mu
	retryAt time.Time     // no attempt before; guarded by mu
	backoff time.Duration // the pause after the next failure; guarded by mu
	lastErr error         // why there is no connection; guarded by mu
	closed  bool          // guarded by mu
	// attempts counts the goroutines that dial; it grows under mu, not after closed.
	attempts sync.WaitGroup
}

// waiting is a request that leaves when the connection is open.
type waiting struct {
	req  kmsg.Request
	done func(kmsg.Response, error)
}

// NewNode returns a peer that is reached at what addr says at the time.
func NewNode(o Options, addr func() (string, error)) *Node {
	n := &Node{o: o.withDefaults(), addr: addr}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.backoff = n.o.Backoff
	return n
}

// Probe opens a connection to addr and closes it again. Nil says that a process
// listens; ErrRefused that none does; anything else proves nothing.
func Probe(ctx context.Context, o Options, addr string) error {
	nc, err := o.Net.Dial(ctx, "tcp", addr)
	if err != nil {
		return DialError(addr, err)
	}
	_ = nc.Close() // that it opened is all that counts
	return nil
}

// Do sends req and waits for the answer. After a failed attempt to connect it waits
// for the end of the backoff first; the attempt is made once.
func (n *Node) Do(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	c, err := n.connect(ctx)
	if err != nil {
		return nil, err
	}
	return c.Do(ctx, req)
}

// Go sends req without waiting for anything. done is called once and must not block.
// While the backoff after a failed attempt lasts, it fails at once. Until the
// connection is open the request is kept, so it must not change before done is called.
func (n *Node) Go(req kmsg.Request, done func(kmsg.Response, error)) {
	n.mu.Lock()
	var err error
	switch {
	case n.closed:
		err = notSent(ErrClosed)
	case n.alive():
		c := n.conn
		n.mu.Unlock()
		c.Go(req, done)
		return
	case n.dialing == nil && n.o.Clock.Now().Before(n.retryAt):
		err = n.pausing()
	case len(n.waiting) >= maxWaiting:
		err = notSent(fmt.Errorf("%d requests wait for the connection", maxWaiting))
	default:
		n.waiting = append(n.waiting, waiting{req, done})
		n.dial()
	}
	n.mu.Unlock()
	if err != nil {
		done(nil, fmt.Errorf("%s: %w", wire.Name(req.Key()), err))
	}
}

// pausing is the error while the backoff lasts. It names the last failure but is not
// that error: what was true then, such as ErrRefused, may not be now. The caller holds
// mu.
func (n *Node) pausing() error {
	return notSent(fmt.Errorf("the next attempt to connect comes later; the last one: %v", n.lastErr)) //nolint:errorlint // see above
}

// alive says whether there is a connection. The caller holds mu.
func (n *Node) alive() bool {
	if n.conn == nil {
		return false
	}
	select {
	case <-n.conn.Closed():
		n.conn = nil
		return false
	default:
		return true
	}
}

// connect returns the connection, after opening it if need be.
func (n *Node) connect(ctx context.Context) (*Conn, error) {
	for {
		n.mu.Lock()
		if n.closed {
			n.mu.Unlock()
			return nil, notSent(ErrClosed)
		}
		if n.alive() {
			c := n.conn
			n.mu.Unlock()
			return c, nil
		}
		if pause := n.retryAt.Sub(n.o.Clock.Now()); n.dialing == nil && pause > 0 {
			err := n.pausing()
			n.mu.Unlock()
			if n.pause(ctx, pause) != nil {
				return nil, err
			}
			continue
		}
		n.dial()
		attempt := n.dialing
		n.mu.Unlock()
		select {
		case <-attempt:
		case <-ctx.Done():
			return nil, notSent(fmt.Errorf("waiting for the connection: %w", context.Cause(ctx)))
		}
		n.mu.Lock()
		c, err := n.conn, n.lastErr
		n.mu.Unlock()
		if c != nil || err != nil {
			return c, err
		}
		// It opened and has ended since, as Disconnect makes it do.
	}
}

// pause sleeps until the time is over, ctx ends or the node is closed.
func (n *Node) pause(ctx context.Context, d time.Duration) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(n.ctx, cancel)
	defer stop()
	return n.o.Clock.Sleep(ctx, d)
}

// dial begins an attempt unless one is under way. The caller holds mu.
func (n *Node) dial() {
	if n.dialing != nil {
		return
	}
	n.dialing = make(chan struct{})
	n.attempts.Add(1)
	go n.attempt()
}

// attempt opens the connection and sends what waits for it.
func (n *Node) attempt() {
	defer n.attempts.Done()
	var c *Conn
	addr, err := n.addr()
	if err != nil {
		err = notSent(err)
	} else {
		c, err = Dial(n.ctx, n.o, addr)
	}
	n.mu.Lock()
	if n.closed && c != nil {
		n.mu.Unlock()
		_ = c.Close()
		n.mu.Lock()
		c, err = nil, notSent(ErrClosed)
	}
	queue := n.waiting
	n.waiting = nil
	n.conn = c
	var failed []error
	if err == nil {
		n.backoff, n.retryAt, n.lastErr = n.o.Backoff, time.Time{}, nil
		// Under mu, so that no later request overtakes them.
		for _, w := range queue {
			failed = append(failed, c.enqueue(w.req, w.done))
		}
	} else {
		n.lastErr = err
		n.retryAt = n.o.Clock.Now().Add(n.backoff)
		n.backoff = min(2*n.backoff, n.o.MaxBackoff)
	}
	close(n.dialing)
	n.dialing = nil
	n.mu.Unlock()
	if err != nil && !errors.Is(err, ErrClosed) {
		n.o.Log.Debug("no connection", "addr", addr, "error", err)
	}
	for i, w := range queue {
		if e := err; e != nil {
			w.done(nil, fmt.Errorf("%s: %w", wire.Name(w.req.Key()), e))
		} else if failed[i] != nil {
			w.done(nil, failed[i])
		}
	}
}

// Disconnect ends the connection there is, if any: the next request opens a new one, at
// once and at the address of that time.
func (n *Node) Disconnect() {
	n.mu.Lock()
	c := n.conn
	n.conn, n.retryAt, n.backoff = nil, time.Time{}, n.o.Backoff
	n.mu.Unlock()
	if c != nil {
		c.fail(ErrClosed)
	}
}

// Close ends the connection for good. Requests without an answer fail before it
// returns.
func (n *Node) Close() error {
	n.mu.Lock()
	n.closed = true
	c := n.conn
	n.conn = nil
	n.mu.Unlock()
	n.cancel()
	n.attempts.Wait()
	if c != nil {
		return c.Close()
	}
	return nil
}
