package monitor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
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
	requestTimeout  = 5 * time.Second
	responseTimeout = time.Minute
	// maxProfile bounds how long a profile may be recorded.
	maxProfile = 5 * time.Minute
)

// Config is what a Server works with. All but Pprof are required.
type Config struct {
	Net   netx.Net
	Addr  string
	Clock clock.Clock
	Log   *slog.Logger
	// Registry is what /metrics shows, made when it is asked for; Health is what /health
	// says.
	Registry func() *metrics.Registry
	Health   func(ctx context.Context) Health
	// Pprof serves profiles under /debug/pprof/.
	Pprof bool
}

// Health is what a node says of itself. Empty lists of reasons say that all is well.
type Health struct {
	// Dead are the reasons for which the process ought to be restarted, NotReady those
	// for which clients ought not to be sent to it now.
	Dead, NotReady []string
}

// Server serves HTTP/1.1 as far as a scraper needs it: GET and HEAD, one request a
// connection, which the end of the answer closes. Why not net/http: ADR 0009.
type Server struct {
	cfg   Config
	ln    net.Listener
	slots chan struct{}
	ctx   context.Context // ends with Close
	end   context.CancelFunc

	mu     sync.Mutex
	begun  bool                  // guarded by mu
	closed bool                  // guarded by mu
	conns  map[net.Conn]struct{} // guarded by mu
	wg     sync.WaitGroup        // grows under mu, not after closed
}

// Listen binds the address. Nothing is served before Serve.
func Listen(ctx context.Context, cfg Config) (*Server, error) {
	ln, err := cfg.Net.Listen(ctx, "tcp", cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("binding the HTTP listener to %s: %w", cfg.Addr, err)
	}
	s := &Server{cfg: cfg, ln: ln, slots: make(chan struct{}, maxConnections), conns: map[net.Conn]struct{}{}}
	s.ctx, s.end = context.WithCancel(context.Background())
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
	s.wg.Add(1)
	go s.accept()
}

// Close ends everything at once; a scrape under way is cut off.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		_ = c.Close() // whoever serves it notices
	}
	s.mu.Unlock()
	s.end()
	_ = s.ln.Close() // nothing depends on it any more
	s.wg.Wait()
}

// acceptPause is the pause after a connection could not be accepted.
const acceptPause = 100 * time.Millisecond

// accept takes connections as long as there is a place for them; others wait in the
// system's backlog.
func (s *Server) accept() {
	defer s.wg.Done()
	for {
		select {
		case s.slots <- struct{}{}:
		case <-s.ctx.Done():
			return
		}
		c, err := s.ln.Accept()
		if err != nil {
			<-s.slots
			if errors.Is(err, net.ErrClosed) || s.cfg.Clock.Sleep(s.ctx, acceptPause) != nil {
				return
			}
			continue
		}
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			_ = c.Close()
			return
		}
		s.conns[c] = struct{}{}
		s.wg.Add(1)
		s.mu.Unlock()
		go s.serve(c)
	}
}

// serve answers one request.
func (s *Server) serve(c net.Conn) {
	defer func() {
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
		_ = c.Close()
		<-s.slots
		s.wg.Done()
	}()
	_ = c.SetDeadline(s.cfg.Clock.Now().Add(requestTimeout))
	in := bufio.NewReaderSize(io.LimitReader(c, maxHeaderBytes), 1<<10)
	req, err := readRequest(in)
	if err != nil {
		return // it went away, or was too slow
	}
	_ = c.SetDeadline(s.cfg.Clock.Now().Add(responseTimeout))
	w := &answer{conn: c, out: bufio.NewWriterSize(c, 16<<10), head: req.method == "HEAD"}
	s.route(w, req)
	if err := w.out.Flush(); err != nil {
		s.cfg.Log.Debug("an HTTP answer was cut off", "peer", c.RemoteAddr(), "path", req.path, "error", err)
	}
}

// request is what is looked at of a request.
type request struct {
	method, path, query string
	gzip                bool
	// status is what is wrong with it, 0 for nothing.
	status int
}

// readRequest reads a request line and headers. An error says that there is nobody to
// answer.
func readRequest(in *bufio.Reader) (request, error) {
	var r request
	line, err := in.ReadString('\n')
	if err != nil {
		return refused(r, line, err)
	}
	f := strings.Fields(line)
	if len(f) != 3 || !strings.HasPrefix(f[2], "HTTP/1.") {
		r.status = 400
		return r, nil
	}
	r.method = f[0]
	r.path, r.query, _ = strings.Cut(f[1], "?")
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return refused(r, line, err)
		}
		if line = strings.TrimSpace(line); line == "" {
			return r, nil
		}
		name, value, _ := strings.Cut(line, ":")
		if strings.EqualFold(name, "Accept-Encoding") {
			r.gzip = strings.Contains(value, "gzip")
		}
	}
}

// refused tells a header that is too long from a peer that is gone: the first ends
// where the limit is, not where a line does.
func refused(r request, rest string, err error) (request, error) {
	if err == io.EOF && rest != "" {
		r.status = 431
		return r, nil
	}
	return r, err
}

// param is the value of a query parameter.
func (r *request) param(name string) string {
	for _, p := range strings.Split(r.query, "&") {
		if k, v, _ := strings.Cut(p, "="); k == name {
			return v
		}
	}
	return ""
}

// answer writes one answer, whose body ends with the connection.
type answer struct {
	conn net.Conn
	out  *bufio.Writer
	head bool
}

var statusTexts = map[int]string{
	200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 431: "Request Header Fields Too Large", 503: "Service Unavailable",
}

// begin writes what stands before the body, and returns where that goes.
func (w *answer) begin(status int, contentType string, headers ...string) io.Writer {
	fmt.Fprintf(w.out, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nConnection: close\r\nX-Content-Type-Options: nosniff\r\n", status, statusTexts[status], contentType)
	for _, h := range headers {
		_, _ = w.out.WriteString(h + "\r\n") // what fails shows when all is flushed
	}
	_, _ = w.out.WriteString("\r\n")
	if w.head {
		return io.Discard
	}
	return w.out
}

const plain = "text/plain; charset=utf-8"

func (w *answer) text(status int, text string) {
	_, _ = io.WriteString(w.begin(status, plain), text) // what fails shows when all is flushed
}
