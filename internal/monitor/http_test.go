package monitor

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/metrics"
	"github.com/gregorhq/gregor/internal/netx"
)

// startHTTP serves a registry with one family.
func startHTTP(t *testing.T, health Health, pprof bool) *Server {
	t.Helper()
	r := metrics.NewRegistry(time.Unix(0, 0))
	r.Add(metrics.Desc{Name: "one", Help: "One."}, func(e *metrics.Emitter) { e.Int(1) })
	s, err := Listen(context.Background(), Config{
		Net: netx.OS(), Addr: "127.0.0.1:0", Clock: clock.Real(), Log: slog.New(slog.DiscardHandler), Registry: func() *metrics.Registry { return r }, Pprof: pprof,
		Health: func(context.Context) Health { return health },
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Serve()
	t.Cleanup(s.Close)
	return s
}

func ask(t *testing.T, s *Server, method, path string, header ...string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequest(method, "http://"+s.Addr()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, b
}

func TestHTTPPaths(t *testing.T) {
	healthy := startHTTP(t, Health{}, false)
	waiting := startHTTP(t, Health{NotReady: []string{"fenced"}}, true)
	dead := startHTTP(t, Health{Dead: []string{"disk"}}, false)
	for _, c := range []struct {
		s      *Server
		method string
		path   string
		status int
		body   string
	}{
		{healthy, "GET", "/metrics", 200, "one 1\n"},
		{healthy, "GET", "/metrics?format=jmx", 200, ""},
		{healthy, "GET", "/metrics?format=x", 400, "format"},
		{healthy, "POST", "/metrics", 405, ""},
		{healthy, "GET", "/", 200, "/metrics"},
		{healthy, "GET", "/nothing", 404, ""},
		{healthy, "GET", "/debug/pprof/", 404, ""},
		{healthy, "GET", "/health/live", 200, `"UP"`},
		{healthy, "GET", "/health/ready", 200, `"UP"`},
		{waiting, "GET", "/health/live", 200, `"UP"`},
		{waiting, "GET", "/health/ready", 503, "fenced"},
		{waiting, "GET", "/health", 503, "fenced"},
		{waiting, "GET", "/debug/pprof/", 200, "goroutine"},
		{waiting, "GET", "/debug/pprof/heap?debug=1", 200, "heap profile"},
		{waiting, "GET", "/debug/pprof/profile?seconds=1", 200, ""},
		{waiting, "GET", "/debug/pprof/none", 404, ""},
		{healthy, "HEAD", "/metrics", 200, ""},
		{dead, "GET", "/health/live", 503, "disk"},
		{dead, "GET", "/health/ready", 503, "disk"},
	} {
		resp, body := ask(t, c.s, c.method, c.path)
		if resp.StatusCode != c.status || !strings.Contains(string(body), c.body) {
			t.Errorf("%s %s: %d %.200s, want %d %s", c.method, c.path, resp.StatusCode, body, c.status, c.body)
		}
	}
	resp, body := ask(t, healthy, "GET", "/metrics", "Accept-Encoding", "gzip")
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil || resp.Header.Get("Content-Encoding") != "gzip" {
		t.Fatalf("%v, %v", err, resp.Header)
	}
	if text, err := io.ReadAll(z); err != nil || !strings.HasSuffix(string(text), "one 1\n") {
		t.Errorf("%s %v", text, err)
	}
	if ct := resp.Header.Get("Content-Type"); !strings.HasPrefix(ct, "text/plain; version=0.0.4") {
		t.Errorf("content type %s", ct)
	}
}

// TestHTTPLimits: a header that is too long is refused; connections beyond the limit
// wait until another ends; Close ends those that are idle.
func TestHTTPLimits(t *testing.T) {
	c, err := net.Dial("tcp", startHTTP(t, Health{}, false).Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "GET /metrics HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", 2*maxHeaderBytes+5000)+"\r\n\r\n")
	if b, _ := io.ReadAll(c); len(b) > 0 && !bytes.HasPrefix(b, []byte("HTTP/1.1 431 ")) {
		t.Errorf("a long header was answered with %.100s", b) // the connection may also be reset
	}
	s := startHTTP(t, Health{}, false)
	var idle []net.Conn
	for range maxConnections {
		c, err := net.Dial("tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		idle = append(idle, c)
	}
	// All have their places once no other can be taken.
	for len(s.ln.(*limited).slots) < maxConnections {
		runtime.Gosched()
	}
	late, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	_, _ = io.WriteString(late, "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
	_ = late.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := late.Read(make([]byte, 1)); n > 0 || err == nil {
		t.Fatal("one more than the limit was served")
	}
	_ = idle[0].Close()
	_ = late.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := late.Read(make([]byte, 1)); err != nil {
		t.Fatalf("after another ended: %v", err)
	}
	s.Close()
	_ = idle[1].SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadAll(idle[1]); err != nil && strings.Contains(err.Error(), "timeout") {
		t.Errorf("after Close: %v", err)
	}
}

// TestHTTPClosesWithoutServing: a node that fails while it opens gives the address back.
func TestHTTPClosesWithoutServing(t *testing.T) {
	s, err := Listen(context.Background(), Config{Net: netx.OS(), Addr: "127.0.0.1:0", Clock: clock.Real(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	s.Serve() // too late: it does nothing
	again, err := net.Listen("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	_ = again.Close()
}
