package server

import (
	"time"
)

// stalledAfter is how long a connection may hold memory for a request without
// sending any of it, while others wait for memory.
const stalledAfter = 10 * time.Second

// reap closes connections that were idle for ConnectionsMaxIdle. One goroutine does
// it for all, and sleeps until the earliest of them can expire.
func (s *Server) reap() {
	defer s.background.Done()
	idle := s.cfg.ConnectionsMaxIdle
	for wait := idle; ; {
		if s.cfg.Clock.Sleep(s.ctx, wait) != nil {
			return
		}
		now := s.elapsed()
		wait = idle
		for _, c := range s.snapshot() {
			if left := c.expiresIn(now, idle); left > 0 {
				wait = min(wait, left)
				continue
			}
			s.metrics.ConnectionsExpired.Add(1)
			c.l.metrics.Expired.Add(1)
			s.log.Info("closing an idle connection", "listener", c.l.Name, "peer", c.host, "idle", idle)
			c.kill()
		}
		wait = max(wait, time.Millisecond)
	}
}

// expiresIn is how long the connection may go on being idle. One that waits for the
// server is not idle; one that does not take its responses is.
func (c *conn) expiresIn(now int64, idle time.Duration) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock() // who begins to write notes the time under the same lock
	if c.inFlight > 0 && !c.writing || c.muted.Load() {
		return idle
	}
	return c.idleUntil(now, idle)
}

func (c *conn) idleUntil(now int64, idle time.Duration) time.Duration {
	return idle - max(0, time.Duration(now-c.lastActive.Load())) // who was active since then has all of it
}

// evictStalled closes connections that hold memory for a request and send nothing.
func (s *Server) evictStalled() {
	now := s.elapsed()
	for _, c := range s.snapshot() {
		if c.midFrame.Load() && c.idleUntil(now, stalledAfter) <= 0 {
			s.metrics.ConnectionsEvicted.Add(1)
			s.log.Warn("closing a connection that stopped inside a request while memory is short",
				"listener", c.l.Name, "peer", c.host)
			c.kill()
		}
	}
}

// evictIdlest closes the least recently used connection of another listener, after
// the inter-broker listener went over the broker's limit.
func (s *Server) evictIdlest(keep *Listener) {
	var idlest *conn
	for _, c := range s.snapshot() {
		if c.l == keep || c.dead.Load() {
			continue
		}
		if idlest == nil || c.lastActive.Load() < idlest.lastActive.Load() {
			idlest = c
		}
	}
	if idlest != nil {
		s.metrics.ConnectionsEvicted.Add(1)
		s.log.Info("closing the least recently used connection: max.connections is exceeded",
			"listener", idlest.l.Name, "peer", idlest.host)
		idlest.kill()
	}
}
