package server

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gregorhq/gregor/internal/netx"
	"github.com/gregorhq/gregor/internal/wire"
)

// anonymous is the principal of a connection that did not authenticate.
const anonymous = "User:ANONYMOUS"

// conn is one connection. Its reader goroutine owns the fields of the first group, the
// one that begins next while it is parked; mu guards the second; the third is atomic.
//
// The queue holds the requests in the order they were read. The holder of writing,
// and nobody else, takes completed requests off its head and writes them. Whoever
// completes the head makes sure that somebody will: the reader, when it is in stage
// 1 and will flush by itself, the present writer, or a new writer goroutine.
type conn struct {
	srv  *Server
	l    *Listener
	sock *netx.Socket
	id   uint64
	host string // the peer's IP address
	// loopback says that the peer is on this machine.
	loopback bool
	// written by the acceptor before the reader starts
	get    func() []byte
	put    func()
	writer func()

	parser   wire.HeaderParser
	trusted  bool // a valid request came
	paused   bool // the running handler called WillBlock
	readSize int  // of the next buffer
	slack    int8 // reads in a row that left most of the buffer empty
	largest  int  // the largest request so far
	cur      *frame
	have     int // bytes in cur, which begin at a request's size
	want     int // length with its size of the request that cur begins with, 0 when unknown
	running  *Request

	mu         sync.Mutex
	room       sync.Cond // the reader waits here for the queue to shrink
	head, tail *Request
	inFlight   int // requests read whose responses were not written
	queued     int // memory of responses that were not written
	writing    bool
	stage1     bool // the reader handles requests and will flush by itself
	stirred    bool // somebody else completed the head meanwhile
	draining   bool
	mutedUntil time.Time
	wake       context.CancelFunc // ends the reader's sleep while it is muted

	dead       atomic.Bool  // set under mu
	muted      atomic.Bool  // set under mu
	closing    atomic.Bool  // a request asked for the connection to be closed
	midFrame   atomic.Bool  // the reader waits for the rest of a request
	lastActive atomic.Int64 // Server.elapsed when the peer last sent or took something
}

func newConn(s *Server, l *Listener, sock *netx.Socket, id uint64, host string) *conn {
	c := &conn{srv: s, l: l, sock: sock, id: id, host: host, readSize: minRead}
	if ip, err := netip.ParseAddr(host); err == nil {
		c.loopback = ip.Unmap().IsLoopback()
	}
	c.room.L = &c.mu
	c.get, c.put, c.writer = c.getReadBuffer, c.putReadBuffer, c.writeAsync
	c.lastActive.Store(s.elapsed())
	return c
}

// enqueue appends a request that was just read. It says whether somebody else
// completed a response that the reader should write first. On a connection that was
// killed meanwhile the queue stays empty: nobody would take the request out of it again
// when it is completed, and dropped, and serves another connection.
func (c *conn) enqueue(r *Request) (flush bool) {
	c.mu.Lock()
	if c.dead.Load() {
		c.mu.Unlock()
		return false
	}
	if c.tail == nil {
		c.head = r
	} else {
		c.tail.next = r
	}
	c.tail = r
	c.inFlight++
	flush = c.stirred
	c.stirred = false
	c.mu.Unlock()
	return flush
}

// completed makes sure that a completed request leaves when its turn comes.
func (c *conn) completed(r *Request) {
	c.mu.Lock()
	if c.dead.Load() {
		c.mu.Unlock()
		c.discard(r)
		return
	}
	r.done = true
	c.queued += r.mem
	c.srv.metrics.ResponseBytesQueued.Add(int64(r.size))
	start := false
	if r == c.head && !c.writing {
		if c.stage1 {
			c.stirred = c.stirred || r != c.runningLocked()
		} else {
			start = c.takeWriting()
		}
	}
	c.mu.Unlock()
	if start {
		go c.writer()
	}
}

// runningLocked returns the request that the reader handles now. It is only compared
// with: a request that is completed elsewhere at the same moment counts as stirred,
// which costs one flush.
func (c *conn) runningLocked() *Request { return c.tail }

// takeWriting makes the caller the writer if the head is ready and nobody writes.
func (c *conn) takeWriting() bool {
	if c.writing || c.head == nil || !c.head.done {
		return false
	}
	c.writing = true
	// A response that took longer than the idle time must not find its connection
	// expired: the time of the peer's answer begins now.
	c.progressed()
	return true
}

// beginStage1 and endStage1 bracket the handling of what one read brought.
func (c *conn) beginStage1() {
	c.mu.Lock()
	c.stage1 = true
	c.mu.Unlock()
}

// endStage1 writes every response whose turn has come, in the reader itself.
func (c *conn) endStage1() {
	c.mu.Lock()
	c.stage1, c.stirred = false, false
	write := c.takeWriting()
	c.mu.Unlock()
	if write {
		c.writeReady()
	}
}

// pause ends stage 1 for the rest of the running handler.
func (c *conn) pause() {
	c.paused = true
	c.endStage1()
}

// awaitRoom waits while the connection has too many requests or response bytes that
// were not written. Whatever is ready is written meanwhile. It returns false when
// the connection is dead.
func (c *conn) awaitRoom() bool {
	cfg := &c.srv.cfg
	c.mu.Lock()
	defer c.mu.Unlock()
	stage1 := c.stage1
	for !c.dead.Load() && (c.inFlight >= cfg.MaxInFlight || c.queued > cfg.MaxQueuedResponseBytes) {
		c.stage1 = false
		if c.takeWriting() {
			c.mu.Unlock()
			c.writeReady()
			c.mu.Lock()
			continue
		}
		c.room.Wait()
	}
	c.stage1 = stage1
	return !c.dead.Load()
}

// awaitDrained waits until every request that was read is answered or the connection
// is dead.
func (c *conn) awaitDrained() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.dead.Load() && c.inFlight > 0 {
		c.room.Wait()
	}
}

// awaitWriter waits until nobody writes to the dead connection any more.
func (c *conn) awaitWriter() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.writing {
		c.room.Wait()
	}
}

// mute keeps the reader from taking requests for d.
func (c *conn) mute(d time.Duration) {
	until := c.srv.cfg.Clock.Now().Add(d)
	c.mu.Lock()
	if until.After(c.mutedUntil) {
		c.mutedUntil = until
	}
	c.muted.Store(true)
	c.mu.Unlock()
	c.srv.metrics.Throttles.Add(1)
}

// sleepMuted waits on the reader's goroutine until the mute is over, the connection
// is dead or it is draining.
func (c *conn) sleepMuted() {
	for {
		c.mu.Lock()
		d := c.mutedUntil.Sub(c.srv.cfg.Clock.Now())
		if d <= 0 || c.dead.Load() || c.draining {
			c.muted.Store(false)
			c.mu.Unlock()
			return
		}
		ctx, cancel := context.WithCancel(context.Background())
		c.wake = cancel
		c.mu.Unlock()
		_ = c.srv.cfg.Clock.Sleep(ctx, d) // an error only means that it was woken
		c.mu.Lock()
		c.wake = nil
		c.mu.Unlock()
		cancel()
	}
}

// drain makes the reader stop reading, answer what it read, and end.
func (c *conn) drain() {
	c.mu.Lock()
	c.draining = true
	if c.wake != nil {
		c.wake()
	}
	c.mu.Unlock()
	_ = c.sock.SetReadDeadline(longAgo) // a dead socket wakes the reader too
	c.unpark()
}

func (c *conn) isDraining() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.draining
}

// kill ends the connection at once: the socket is closed, completed responses are
// dropped, and requests that are still being served will be dropped on completion.
// The reader notices and takes the connection out of the server's table.
func (c *conn) kill() {
	c.mu.Lock()
	if c.dead.Load() {
		c.mu.Unlock()
		return
	}
	c.dead.Store(true)
	var done *Request
	for r := c.head; r != nil; {
		next := r.next
		r.next = nil
		if r.done {
			r.next, done = done, r
		}
		r = next
	}
	c.head, c.tail = nil, nil
	if c.wake != nil {
		c.wake()
	}
	c.room.Broadcast()
	c.mu.Unlock()
	_ = c.sock.Close() // the reader and writer see the error that matters
	c.unpark()
	for r := done; r != nil; {
		next := r.next
		r.next = nil
		c.srv.metrics.ResponseBytesQueued.Add(-int64(r.size))
		c.discard(r)
		r = next
	}
}

// discard drops a completed request of a dead connection.
func (c *conn) discard(r *Request) {
	c.srv.metrics.RequestsInFlight.Add(-1)
	r.dropResponse()
}
