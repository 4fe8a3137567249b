package monitor

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"runtime/pprof"
	"runtime/trace"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gregorhq/gregor/internal/metrics"
)

const profiles = "/debug/pprof/"

// route answers a request.
func (s *Server) route(w *answer, r request) {
	switch {
	case r.status != 0:
		w.text(r.status, statusTexts[r.status]+"\n")
	case r.method != "GET" && r.method != "HEAD":
		w.text(405, "GET and HEAD are served\n")
	case r.path == "/metrics":
		s.metrics(w, r)
	case r.path == "/health/live":
		s.health(w, false)
	case r.path == "/health/ready" || r.path == "/health":
		s.health(w, true)
	case r.path == "/":
		s.index(w)
	case s.cfg.Pprof && strings.HasPrefix(r.path, profiles):
		s.profile(w, r)
	default:
		w.text(404, "there is no "+strconv.Quote(r.path)+"\n")
	}
}

func (s *Server) index(w *answer) {
	text := "/metrics              for Prometheus; ?format=jmx as the JMX exporter without rules\n" +
		"/health/live          200 unless the process ought to be restarted\n" +
		"/health/ready         200 if clients can be sent here\n"
	if s.cfg.Pprof {
		text += profiles + "         profiles\n"
	}
	w.text(200, text)
}

// gzips keeps the writers' buffers between scrapes.
var gzips = sync.Pool{New: func() any { return gzip.NewWriter(io.Discard) }}

func (s *Server) metrics(w *answer, r request) {
	format := metrics.Prometheus
	switch r.param("format") {
	case "", "prometheus":
	case "jmx":
		format = metrics.JMX
	default:
		w.text(400, "format can be prometheus or jmx\n")
		return
	}
	const contentType = "text/plain; version=0.0.4; charset=utf-8"
	var out io.Writer
	if r.gzip {
		z := gzips.Get().(*gzip.Writer)
		z.Reset(w.begin(200, contentType, "Content-Encoding: gzip"))
		defer gzips.Put(z)
		defer func() { _ = z.Close() }() // what fails shows when all is flushed
		out = z
	} else {
		out = w.begin(200, contentType)
	}
	if err := s.cfg.Registry().Write(out, format, s.cfg.Clock.Now()); err != nil {
		s.cfg.Log.Debug("a scrape was cut off", "peer", w.conn.RemoteAddr(), "error", err)
	}
}

// health answers 200 or 503, with the reasons.
func (s *Server) health(w *answer, ready bool) {
	h := s.cfg.Health(s.ctx)
	reasons := h.Dead
	if ready {
		reasons = append(reasons, h.NotReady...)
	}
	body := struct {
		Status  string   `json:"status"`
		Reasons []string `json:"reasons,omitempty"`
	}{"UP", reasons}
	status := 200
	if len(reasons) > 0 {
		body.Status, status = "DOWN", 503
	}
	out := w.begin(status, "application/json", "Cache-Control: no-store")
	_ = json.NewEncoder(out).Encode(body) // what fails shows when all is flushed
}

// profile serves what `go tool pprof` and `go tool trace` ask for.
func (s *Server) profile(w *answer, r request) {
	name := strings.TrimPrefix(r.path, profiles)
	switch name {
	case "":
		text := "profile?seconds=30\ntrace?seconds=1\n"
		for _, p := range pprof.Profiles() {
			text += p.Name() + "?debug=1  " + strconv.Itoa(p.Count()) + "\n"
		}
		w.text(200, text)
	case "profile":
		s.record(w, r, 30*time.Second, pprof.StartCPUProfile, pprof.StopCPUProfile)
	case "trace":
		s.record(w, r, time.Second, trace.Start, trace.Stop)
	default:
		p := pprof.Lookup(name)
		if p == nil {
			w.text(404, "there is no such profile\n")
			return
		}
		debug, _ := strconv.Atoi(r.param("debug")) // what is no number is 0
		contentType := "application/octet-stream"
		if debug > 0 {
			contentType = plain
		}
		_ = p.WriteTo(w.begin(200, contentType), debug) // what fails shows when all is flushed
	}
}

// record runs a profile for the seconds that are asked for, and longer than answers
// may take otherwise.
func (s *Server) record(w *answer, r request, usual time.Duration, start func(io.Writer) error, stop func()) {
	d := usual
	if n, err := strconv.ParseFloat(r.param("seconds"), 64); err == nil && n > 0 {
		d = min(time.Duration(n*float64(time.Second)), maxProfile)
	}
	_ = w.conn.SetDeadline(s.cfg.Clock.Now().Add(d + responseTimeout))
	out := &started{begin: func() io.Writer { return w.begin(200, "application/octet-stream") }}
	if err := start(out); err != nil {
		w.text(503, err.Error()+"\n") // another one is being recorded
		return
	}
	_ = s.cfg.Clock.Sleep(s.ctx, d) // an error only means that the server ends
	stop()
}

// started begins the answer with the first byte of the body.
type started struct {
	begin func() io.Writer
	out   io.Writer
}

func (b *started) Write(p []byte) (int, error) {
	if b.out == nil {
		b.out = b.begin()
	}
	return b.out.Write(p)
}
