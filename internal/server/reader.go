package server

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"time"

	"github.com/gregorhq/gregor/internal/invariant"
	"github.com/gregorhq/gregor/internal/wire"
)

// Sizes of read buffers. They follow what the connection sends: a read that fills
// its buffer doubles the next one, reads that use little of it halve it. A
// connection of large requests reads each request's beginning into a small buffer
// and the rest into the request's own frame.
const (
	minRead = 4 << 10
	maxRead = 128 << 10
	// headRead is the buffer for the beginning of a large request.
	headRead = 512
	// memoryWait is how long a reader waits for the memory budget at a time, and
	// memoryWaits how many times before it gives the connection up.
	memoryWait  = 5 * time.Second
	memoryWaits = 6
)

var (
	// errDraining ends a reader that takes no more requests: what it took is answered.
	errDraining = errors.New("no more requests are taken")
	// errIdle wakes a reader that has waited long; it may park.
	errIdle = errors.New("nothing came for a while")
	// errParked ends a reader whose connection goes on without it.
	errParked = errors.New("parked")
)

// invalidRequest is the peer's fault and closes its connection with a warning.
type invalidRequest struct{ err error }

func (e invalidRequest) Error() string { return e.err.Error() }
func (e invalidRequest) Unwrap() error { return e.err }

// run is the reader goroutine: from the connection's beginning or from when it was
// parked, to its end or until it is parked again.
func (c *conn) run() {
	c.srv.awake(c)
	err := c.serve()
	if err == errParked {
		return
	}
	defer c.srv.removed(c)
	if errors.Is(err, errDraining) {
		c.awaitDrained()
	} else if err != nil && !c.dead.Load() {
		c.srv.logClose(c, err)
	}
	c.kill()
	c.awaitWriter()
	if c.cur != nil {
		c.cur.release()
		c.cur = nil
	}
}

// serve reads and handles until the connection ends. A panic of a handler ends only
// this connection: it is a bug, but an input that triggers it must not take the
// whole broker down with it. A broken invariant does: then nothing may be trusted.
func (c *conn) serve() (err error) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if _, broken := p.(invariant.Violation); broken {
			panic(p)
		}
		err = c.panicked(p)
	}()
	for {
		if c.muted.Load() {
			c.sleepMuted()
		}
		if !c.awaitRoom() || c.isDraining() || c.closing.Load() {
			return errDraining
		}
		if c.have == 0 || !c.complete() {
			err := c.read()
			if err == errIdle {
				if c.have == 0 && c.park() {
					return errParked
				}
				continue
			}
			if err != nil {
				return err
			}
		}
		if err := c.consume(); err != nil {
			return err
		}
	}
}

// panicked cleans up after a handler that panicked.
func (c *conn) panicked(p any) error {
	c.srv.metrics.HandlerPanics.Add(1)
	r := c.running
	if r == nil {
		c.srv.log.Error("connection panicked", "listener", c.l.Name, "peer", c.host, "panic", p, "stack", string(debug.Stack()))
		return errors.New("serving the connection panicked")
	}
	c.running = nil
	c.srv.log.Error("handler panicked", "apiKey", wire.Name(r.Header.Key), "version", r.Header.Version,
		"listener", c.l.Name, "peer", c.host, "panic", p, "stack", string(debug.Stack()))
	if r.state.CompareAndSwap(statePending, stateDone) {
		r.ReleaseBody()
		c.srv.metrics.RequestsInFlight.Add(-1)
	}
	return fmt.Errorf("%s request: the handler panicked", wire.Name(r.Header.Key))
}

// getReadBuffer and putReadBuffer lend a buffer for the time of a read.
func (c *conn) getReadBuffer() []byte {
	if c.cur == nil {
		c.cur = newFrame(c.readSize)
	}
	return c.cur.bytes()[:c.readSize]
}

func (c *conn) putReadBuffer() {
	c.cur.release()
	c.cur = nil
}

// read waits for bytes and reads once. Between requests it waits without a buffer;
// inside a request it reads on into the request's frame.
func (c *conn) read() error {
	var n int
	var err error
	if c.have == 0 {
		n, err = c.sock.ReadReady(c.get, c.put)
		c.adapt(n)
	} else {
		if err := c.grow(); err != nil {
			return err
		}
		c.midFrame.Store(true)
		n, err = c.sock.Read(c.readRoom())
		c.midFrame.Store(false)
	}
	if n > 0 {
		c.have += n
		c.srv.metrics.BytesIn.Add(int64(n))
		return nil
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		_ = c.sock.SetReadDeadline(time.Time{}) // before the question, since drain sets it after its answer
		if c.isDraining() {
			return errDraining
		}
		return errIdle
	case err == nil || errors.Is(err, io.EOF):
		return io.EOF
	case errors.Is(err, net.ErrClosed):
		return io.EOF
	}
	return fmt.Errorf("reading: %w", err)
}

// readRoom is the part of the current frame to read into: all of it for small requests,
// so that the next ones come along, but no further than the end of a large one, so
// that nothing has to be moved.
func (c *conn) readRoom() []byte {
	b := c.cur.bytes()
	if c.want > maxRead {
		b = b[:min(c.want, len(b))]
	}
	return b[c.have:]
}

// adapt chooses the size of the next read buffer by what this read brought.
func (c *conn) adapt(n int) {
	switch {
	case n == c.readSize:
		c.readSize, c.slack = min(2*c.readSize, maxRead), 0
	case n < c.readSize/4 && c.readSize > minRead:
		if c.slack++; c.slack >= 4 {
			c.readSize, c.slack = c.readSize/2, 0
		}
	default:
		c.slack = 0
	}
}

// frameSize is how much memory to hold for the request that cur begins with, of which
// have bytes arrived: as much as those bytes and the largest request before it have
// earned, whatever length is claimed.
func (c *conn) frameSize(have int) int {
	size := max(c.want, have+1)
	if c.want <= maxRead {
		size = max(size, c.readSize) // the requests behind a small one come along
	}
	return max(have+1, min(size, max(minRead, 2*have, 2*c.largest)))
}

// grow makes sure that the current frame has room beyond the bytes it has, or for the
// whole request once that has been earned. A request moves at most twice its length
// while its frame grows.
func (c *conn) grow() error {
	size := c.frameSize(c.have)
	if c.have == c.cur.cap() || c.cur.cap() < c.want && c.want <= size {
		c.replace(size, 0)
	}
	return c.charge(c.cur)
}

// replace moves the bytes from pos on into a new frame.
func (c *conn) replace(size, pos int) {
	f := newFrame(size)
	copy(f.bytes(), c.cur.bytes()[pos:c.have])
	c.cur.release()
	c.cur = f
}

// charge takes the memory of a frame from the budget, waiting for it if need be. It
// does so after the memory was taken: the overshoot is one buffer a connection.
func (c *conn) charge(f *frame) error {
	n := int64(f.cap())
	b := c.srv.budget
	if f.charged != 0 {
		return nil
	}
	if c.srv.quotas.protected(c.l) {
		// Followers that wait behind slow clients would fall out of the ISR.
		b.Take(n)
	} else if !b.TryAcquire(n) {
		c.srv.metrics.MemoryWaits.Add(1)
		c.srv.metrics.MemoryWaiting.Add(1)
		c.endStage1()
		err := c.awaitMemory(n)
		c.srv.metrics.MemoryWaiting.Add(-1)
		if err != nil {
			return err
		}
	}
	f.budget, f.charged = b, n
	return nil
}

// awaitMemory waits for the budget. While it waits, connections that hold memory for
// a request and send nothing are closed; in the end this one is.
func (c *conn) awaitMemory(n int64) error {
	for range memoryWaits {
		ctx, cancel := context.WithCancel(c.srv.ctx)
		timer := c.srv.cfg.Clock.AfterFunc(memoryWait, cancel)
		err := c.srv.budget.Acquire(ctx, n)
		timer.Stop()
		cancel()
		if err == nil {
			return nil
		}
		if c.dead.Load() || c.srv.ctx.Err() != nil {
			return io.EOF
		}
		c.srv.evictStalled()
	}
	return fmt.Errorf("no memory for a request of %d bytes: queued.max.request.bytes is used up", c.want)
}

// complete says whether cur holds a whole request. It sets want when the size is
// there.
func (c *conn) complete() bool {
	c.want = 0
	if c.have < 4 {
		return false
	}
	c.want = 4 + int(binary.BigEndian.Uint32(c.cur.bytes()))
	return c.have >= c.want
}

// checkSize refuses sizes that no request of this connection may have. rest begins
// with the size and holds what has arrived of the request.
func (c *conn) checkSize(size int32, rest []byte) error {
	limit := c.srv.cfg.SocketRequestMaxBytes
	if !c.trusted && !c.producesFirst(rest) {
		limit = min(limit, c.srv.cfg.FirstRequestMaxBytes)
	}
	switch {
	case size <= 0:
		return invalidRequest{fmt.Errorf("a request of size %d", size)}
	case int(size) > limit:
		return invalidRequest{fmt.Errorf("a request of size %d, the limit is %d", size, limit)}
	}
	return nil
}

// producesFirst says that the request is, as far as its header has arrived, a Produce
// that this listener serves. A producer that asks for no versions begins its
// connection to a leader with one, whole batches in it. Its memory grows only as its
// bytes arrive.
func (c *conn) producesFirst(rest []byte) bool {
	e := c.l.entry(0)
	if e == nil || len(rest) >= 6 && binary.BigEndian.Uint16(rest[4:]) != 0 {
		return false
	}
	if len(rest) < 8 {
		return true
	}
	version := int16(binary.BigEndian.Uint16(rest[6:]))
	return version >= e.Min && version <= e.Max
}

// consume handles every whole request that cur holds, in order, then writes what was
// completed. What is left of cur begins at a request's size.
func (c *conn) consume() error {
	now := c.srv.cfg.Clock.Now()
	c.progressedAt(now)
	pos, err := 0, c.charge(c.cur)
	if err != nil {
		return err
	}
	c.beginStage1()
	var since time.Duration // when the request before was handled
	for c.have-pos >= 4 && !c.muted.Load() && !c.closing.Load() && !c.dead.Load() {
		rest := c.cur.bytes()[pos:c.have]
		size := int32(binary.BigEndian.Uint32(rest))
		if err = c.checkSize(size, rest); err != nil {
			break
		}
		if len(rest)-4 < int(size) {
			break
		}
		c.largest = max(c.largest, int(size))
		if since, err = c.dispatch(rest[4:4+int(size)], now, since); err != nil {
			break
		}
		pos += 4 + int(size)
		if !c.awaitRoom() {
			err = io.EOF
			break
		}
	}
	c.endStage1()
	if err != nil {
		return err
	}
	c.keep(pos)
	return nil
}

// keep moves what follows pos to the beginning of a frame, or gives the frame up.
func (c *conn) keep(pos int) {
	left := c.have - pos
	if left > 0 && pos == 0 {
		c.complete()
		return
	}
	if c.want > maxRead {
		c.readSize = headRead // large requests come: do not read their beginnings twice
	} else if c.readSize < minRead && c.largest <= maxRead {
		c.readSize = minRead
	}
	if left > 0 && c.cur.exclusive() {
		b := c.cur.bytes()
		copy(b, b[pos:c.have])
	} else if left > 0 {
		c.want = 0
		if rest := c.cur.bytes()[pos:c.have]; left >= 4 {
			c.want = 4 + int(binary.BigEndian.Uint32(rest))
		}
		c.replace(c.frameSize(left), pos)
	} else {
		c.cur.release()
		c.cur = nil
	}
	c.have, c.want = left, 0
	if left > 0 {
		c.complete()
	}
}

// dispatch parses one request, which was received at now and could begin that long
// after, puts it in the queue and lets its handler run. It returns when that was done.
func (c *conn) dispatch(b []byte, now time.Time, since time.Duration) (time.Duration, error) {
	h, body, err := c.parser.Parse(b)
	if err != nil {
		return since, invalidRequest{err}
	}
	entry := c.l.entry(h.Key)
	served := entry != nil && h.Version >= entry.Min && h.Version <= entry.Max
	unknownVersion := !served && h.Key == apiVersions && entry != nil
	if !served && !unknownVersion {
		return since, invalidRequest{fmt.Errorf("%s version %d is not served on this listener", wire.Name(h.Key), h.Version)}
	}
	c.trusted = true
	r := c.newRequest(h, body, len(b), now)
	r.startedNs = int64(since)
	if c.enqueue(r) {
		c.endStage1()
		c.beginStage1()
	}
	c.running = r
	if unknownVersion {
		replyUnsupportedVersion(r, *entry)
	} else {
		entry.Handler.Handle(r)
	}
	c.running = nil
	since = max(c.srv.cfg.Clock.Since(now), 1)
	r.handledNs.CompareAndSwap(0, int64(since)) // unless it has waited
	r.unref()
	if c.paused {
		c.paused = false
		c.beginStage1()
	}
	return since, nil
}

// newRequest makes the Request of a frame's part.
func (c *conn) newRequest(h wire.RequestHeader, body []byte, size int, now time.Time) *Request {
	r := requestPool.Get().(*Request)
	r.Header, r.Body, r.ReceivedAt = h, body, now
	r.Listener, r.Principal, r.ClientHost = c.l, anonymous, c.host
	r.conn, r.frame, r.api, r.inSize = c, c.cur, c.srv.metrics.API(h.Key), size
	r.refs.Store(2)
	r.state.Store(statePending)
	c.cur.retain()
	r.api.Requests.Add(1)
	r.api.RequestBytes.Add(int64(size))
	c.srv.metrics.RequestsInFlight.Add(1)
	return r
}
