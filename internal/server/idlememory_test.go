//go:build unix && !race

package server

import (
	"net"
	"runtime"
	"syscall"
	"testing"
)

// The race detector takes memory of its own, so this is for builds without it.

// TestIdleConnectionMemory opens connections that did a request and are idle: they
// hold no buffer and, when they are parked, no goroutine.
func TestIdleConnectionMemory(t *testing.T) {
	n := 10_000
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		t.Fatal(err)
	}
	n = min(n, (int(lim.Cur)-100)/2) // both ends are in this process
	k := newKit(t, echo, nil)
	addr := k.s.listeners[0].BoundAddr().(*net.TCPAddr)
	frame := request(testKey, 0, 1, []byte("hello"))
	fds := make([]int, 0, n)
	defer func() {
		for _, fd := range fds {
			_ = syscall.Close(fd)
		}
	}()
	measure := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	before := measure()
	in := make([]byte, 64)
	for range n { // plain descriptors, so that the clients' own memory does not count
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		fds = append(fds, fd)
		if err := syscall.Connect(fd, &syscall.SockaddrInet4{Port: addr.Port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			t.Fatal(err)
		}
		if _, err := syscall.Write(fd, frame); err != nil {
			t.Fatal(err)
		}
		if _, err := syscall.Read(fd, in); err != nil {
			t.Fatal(err)
		}
	}
	check := func(what string, most uint64) {
		each := (measure() - before) / uint64(n)
		t.Logf("%d idle connections, %s: %d bytes each", n, what, each)
		if each > most {
			t.Errorf("an idle connection takes %d bytes, %s", each, what)
		}
	}
	check("each with a reader", 6<<10)
	if k.s.parking.get(k.s) != nil {
		k.park()
		check("parked", 5<<9)
	}
	if used := k.s.MemoryInUse(); used != 0 {
		t.Errorf("%d bytes of the budget are taken", used)
	}
}
