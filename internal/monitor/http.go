package monitor

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"sync"
	"time"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/metrics"
	"github.com/gregorhq/gregor/internal/netx"
)

// Limits of the HTTP listener. It is for a few scrapers, not for the public.
const (
	maxConnections  = 64
	maxHeaderBytes  = 8 << 10
	headerTimeout   = 5 * time.Second
	requestTimeout  = 10 * time.Second
	responseTimeout = time.Minute
	idleTimeout     = time.Minute
	// maxProfile bounds how long a profile may be recorded.
	maxProfile = 5 * time.Minute
)

// Config is what a Server works with. All but Pprof are required.
type Config struct {
	Net   netx.Net
	Addr  string
	Clock clock.Clock
	Log   *slog.Logger
	// Registry is what /metrics shows, Health what /health says.
	Registry func() *metrics.Registry
	Health   func(ctx context.Context) Health
	// Pprof serves profiles under /debug/pprof/.
	Pprof bool
}

// Health is what a node says of itself. An empty list of reasons says yes.
type Health struct {
	// Dead are the reasons for which the process ought to be restarted, NotReady those
	// for which clients ought not to be sent to it now.
	Dead, NotReady []string
}

// Server serves HTTP.
type Server struct {
	cfg  Config
	ln   net.Listener
	http *http.Server
	done chan struct{}

	mu     sync.Mutex
	begun  bool // guarded by mu
	closed bool // guarded by mu
}

// Listen binds the address. Nothing is served before Serve.
func Listen(ctx context.Context, cfg Config) (*Server, error) {
	ln, err := cfg.Net.Listen(ctx, "tcp", cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("binding the HTTP listener to %s: %w", cfg.Addr, err)
	}
	s := &Server{cfg: cfg, ln: &limited{Listener: ln, slots: make(chan struct{}, maxConnections), closed: make(chan struct{})}, done: make(chan struct{})}
	s.http = &http.Server{
		Handler: s.handler(), MaxHeaderBytes: maxHeaderBytes, ReadHeaderTimeout: headerTimeout, ReadTimeout: requestTimeout,
		WriteTimeout: responseTimeout, IdleTimeout: idleTimeout, ErrorLog: slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// Addr is the address that is bound.
func (s *Server) Addr() string { return s.ln.Addr().String() }

// Serve begins to serve, unless Close was called.
func (s *Server) Serve() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.begun || s.closed {
		return
	}
	s.begun = true
	go func() {
		defer close(s.done)
		if err := s.http.Serve(s.ln); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			s.cfg.Log.Error("the HTTP listener has ended", "address", s.Addr(), "error", err)
		}
	}()
}

// Close ends everything at once; a scrape under way is cut off.
func (s *Server) Close() {
	s.mu.Lock()
	begun := s.begun
	s.closed = true
	s.mu.Unlock()
	_ = s.http.Close() // nothing depends on what it closes
	_ = s.ln.Close()
	if begun {
		<-s.done
	}
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.index)
	mux.HandleFunc("GET /metrics", s.metrics)
	mux.HandleFunc("GET /health", s.health(func(h Health) []string { return append(h.Dead, h.NotReady...) }))
	mux.HandleFunc("GET /health/live", s.health(func(h Health) []string { return h.Dead }))
	mux.HandleFunc("GET /health/ready", s.health(func(h Health) []string { return append(h.Dead, h.NotReady...) }))
	if s.cfg.Pprof {
		for path, h := range map[string]http.HandlerFunc{
			"": pprof.Index, "cmdline": pprof.Cmdline, "profile": pprof.Profile, "symbol": pprof.Symbol, "trace": pprof.Trace,
		} {
			mux.HandleFunc("GET /debug/pprof/"+path, s.profile(h))
		}
	}
	return mux
}

// profile gives a profile the time that it takes.
func (s *Server) profile(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		// A connection that has no deadlines is one that has nothing to extend.
		_ = http.NewResponseController(w).SetWriteDeadline(s.cfg.Clock.Now().Add(maxProfile))
		h(w, r)
	}
}

func (s *Server) index(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	text := "/metrics              for Prometheus; ?format=jmx as the JMX exporter without rules\n" +
		"/health/live          200 unless the process ought to be restarted\n" +
		"/health/ready         200 if clients can be sent here\n"
	if s.cfg.Pprof {
		text += "/debug/pprof/         profiles\n"
	}
	_, _ = io.WriteString(w, text) // the peer is gone
}

// gzips keeps the writers' buffers between scrapes.
var gzips = sync.Pool{New: func() any { return gzip.NewWriter(io.Discard) }}

func (s *Server) metrics(w http.ResponseWriter, r *http.Request) {
	format := metrics.Prometheus
	switch f := r.URL.Query().Get("format"); f {
	case "", "prometheus":
	case "jmx":
		format = metrics.JMX
	default:
		http.Error(w, "format can be prometheus or jmx", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	var out io.Writer = w
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzips.Get().(*gzip.Writer)
		z.Reset(w)
		defer gzips.Put(z)
		defer func() { _ = z.Close() }() // the peer is gone
		out = z
	}
	if err := s.cfg.Registry().Write(out, format, s.cfg.Clock.Now()); err != nil {
		s.cfg.Log.Debug("a scrape was cut off", "peer", r.RemoteAddr, "error", err)
	}
}

// health answers 200 or 503, with the reasons.
func (s *Server) health(of func(Health) []string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		reasons := of(s.cfg.Health(r.Context()))
		body := struct {
			Status  string   `json:"status"`
			Reasons []string `json:"reasons,omitempty"`
		}{"UP", reasons}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		if len(reasons) > 0 {
			body.Status = "DOWN"
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(body) // the peer is gone
	}
}

// limited is a listener that holds a bounded number of connections; others wait in the
// system's backlog.
type limited struct {
	net.Listener
	slots  chan struct{}
	closed chan struct{}
	once   sync.Once
}

func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &slot{Conn: c, free: func() { <-l.slots }}, nil
}

func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// slot is a connection that gives its place back when it is closed.
type slot struct {
	net.Conn
	once sync.Once
	free func()
}

func (c *slot) Close() error {
	defer c.once.Do(c.free)
	return c.Conn.Close()
}
