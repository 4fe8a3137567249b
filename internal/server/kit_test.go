package server

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/netx"
	"github.com/gregorhq/gregor/internal/wire"
)

// The tests talk to handlers registered under the private key, whose bodies are plain
// bytes.
const testKey = wire.RaftMessage

// logBuffer collects what the server logs.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// kit is a running server and the means to reach it.
type kit struct {
	t   testing.TB
	s   *Server
	net netx.Net
	log *logBuffer
}

// echo answers with the request's own body.
func echo(r *Request) { r.ReplyRaw(r.Body) }

// newKit starts a server on loopback with one handler; change adjusts its
// configuration.
func newKit(t testing.TB, h HandlerFunc, change func(*Config)) *kit {
	t.Helper()
	k := &kit{t: t, log: &logBuffer{}, net: netx.OS()}
	cfg := Config{
		Net: k.net, Clock: clock.Real(), Log: slog.New(slog.NewTextHandler(k.log, nil)),
		Listeners: []ListenerConfig{{
			Name: "PLAINTEXT", Addr: "127.0.0.1:0", AdvertisedHost: "localhost",
			Table: Table{testKey: {Handler: h}},
		}},
	}
	if change != nil {
		change(&cfg)
	}
	k.net = cfg.Net
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	k.s = s
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if n := s.metrics.ConnectionsActive.Load(); n != 0 {
			t.Errorf("%d connections are still counted", n)
		}
		if s.quotas.total != 0 || len(s.quotas.byIP) != 0 {
			t.Errorf("counts leaked: %d in all, %v", s.quotas.total, s.quotas.byIP)
		}
	})
	return k
}

// sleepers is how many timers of a virtual clock are pending when n goroutines sleep, and
// where connections are parked the one that wakes their readers.
func (k *kit) sleepers(n int) int {
	if k.s.parking.get(k.s) != nil {
		n++
	}
	return n
}

// readers is how many connections have a reader that may be parked.
func (k *kit) readers() int {
	k.s.mu.Lock()
	defer k.s.mu.Unlock()
	return len(k.s.readers)
}

// park makes every idle reader park.
func (k *kit) park() {
	k.t.Helper()
	eventually(k.t, "all are parked", func() bool {
		k.s.wakeIdle(0)
		return k.readers() == 0
	})
}

// client is a raw connection to the server.
type client struct {
	t testing.TB
	net.Conn
}

// dial connects to a listener, the first one when none is named.
func (k *kit) dial(listener ...string) *client {
	k.t.Helper()
	l := k.s.listeners[0]
	if len(listener) > 0 {
		l = k.s.Listener(listener[0])
	}
	c, err := k.net.Dial(context.Background(), "tcp", l.BoundAddr().String())
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return &client{k.t, c}
}

// request encodes one frame with its size.
func request(key, version int16, id int32, body []byte) []byte {
	b := wire.AppendRequestHeader(make([]byte, 4), wire.RequestHeader{Key: key, Version: version, CorrelationID: id})
	b = append(b, body...)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

// send writes one request to the test handler.
func (c *client) send(id int32, body []byte) {
	c.t.Helper()
	c.raw(request(testKey, 0, id, body))
}

func (c *client) raw(b []byte) {
	c.t.Helper()
	if _, err := c.Write(b); err != nil {
		c.t.Fatalf("sending %d bytes: %v", len(b), err)
	}
}

// receive reads one response of the test handler.
func (c *client) receive() (id int32, body []byte) {
	c.t.Helper()
	id, body, err := c.tryReceive()
	if err != nil {
		c.t.Fatalf("receiving: %v", err)
	}
	return id, body
}

func (c *client) tryReceive() (id int32, body []byte, err error) {
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return 0, nil, err
	}
	b := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(c, b); err != nil {
		return 0, nil, err
	}
	return int32(binary.BigEndian.Uint32(b)), b[4:], nil
}

// expect checks the next response.
func (c *client) expect(id int32, body string) {
	c.t.Helper()
	got, b := c.receive()
	if got != id || string(b) != body {
		c.t.Fatalf("response %d %.40q, want %d %.40q", got, b, id, body)
	}
}

// expectClosed checks that nothing more comes and the connection ends.
func (c *client) expectClosed() {
	c.t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
		c.t.Fatalf("the connection is open: %d bytes, %v", n, err)
	} else if ne, ok := err.(net.Error); ok && ne.Timeout() {
		c.t.Fatal("the connection stayed open")
	}
}

// eventually waits for a condition that other goroutines bring about.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	tick := time.NewTicker(200 * time.Microsecond)
	defer tick.Stop()
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
		<-tick.C
	}
}
