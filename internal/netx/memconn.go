package netx

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/gregorhq/gregor/internal/clock"
)

// memConn is one end of a connection of Mem. The mutex of its Mem guards closed and the deadlines.
type memConn struct {
	m             *Mem
	local, remote memAddr
	in, out       *stream
	dialed        *memConn // the end under which Mem knows the connection
	closed        bool
	readBy        deadline
	writeBy       deadline
}

// stream is one direction of a connection. The mutex of its Mem guards it.
type stream struct {
	m       *Mem
	link    hostPair
	chunks  []chunk
	size    int  // bytes in chunks
	ended   bool // the writer closed; chunks are still delivered
	endAt   time.Time
	dropped bool  // the reader closed
	err     error // the connection was reset
	changed sync.Cond
}

// chunk is what one write left, and when it arrives.
type chunk struct {
	data []byte
	at   time.Time
}

// deadline is a point in time, and the timer that wakes those who wait.
type deadline struct {
	at    time.Time
	timer clock.Timer
}

func (d *deadline) passed(now time.Time) bool { return !d.at.IsZero() && !now.Before(d.at) }

// connect makes a connection and returns both ends. Caller holds mu.
func (m *Mem) connect(from, to memAddr) (here, there *memConn) {
	up, down := m.newStream(from, to), m.newStream(to, from)
	here = &memConn{m: m, local: from, remote: to, in: down, out: up}
	there = &memConn{m: m, local: to, remote: from, in: up, out: down, dialed: here}
	here.dialed = here
	m.conns[here] = true
	return here, there
}

func (m *Mem) newStream(from, to memAddr) *stream {
	s := &stream{m: m, link: hostPair{from.host, to.host}}
	s.changed.L = &m.mu
	return s
}

// wake wakes everybody who waits on the stream.
func (s *stream) wake() {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	s.changed.Broadcast()
}

// arrival returns when something written now arrives, and sees to it that the reader wakes then. What was written earlier
// under a longer delay holds it up, because chunks are taken in their order. Caller holds mu.
func (s *stream) arrival(now time.Time) time.Time {
	delay := s.m.links[s.link].delay
	if delay > 0 {
		s.m.clock.AfterFunc(delay, s.wake)
	}
	s.changed.Broadcast()
	return now.Add(delay)
}

// take moves what has arrived into p. It returns io.EOF at the end and false if there is nothing yet. Caller holds mu.
func (s *stream) take(p []byte, now time.Time) (n int, err error, ok bool) {
	if s.err != nil {
		return 0, s.err, true
	}
	if s.m.links[s.link].cut {
		return 0, nil, false
	}
	for n < len(p) && len(s.chunks) > 0 && !s.chunks[0].at.After(now) {
		first := &s.chunks[0]
		m := copy(p[n:], first.data)
		n += m
		if first.data = first.data[m:]; len(first.data) == 0 {
			s.chunks[0] = chunk{}
			s.chunks = s.chunks[1:]
		}
	}
	if n > 0 {
		s.size -= n
		s.changed.Broadcast()
		return n, nil, true
	}
	if s.ended && len(s.chunks) == 0 && !s.endAt.After(now) {
		return 0, io.EOF, true
	}
	return 0, nil, false
}

// fail wraps an error with the operation. io.EOF stays bare, as net.Conn promises.
func (c *memConn) fail(op string, err error) error {
	if err == io.EOF {
		return err
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.remote, Err: err}
}

func (c *memConn) Read(p []byte) (int, error) {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	for {
		now := c.m.clock.Now()
		switch {
		case c.closed:
			return 0, c.fail("read", net.ErrClosed)
		case c.readBy.passed(now):
			return 0, c.fail("read", os.ErrDeadlineExceeded)
		case len(p) == 0:
			return 0, nil
		}
		n, err, ok := c.in.take(p, now)
		if err != nil {
			return 0, c.fail("read", err)
		}
		if ok {
			return n, nil
		}
		c.in.changed.Wait()
	}
}

func (c *memConn) Write(p []byte) (int, error) {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	written := 0
	for {
		now := c.m.clock.Now()
		switch {
		case c.closed:
			return written, c.fail("write", net.ErrClosed)
		case c.out.err != nil:
			return written, c.fail("write", c.out.err)
		case c.out.ended || c.out.dropped:
			return written, c.fail("write", syscall.EPIPE)
		case c.writeBy.passed(now):
			return written, c.fail("write", os.ErrDeadlineExceeded)
		case written == len(p):
			return written, nil
		}
		if n := min(memWindow-c.out.size, len(p)-written); n > 0 {
			data := append([]byte(nil), p[written:written+n]...)
			c.out.chunks = append(c.out.chunks, chunk{data, c.out.arrival(now)})
			c.out.size += n
			written += n
			continue
		}
		c.out.changed.Wait()
	}
}

// CloseWrite ends what this side sends; the other side reads to the end.
func (c *memConn) CloseWrite() error {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	if c.closed {
		return c.fail("close", net.ErrClosed)
	}
	c.end()
	return nil
}

// end marks the end of the outgoing stream. Caller holds mu.
func (c *memConn) end() {
	if !c.out.ended {
		c.out.ended = true
		c.out.endAt = c.out.arrival(c.m.clock.Now())
	}
}

func (c *memConn) Close() error {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	if c.closed {
		return c.fail("close", net.ErrClosed)
	}
	c.closed = true
	c.end()
	c.in.dropped = true
	c.in.changed.Broadcast()
	c.readBy.stop()
	c.writeBy.stop()
	if c.out.dropped {
		delete(c.m.conns, c.dialed)
	}
	return nil
}

// errReset is what both ends of a reset connection get.
var errReset error = syscall.ECONNRESET

// reset breaks the connection. Caller holds mu.
func (c *memConn) reset() {
	for _, s := range []*stream{c.in, c.out} {
		s.err, s.chunks, s.size = errReset, nil, 0
		s.changed.Broadcast()
	}
	delete(c.m.conns, c.dialed)
}

func (c *memConn) LocalAddr() net.Addr  { return c.local }
func (c *memConn) RemoteAddr() net.Addr { return c.remote }

func (c *memConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *memConn) SetReadDeadline(t time.Time) error { return c.setDeadline(&c.readBy, c.in, t) }

func (c *memConn) SetWriteDeadline(t time.Time) error { return c.setDeadline(&c.writeBy, c.out, t) }

// setDeadline sets one of the two deadlines, by the network's clock; those who wait on the stream look at it at once.
func (c *memConn) setDeadline(d *deadline, s *stream, t time.Time) error {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	if c.closed {
		return c.fail("set", net.ErrClosed)
	}
	d.stop()
	d.at = t
	if !t.IsZero() {
		if wait := t.Sub(c.m.clock.Now()); wait > 0 {
			d.timer = c.m.clock.AfterFunc(wait, s.wake)
		}
	}
	s.changed.Broadcast()
	return nil
}

// stop ends the timer.
func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}
