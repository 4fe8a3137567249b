package server

import (
	"errors"
	"net"
	"time"

	"github.com/gregorhq/gregor/internal/netx"
)

// Pauses of an acceptor whose Accept fails, for example because the process has no
// descriptor left: it goes on by itself when there is one again.
const (
	minAcceptPause = 5 * time.Millisecond
	maxAcceptPause = time.Second
)

// acceptLoop is the acceptor goroutine of one listener. It ends when the listener is
// closed.
func (s *Server) acceptLoop(l *Listener) {
	defer s.acceptors.Done()
	pause := minAcceptPause
	for {
		nc, err := l.ln.Accept()
		if err == nil {
			pause = minAcceptPause
			s.accepted(l, nc)
			continue
		}
		if errors.Is(err, net.ErrClosed) || s.accepting.Err() != nil {
			return
		}
		s.metrics.AcceptErrors.Add(1)
		s.log.Error("accepting a connection failed", "listener", l.Name, "error", err, "retryAfter", pause)
		if s.cfg.Clock.Sleep(s.accepting, pause) != nil {
			return
		}
		pause = min(2*pause, maxAcceptPause)
	}
}

// accepted admits a connection and starts its reader.
func (s *Server) accepted(l *Listener, nc net.Conn) {
	ip := hostOf(nc.RemoteAddr())
	switch s.quotas.admit(s.accepting, l, ip) {
	case stopped:
		_ = nc.Close()
		return
	case tooManyOfIP:
		s.metrics.ConnectionsRejected.Add(1)
		s.log.Warn("connection rejected: max.connections.per.ip is reached", "listener", l.Name, "peer", ip)
		_ = nc.Close()
		return
	}
	c := newConn(s, l, netx.NewSocket(nc), s.nextID.Add(1), ip)
	if !s.add(c) {
		s.quotas.leave(l, ip)
		_ = nc.Close()
		return
	}
	s.metrics.ConnectionsAccepted.Add(1)
	l.metrics.Created.Add(1)
	s.metrics.ConnectionsActive.Add(1)
	if !c.park() {
		go c.run()
	}
	if s.quotas.protected(l) && s.quotas.exceeded() {
		s.evictIdlest(l)
	}
}

// hostOf returns the address without its port.
func hostOf(a net.Addr) string {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap().String()
	}
	if host, _, err := net.SplitHostPort(a.String()); err == nil {
		return host
	}
	return a.String()
}
