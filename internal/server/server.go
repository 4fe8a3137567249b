package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gregorhq/gregor/internal/bufpool"
	"github.com/gregorhq/gregor/internal/wire"
)

// Server owns listeners and their connections.
type Server struct {
	cfg       Config
	began     time.Time
	log       *slog.Logger
	budget    *bufpool.Budget
	quotas    *quotas
	listeners []*Listener
	metrics   Metrics
	nextID    atomic.Uint64

	// ctx ends when everything must end at once; accepting ends when no connection
	// may come in any more.
	ctx           context.Context
	abort         context.CancelFunc
	accepting     context.Context
	stopAccepting context.CancelFunc
	acceptors     sync.WaitGroup
	background    sync.WaitGroup

	parking parking

	mu       sync.Mutex // guards the rest
	conns    map[*conn]struct{}
	readers  map[*conn]struct{} // those that could be parked and are not
	empty    chan struct{}      // closed when stopping and the last connection is gone
	closing  bool               // no acceptor may begin any more
	stopping bool
	reaping  bool
}

// Listener is one named listener of a Server. Its configuration never changes; bound
// and serving belong to Listen and Serve, which the owner of the Server calls.
type Listener struct {
	ListenerConfig

	srv     *Server
	ln      net.Listener
	serving bool
	entries [wire.NumKeys]*Entry
	quota   listenerQuota // guarded by quotas.mu
	metrics ListenerMetrics
}

// New checks the configuration. Nothing is bound before Listen.
func New(cfg Config) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, began: cfg.Clock.Now(), log: cfg.Log, budget: bufpool.NewBudget(cfg.QueuedMaxRequestBytes),
		conns: map[*conn]struct{}{}, readers: map[*conn]struct{}{}, empty: make(chan struct{}),
	}
	s.quotas = newQuotas(&s.cfg)
	s.ctx, s.abort = context.WithCancel(context.Background())
	s.accepting, s.stopAccepting = context.WithCancel(s.ctx)
	for _, lc := range cfg.Listeners {
		l := &Listener{ListenerConfig: lc, srv: s}
		for key, e := range lc.Table {
			if key >= 0 && int(key) < len(l.entries) {
				l.entries[key] = &e
			}
		}
		s.listeners = append(s.listeners, l)
	}
	return s, nil
}

// elapsed is what idleness goes by, in nanoseconds: a wall clock that is set ahead would
// close every quiet connection at once, one that is set back would keep dead ones.
func (s *Server) elapsed() int64 { return int64(s.cfg.Clock.Since(s.began)) }

// entry returns the handler of a key, nil when there is none.
func (l *Listener) entry(key int16) *Entry {
	if key >= 0 && int(key) < len(l.entries) {
		return l.entries[key]
	}
	if e, ok := l.Table[key]; ok {
		return &e
	}
	return nil
}

// Listen binds every listener. No connection is accepted before Serve. When one
// cannot be bound, those that were are closed.
func (s *Server) Listen(ctx context.Context) error {
	for _, l := range s.listeners {
		ln, err := s.cfg.Net.Listen(ctx, "tcp", l.Addr)
		if err != nil {
			s.closeListeners()
			return fmt.Errorf("binding listener %s to %s: %w", l.Name, l.Addr, err)
		}
		l.ln = ln
		if _, port, err := net.SplitHostPort(ln.Addr().String()); err == nil && l.AdvertisedPort == 0 {
			if n, err := strconv.ParseUint(port, 10, 16); err == nil {
				l.AdvertisedPort = int32(n)
			}
		}
	}
	return nil
}

// Serve starts to accept on the named listeners, on all of them when none is named.
// A listener that accepts already is left alone. After Stop or Close the error is
// net.ErrClosed.
func (s *Server) Serve(names ...string) error {
	if len(names) == 0 {
		for _, l := range s.listeners {
			names = append(names, l.Name)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		// A node that is stopped while it starts: who stops waits for the acceptors.
		return net.ErrClosed
	}
	for _, name := range names {
		l := s.Listener(name)
		if l == nil || l.ln == nil {
			return fmt.Errorf("listener %q is not bound", name)
		}
		if l.serving {
			continue
		}
		l.serving = true
		s.acceptors.Add(1)
		go s.acceptLoop(l)
	}
	if !s.reaping && s.cfg.ConnectionsMaxIdle > 0 {
		s.reaping = true
		s.background.Add(1)
		go s.reap()
	}
	return nil
}

// Start is Listen and Serve.
func (s *Server) Start(ctx context.Context) error {
	if err := s.Listen(ctx); err != nil {
		return err
	}
	return s.Serve()
}

// Listener returns a listener by name, nil when there is none.
func (s *Server) Listener(name string) *Listener {
	for _, l := range s.listeners {
		if l.Name == name {
			return l
		}
	}
	return nil
}

// Listeners returns all listeners in the order of the configuration.
func (s *Server) Listeners() []*Listener { return s.listeners }

// SetLimits changes the limits on connections. Connections that are there stay. The
// caller does not change what it gave.
func (s *Server) SetLimits(l Limits) { s.quotas.set(l) }

// Metrics returns the counters.
func (s *Server) Metrics() *Metrics { return &s.metrics }

// MemoryInUse is how much of queued.max.request.bytes is taken.
func (s *Server) MemoryInUse() int64 { return s.budget.InUse() }

// BoundAddr is the address that was bound, nil before Listen.
func (l *Listener) BoundAddr() net.Addr {
	if l.ln == nil {
		return nil
	}
	return l.ln.Addr()
}

// add puts a connection into the table unless the server stops.
func (s *Server) add(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

// removed takes a connection out of the table and the counts: the last thing that
// its reader does.
func (s *Server) removed(c *conn) {
	s.quotas.leave(c.l, c.host)
	s.metrics.ConnectionsClosed.Add(1)
	c.l.metrics.Closed.Add(1)
	s.metrics.ConnectionsActive.Add(-1)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	delete(s.readers, c)
	if s.stopping && len(s.conns) == 0 {
		close(s.empty)
	}
}

// snapshot returns the connections there are now.
func (s *Server) snapshot() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		all = append(all, c)
	}
	return all
}

// logClose says why a connection ends, loudly only when that is a peer's fault.
func (s *Server) logClose(c *conn, err error) {
	var invalid invalidRequest
	switch {
	case errors.As(err, &invalid), errors.Is(err, wire.ErrMalformed):
		s.metrics.InvalidRequests.Add(1)
		s.log.Warn("closing the connection: invalid request", "listener", c.l.Name, "peer", c.peer(), "error", err)
	case errors.Is(err, io.EOF):
		s.log.Debug("connection closed by its peer", "listener", c.l.Name, "peer", c.host)
	default:
		s.log.Info("closing the connection", "listener", c.l.Name, "peer", c.peer(), "error", err)
	}
}

// peer is the full address of the other side, for logs.
func (c *conn) peer() string { return c.sock.RemoteAddr().String() }

func (s *Server) closeListeners() {
	for _, l := range s.listeners {
		if l.ln != nil {
			_ = l.ln.Close() // nothing depends on it any more
		}
	}
}

// beginStop ends accepting and marks the server as stopping. It returns the
// connections that are left; calling it again is harmless.
func (s *Server) beginStop() []*conn {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	s.stopAccepting()
	s.closeListeners()
	s.acceptors.Wait()
	s.mu.Lock()
	if !s.stopping {
		s.stopping = true
		if len(s.conns) == 0 {
			close(s.empty)
		}
	}
	s.mu.Unlock()
	return s.snapshot()
}

// Stop ends accepting, lets requests that were read finish and their responses
// leave, then closes every connection. When ctx ends first the rest is closed
// abruptly and ctx's error returned.
func (s *Server) Stop(ctx context.Context) error {
	for _, c := range s.beginStop() {
		c.drain()
	}
	select {
	case <-s.empty:
		s.abort()
		s.parking.end()
		s.background.Wait()
		return nil
	case <-ctx.Done():
		return errors.Join(ctx.Err(), s.Close())
	}
}

// closeWait is how long Close waits for handlers that do not return.
const closeWait = 5 * time.Second

// Close closes everything at once. Requests that handlers still hold may be completed
// later; their responses are dropped. An error says that a handler did not return.
func (s *Server) Close() error {
	conns := s.beginStop()
	s.abort()
	for _, c := range conns {
		c.kill()
	}
	s.parking.end()
	s.background.Wait()
	timer := s.cfg.Clock.NewTimer(closeWait)
	defer timer.Stop()
	select {
	case <-s.empty:
		return nil
	case <-timer.C():
		return fmt.Errorf("%d connections are held by handlers that did not return", len(s.snapshot()))
	}
}
