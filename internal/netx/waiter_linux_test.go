package netx

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// runWaiter starts a Waiter that ends with the test.
func runWaiter(t *testing.T) *Waiter {
	t.Helper()
	w, err := NewWaiter()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- w.Run() }()
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Errorf("Run ended with %v", err)
		}
	})
	return w
}

// accepted is both ends of a TCP connection.
func accepted(t testing.TB) (client net.Conn, server *Socket) {
	t.Helper()
	ln, err := OS().Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err = OS().Dial(context.Background(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = client.Close(), c.Close() })
	return client, NewSocket(c)
}

// told waits for a call of ready.
func told(t *testing.T, ready chan struct{}) {
	t.Helper()
	select {
	case <-ready:
	case <-time.After(10 * time.Second):
		t.Fatal("nobody told of the socket")
	}
}

func TestWaiterReportsOnceForEachWatch(t *testing.T) {
	w := runWaiter(t)
	client, s := accepted(t)
	ready := make(chan struct{}, 10)
	buf := make([]byte, 10)
	for range 3 {
		if !w.Watch(s, func() { ready <- struct{}{} }) {
			t.Fatal("a plain connection is not watched")
		}
		if _, err := client.Write([]byte("ab")); err != nil {
			t.Fatal(err)
		}
		told(t, ready)
		if w.Unwatch(s) {
			t.Error("a socket that was reported is still watched")
		}
		if n, err := io.ReadAtLeast(s, buf, 2); n != 2 || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
	}
	// Input that is there before the watch is reported too, and only once however much comes.
	for range 2 {
		if _, err := client.Write([]byte("c")); err != nil {
			t.Fatal(err)
		}
	}
	if !w.Watch(s, func() { ready <- struct{}{} }) {
		t.Fatal("not watched")
	}
	told(t, ready)
	if _, err := client.Write([]byte("d")); err != nil {
		t.Fatal(err)
	}
	other, s2 := accepted(t) // events are in order: after this one nothing else can be on its way
	if !w.Watch(s2, func() { ready <- struct{}{} }) {
		t.Fatal("not watched")
	}
	_ = other.Close()
	told(t, ready)
	if len(ready) != 0 {
		t.Error("a socket was reported twice")
	}
	// One whose input nobody takes yet does not keep the poller busy.
	err := w.raw.Control(func(fd uintptr) {
		if n, err := syscall.EpollWait(int(fd), make([]syscall.EpollEvent, 2), 0); n != 0 || err != nil {
			t.Errorf("%d sockets are reported without a watch, %v", n, err)
		}
	})
	if err != nil {
		t.Error(err)
	}
}

func TestWaiterReportsAnEnd(t *testing.T) {
	w := runWaiter(t)
	client, s := accepted(t)
	ready := make(chan struct{}, 1)
	if !w.Watch(s, func() { ready <- struct{}{} }) {
		t.Fatal("not watched")
	}
	_ = client.Close()
	told(t, ready)
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

// TestUnwatch: who takes a socket back owns it, and nobody is told of it.
func TestUnwatch(t *testing.T) {
	w := runWaiter(t)
	client, s := accepted(t)
	if w.Unwatch(s) {
		t.Error("a socket that nobody watches was taken back")
	}
	if !w.Watch(s, func() { t.Error("told of a socket that was taken back") }) {
		t.Fatal("not watched")
	}
	if !w.Unwatch(s) || w.Unwatch(s) {
		t.Error("a socket is taken back once")
	}
	if _, err := client.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	if w.Watch(s, func() { t.Error("told of a closed socket") }) {
		t.Error("a closed socket is watched")
	}
	mem, _ := net.Pipe()
	if n := NewSocket(mem); n.CanWatch() || w.Watch(n, func() {}) {
		t.Error("a connection without descriptor is watched")
	}
}

// TestWaiterThatEnds reports what it still watches, and watches nothing more.
func TestWaiterThatEnds(t *testing.T) {
	w, err := NewWaiter()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- w.Run() }()
	_, s := accepted(t)
	ready := make(chan struct{}, 2)
	if !w.Watch(s, func() { ready <- struct{}{} }) {
		t.Fatal("not watched")
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	told(t, ready)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if w.Watch(s, func() { t.Error("told") }) || w.Unwatch(s) {
		t.Error("a Waiter that has ended watches")
	}
}

// TestWaiterHasOneOwner: of the reports and those who take back, exactly one gets each
// socket, whatever the order.
func TestWaiterHasOneOwner(t *testing.T) {
	w := runWaiter(t)
	for range 300 {
		client, s := accepted(t)
		var owners atomic.Int32
		got := make(chan struct{}, 4)
		own := func() { owners.Add(1); got <- struct{}{} }
		var wg sync.WaitGroup
		wg.Go(func() {
			if !w.Watch(s, own) {
				own()
			}
		})
		wg.Go(func() { _ = client.Close() })
		wg.Go(func() {
			_ = s.Close()
			if w.Unwatch(s) {
				own()
			}
		})
		wg.Wait()
		// A watch that began after the Unwatch ended is the watcher's to take back, as
		// the server's connections do when they find themselves dead.
		if w.Unwatch(s) {
			own()
		}
		told(t, got)
		if n := owners.Load(); n != 1 {
			t.Fatalf("%d owners", n)
		}
	}
}
