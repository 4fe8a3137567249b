package netx

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/clock"
)

// memPair connects host a to host b and returns the ends at a and at b.
func memPair(t *testing.T, m *Mem) (net.Conn, net.Conn) {
	t.Helper()
	l, err := m.Host("b").Listen(context.Background(), "tcp", "b:9092")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := m.Host("a").Dial(context.Background(), "tcp", "b:9092")
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

func newTestMem() (*clock.Virtual, *Mem) {
	v := clock.NewVirtual(time.Unix(1000, 0))
	return v, NewMem(v)
}

// expect reads exactly want.
func expect(t *testing.T, c net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v, want %q", got, err, want)
	}
}

// expectNothing checks that nothing can be read at the present virtual time.
func expectNothing(t *testing.T, v *clock.Virtual, c net.Conn) {
	t.Helper()
	c.SetReadDeadline(v.Now())
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read %d bytes, %v", n, err)
	}
	c.SetReadDeadline(time.Time{})
	c.(*memConn).m.mu.Lock()
	defer c.(*memConn).m.mu.Unlock()
	if _, _, ok := c.(*memConn).in.take(make([]byte, 1), v.Now()); ok {
		t.Fatal("something can be read")
	}
}

func TestMemAddresses(t *testing.T) {
	_, m := newTestMem()
	a, b := memPair(t, m)
	if a.RemoteAddr().String() != "b:9092" || b.LocalAddr().String() != "b:9092" {
		t.Fatalf("addresses %v, %v", a.RemoteAddr(), b.LocalAddr())
	}
	if a.LocalAddr().String() != b.RemoteAddr().String() {
		t.Fatal("the ends disagree about the dialing address")
	}
	h := m.Host("b")
	ctx := context.Background()
	first, err := h.Listen(ctx, "tcp", ":9092")
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]error{"0.0.0.0:9092": syscall.EADDRINUSE, "c:1": syscall.EADDRNOTAVAIL} {
		if _, err := h.Listen(ctx, "tcp", addr); !errors.Is(err, want) {
			t.Errorf("Listen(%s): %v", addr, err)
		}
	}
	if _, err := h.Listen(ctx, "tcp", "b:x"); err == nil {
		t.Error("a port that is no number was accepted")
	}
	first.Close()
	if _, err := h.Dial(ctx, "tcp", "localhost:9092"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("Dial of a closed listener: %v", err)
	}
	if _, err := first.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("Accept of a closed listener: %v", err)
	}
}

func TestMemCutIsOneWay(t *testing.T) {
	v, m := newTestMem()
	a, b := memPair(t, m)
	m.Cut("a", "b")
	a.Write([]byte("held"))
	b.Write([]byte("through"))
	expect(t, a, "through")
	expectNothing(t, v, b)
	m.Heal("a", "b")
	expect(t, b, "held")
}

func TestMemDelayKeepsOrder(t *testing.T) {
	v, m := newTestMem()
	a, b := memPair(t, m)
	m.SetDelay("a", "b", 100*time.Millisecond)
	a.Write([]byte("slow"))
	m.SetDelay("a", "b", 0)
	a.Write([]byte("quick"))
	a.Close()
	v.Advance(99 * time.Millisecond)
	expectNothing(t, v, b)
	read := make(chan string, 1)
	go func() {
		all, _ := io.ReadAll(b)
		read <- string(all)
	}()
	v.Advance(time.Millisecond)
	if got := <-read; got != "slowquick" {
		t.Fatalf("read %q", got)
	}
}

func TestMemResetAndKill(t *testing.T) {
	_, m := newTestMem()
	for name, fault := range map[string]func(){
		"reset": func() { m.Reset("b", "a") },
		"kill":  func() { m.Kill("b") },
	} {
		a, b := memPair(t, m)
		a.Write([]byte("lost"))
		fault()
		for _, c := range []net.Conn{a, b} {
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%s: read error %v", name, err)
			}
			if _, err := c.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%s: write error %v", name, err)
			}
			c.Close()
		}
	}
	if len(m.conns) != 0 {
		t.Fatalf("%d connections are left", len(m.conns))
	}
}

// What a process wrote before it died arrives, also over a link that is cut meanwhile; then the connection is at its end.
func TestMemExitDeliversWhatWasWritten(t *testing.T) {
	_, m := newTestMem()
	a, b := memPair(t, m)
	b.Write([]byte("last words"))
	m.Cut("b", "a")
	m.Exit("b")
	if _, err := b.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the dead process read: %v", err)
	}
	if _, err := b.Write([]byte("x")); err == nil {
		t.Error("the dead process wrote")
	}
	m.Heal("b", "a")
	expect(t, a, "last words")
	if _, err := a.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("behind the end: %v", err)
	}
	if _, err := a.Write([]byte("x")); err == nil {
		t.Error("a write to the dead process succeeded")
	}
	a.Close()
	if len(m.conns) != 0 {
		t.Fatalf("%d connections are left", len(m.conns))
	}
}

func TestMemDialWaitsForCut(t *testing.T) {
	_, m := newTestMem()
	if _, err := m.Host("b").Listen(context.Background(), "tcp", ":1"); err != nil {
		t.Fatal(err)
	}
	m.Cut("b", "a")
	ctx, cancel := context.WithCancel(context.Background())
	dialed := make(chan error, 1)
	go func() {
		_, err := m.Host("a").Dial(ctx, "tcp", "b:1")
		dialed <- err
	}()
	for range 1000 {
		runtime.Gosched()
	}
	cancel()
	if err := <-dialed; !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled: %v", err)
	}
	go func() {
		_, err := m.Host("a").Dial(context.Background(), "tcp", "b:1")
		dialed <- err
	}()
	m.Heal("b", "a")
	if err := <-dialed; err != nil {
		t.Fatalf("healed: %v", err)
	}
}

func TestMemWindowAndDeadline(t *testing.T) {
	v, m := newTestMem()
	a, b := memPair(t, m)
	a.SetWriteDeadline(v.Now().Add(time.Second))
	type result struct {
		n   int
		err error
	}
	wrote := make(chan result, 1)
	go func() {
		n, err := a.Write(make([]byte, memWindow+1))
		wrote <- result{n, err}
	}()
	out := a.(*memConn).out
	m.mu.Lock()
	for out.size < memWindow {
		out.changed.Wait()
	}
	m.mu.Unlock()
	v.Advance(time.Second)
	if r := <-wrote; r.n != memWindow || !errors.Is(r.err, os.ErrDeadlineExceeded) {
		t.Fatalf("wrote %d, %v", r.n, r.err)
	}
	a.SetDeadline(time.Time{})
	go func() {
		n, err := a.Write(make([]byte, 2*memWindow))
		a.Close()
		wrote <- result{n, err}
	}()
	n, err := io.Copy(io.Discard, b)
	if r := <-wrote; r.err != nil || err != nil || n != 3*memWindow {
		t.Fatalf("wrote %v, read %d, %v", r, n, err)
	}
	if v.Pending() != 0 {
		t.Fatalf("%d timers are left", v.Pending())
	}
}

func TestMemClose(t *testing.T) {
	v, m := newTestMem()
	a, b := memPair(t, m)
	a.Write([]byte("last words"))
	a.(interface{ CloseWrite() error }).CloseWrite()
	b.Write([]byte("answer"))
	expect(t, b, "last words")
	if _, err := b.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("after CloseWrite: %v", err)
	}
	expect(t, a, "answer")
	a.SetDeadline(v.Now().Add(time.Hour))
	a.Close()
	if v.Pending() != 0 {
		t.Fatalf("a closed connection keeps %d timers", v.Pending())
	}
	if _, err := a.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("own read after Close: %v", err)
	}
	if _, err := b.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Fatalf("peer's write after Close: %v", err)
	}
	if err := a.Close(); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("second Close: %v", err)
	}
	b.Close()
	if len(m.conns) != 0 {
		t.Fatal("a closed connection is kept")
	}
}
