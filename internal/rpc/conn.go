package rpc

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/wire"
)

// Conn is one connection. Its methods may be called from any goroutine.
type Conn struct {
	o        Options
	nc       net.Conn
	clientID *string
	// versions are the peer's, by key; nil until they are known. Fixed by Dial.
	versions map[int16]versionRange

	closed chan struct{} // closed when the connection has ended
	ended  sync.WaitGroup

	mu sync.Mutex
	// out are the bytes that the writer has not taken, wake tells it of them.
	out  []byte // guarded by mu
	wake chan struct{}
	// pending are the requests without an answer, oldest first.
	pending []pending   // guarded by mu
	nextID  int32       // guarded by mu
	err     error       // why the connection ended; guarded by mu
	expiry  clock.Timer // ends a connection whose peer is silent; guarded by mu
}

type versionRange struct{ min, max int16 }

// pending is a request that waits for its answer. The parts that decoding needs are
// copied, since the request itself belongs to the caller.
type pending struct {
	id      int32
	key     int16
	version int16
	resp    kmsg.Response
	done    func(kmsg.Response, error)
	since   time.Time
}

// Dial opens a connection and asks the peer for its versions. The error is ErrNotSent,
// and ErrRefused if nobody listens.
func Dial(ctx context.Context, o Options, addr string) (*Conn, error) {
	o = o.withDefaults()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	limit := o.Clock.AfterFunc(o.ConnectTimeout, cancel)
	defer limit.Stop()
	nc, err := o.Net.Dial(ctx, "tcp", addr)
	if err != nil {
		return nil, DialError(addr, err)
	}
	c := newConn(o, nc)
	if err := c.askVersions(ctx); err != nil {
		_ = c.Close() // why it is of no use is known
		return nil, DialError(addr, err)
	}
	return c, nil
}

// newConn runs a connection that is open.
func newConn(o Options, nc net.Conn) *Conn {
	c := &Conn{o: o, nc: nc, closed: make(chan struct{}), wake: make(chan struct{}, 1)}
	if o.ClientID != "" {
		c.clientID = &o.ClientID
	}
	c.mu.Lock() // expire waits until expiry is set
	c.expiry = o.Clock.AfterFunc(o.RequestTimeout, c.expire)
	c.mu.Unlock()
	c.ended.Add(2)
	go c.read()
	go c.write()
	return c
}

// Closed is closed when the connection has ended, whichever side ended it.
func (c *Conn) Closed() <-chan struct{} { return c.closed }

// Close ends the connection. Requests without an answer fail before it returns, so a
// completion must not call it.
func (c *Conn) Close() error {
	c.fail(ErrClosed)
	c.ended.Wait()
	return nil
}

// Do sends req and waits for the answer. When ctx ends first, the request may still be
// answered; nobody learns of it then.
func (c *Conn) Do(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	type answer struct {
		resp kmsg.Response
		err  error
	}
	got := make(chan answer, 1)
	c.Go(req, func(resp kmsg.Response, err error) { got <- answer{resp, err} })
	select {
	case a := <-got:
		return a.resp, a.err
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for the answer to %s: %w", wire.Name(req.Key()), context.Cause(ctx))
	}
}

// Go sends req without waiting for anything. done is called once, on the connection's
// reader, and must not block; when the request cannot be sent it is called before Go
// returns. The version of req is set; req may be used again when Go has returned.
func (c *Conn) Go(req kmsg.Request, done func(kmsg.Response, error)) {
	if err := c.enqueue(req, done); err != nil {
		done(nil, err)
	}
}

// enqueue is Go that returns the error of a request that cannot be sent, instead of
// completing it.
func (c *Conn) enqueue(req kmsg.Request, done func(kmsg.Response, error)) error {
	req, err := c.setVersion(req)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return notSent(c.err)
	}
	if len(c.out) > maxQueuedBytes {
		return notSent(fmt.Errorf("%d bytes wait for a peer that does not take them", len(c.out)))
	}
	key, version := req.Key(), req.GetVersion()
	start := len(c.out)
	c.out = append(c.out, 0, 0, 0, 0)
	c.out = wire.AppendRequestHeader(c.out, wire.RequestHeader{Key: key, Version: version, CorrelationID: c.nextID, ClientID: c.clientID})
	c.out = req.AppendTo(c.out)
	binary.BigEndian.PutUint32(c.out[start:], uint32(len(c.out)-start-4))
	resp := req.ResponseKind()
	resp.SetVersion(version)
	c.pending = append(c.pending, pending{id: c.nextID, key: key, version: version, resp: resp, done: done, since: c.o.Clock.Now()})
	c.nextID++
	c.o.Traffic.Requests.Add(1)
	select {
	case c.wake <- struct{}{}:
	default:
	}
	return nil
}

// setVersion gives the request the newest version that both sides know. Keys that the
// peer does not announce are private: they go out in the newest version of this side.
func (c *Conn) setVersion(req kmsg.Request) (kmsg.Request, error) {
	p, pinned := req.(Pinned)
	if pinned {
		req = p.Request
	}
	r, known := c.versions[req.Key()]
	switch {
	case !known && req.Key() <= kmsg.MaxKey && c.versions != nil:
		return nil, notSent(kafka.UnsupportedVersion.Errorf("the peer does not serve %s", wire.Name(req.Key())))
	case !known && !pinned:
		req.SetVersion(req.MaxVersion())
	case !known:
	case pinned:
		if v := req.GetVersion(); v < r.min || v > r.max {
			return nil, notSent(kafka.UnsupportedVersion.Errorf("the peer serves %s in versions %d to %d, not %d", wire.Name(req.Key()), r.min, r.max, v))
		}
	default:
		v := min(req.MaxVersion(), r.max)
		if v < r.min {
			return nil, notSent(kafka.UnsupportedVersion.Errorf("the peer serves %s from version %d on, this side up to %d", wire.Name(req.Key()), r.min, v))
		}
		req.SetVersion(v)
	}
	return req, nil
}

// fail ends the connection; the reader completes what waits.
func (c *Conn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = err
	c.expiry.Stop()
	close(c.closed)
	_ = c.nc.Close() // nothing can be done about it
}

// expire ends a connection whose oldest request is too old.
func (c *Conn) expire() {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	wait := c.o.RequestTimeout
	if len(c.pending) > 0 {
		wait -= c.o.Clock.Since(c.pending[0].since)
	}
	if wait > 0 {
		c.expiry.Reset(wait)
		c.mu.Unlock()
		return
	}
	oldest := c.pending[0]
	c.mu.Unlock()
	c.fail(kafka.RequestTimedOut.Errorf("%s had no answer within %v", wire.Name(oldest.key), c.o.RequestTimeout))
}
