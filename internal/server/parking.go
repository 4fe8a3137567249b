package server

import (
	"errors"
	"sync"
	"time"

	"github.com/gregorhq/gregor/internal/netx"
)

// parkAfter is how long a reader waits for input before its connection is parked: more
// than the time between two requests of a client that polls or sends heartbeats.
const parkAfter = 5 * time.Second

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// parking holds the connections that nothing comes from. They have no goroutine, whose
// stack would be the larger part of what an idle connection takes; a new reader begins
// when there is something to read. A connection is parked when it is accepted and when
// its reader has waited for parkAfter. Where the system has no means for it, and for
// encrypted connections, readers wait as long as it takes.
type parking struct {
	mu     sync.Mutex
	waiter *netx.Waiter // guarded by mu; made for the first connection
	failed bool         // guarded by mu; there is no waiter and none is tried
}

// get returns the waiter, nil if there is none. The first call makes it and starts what
// belongs to it.
func (p *parking) get(s *Server) *netx.Waiter {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiter != nil || p.failed {
		return p.waiter
	}
	w, err := netx.NewWaiter()
	if err != nil {
		p.failed = true
		if !errors.Is(err, errors.ErrUnsupported) {
			s.log.Warn("idle connections keep a goroutine each", "error", err)
		}
		return nil
	}
	p.waiter = w
	s.background.Go(func() {
		if err := w.Run(); err != nil {
			s.log.Error("idle connections keep a goroutine each from now on", "error", err)
		}
	})
	s.background.Go(s.parkIdle)
	return w
}

// end is called when no connection is accepted any more.
func (p *parking) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed = true
	if p.waiter != nil {
		_ = p.waiter.Close() // a second Close says that it is closed
	}
}

// parkIdle wakes readers that have waited for parkAfter, so that they park.
func (s *Server) parkIdle() {
	for s.cfg.Clock.Sleep(s.ctx, parkAfter) == nil {
		s.wakeIdle(parkAfter)
	}
}

func (s *Server) wakeIdle(after time.Duration) {
	now := s.elapsed()
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.readers {
		if !c.midFrame.Load() && c.idleUntil(now, after) <= 0 { // inside a request none parks
			_ = c.sock.SetReadDeadline(longAgo) // one that fails is closed
		}
	}
}

// awake notes that the connection has a reader which may be parked.
func (s *Server) awake(c *conn) {
	if !c.sock.CanWatch() {
		return
	}
	s.mu.Lock()
	s.readers[c] = struct{}{}
	s.mu.Unlock()
}

// park gives the reading away, by its owner, between two requests. It returns false if
// the connection cannot be parked; otherwise the caller must not touch what a reader
// owns any more.
func (c *conn) park() bool {
	if !c.sock.CanWatch() {
		return false
	}
	w := c.srv.parking.get(c.srv)
	if w == nil {
		return false
	}
	c.srv.mu.Lock()
	delete(c.srv.readers, c)
	c.srv.mu.Unlock()
	if !w.Watch(c.sock, c.resume) {
		c.srv.awake(c)
		return false
	}
	// drain may have looked for a parked connection just before it was one. kill closes the
	// socket before it looks, and a closed one is not watched.
	if c.isDraining() {
		c.unpark()
	}
	return true
}

// unpark starts a reader if the connection is parked. Anybody may call it.
func (c *conn) unpark() {
	if !c.sock.CanWatch() {
		return
	}
	p := &c.srv.parking
	p.mu.Lock()
	w := p.waiter
	p.mu.Unlock()
	if w != nil && w.Unwatch(c.sock) {
		c.resume()
	}
}

func (c *conn) resume() { go c.run() }
