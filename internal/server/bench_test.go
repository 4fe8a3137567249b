package server

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/invariant"
)

// cpuTime is the processor time that this process used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkRequests measures round trips of a trivial handler over loopback, with the
// client in the same process; inFlight requests are sent in one write.
func BenchmarkRequests(b *testing.B) {
	for _, inFlight := range []int{1, 5} {
		for _, size := range []int{100, 16 << 10} {
			b.Run(fmt.Sprintf("inflight=%d/size=%d", inFlight, size), func(b *testing.B) {
				k := newKit(b, func(r *Request) { r.ReplyRaw(r.Body[:8]) }, nil)
				c := k.dial()
				_ = c.SetDeadline(time.Time{})
				one := request(testKey, 0, 1, make([]byte, size))
				var all []byte
				for range inFlight {
					all = append(all, one...)
				}
				in := make([]byte, inFlight*16)
				round := func() {
					if _, err := c.Write(all); err != nil {
						b.Fatal(err)
					}
					if _, err := io.ReadFull(c, in); err != nil {
						b.Fatal(err)
					}
				}
				for range 100 {
					round()
				}
				b.ReportAllocs()
				cpu := cpuTime()
				b.ResetTimer()
				for n := 0; n < b.N; n += inFlight {
					round()
				}
				b.ReportMetric(float64(cpuTime()-cpu)/float64(b.N)/1000, "cpu-us/op")
			})
		}
	}
}

// BenchmarkLargeRequests measures requests of 1 MiB.
func BenchmarkLargeRequests(b *testing.B) {
	k := newKit(b, func(r *Request) { r.ReplyRaw(r.Body[:8]) }, nil)
	c := k.dial()
	_ = c.SetDeadline(time.Time{})
	c.send(0, make([]byte, 8))
	c.receive()
	one := request(testKey, 0, 1, make([]byte, 1<<20))
	in := make([]byte, 16)
	b.SetBytes(1 << 20)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(one); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(c, in); err != nil {
			b.Fatal(err)
		}
	}
}

// TestRequestsAllocateNothing: one round trip through reader, handler, queue and
// writer, completed in stage 1 and by another goroutine.
func TestRequestsAllocateNothing(t *testing.T) {
	if raceEnabled || invariant.Enabled {
		t.Skip("the race detector empties pools, and invariants allocate")
	}
	later := make(chan *Request, 10)
	defer close(later)
	go func() {
		for r := range later {
			echo(r)
		}
	}()
	for name, h := range map[string]HandlerFunc{"stage 1": echo, "later": func(r *Request) { later <- r }} {
		k := newKit(t, h, nil)
		c := k.dial()
		frame := request(testKey, 0, 1, []byte("ping"))
		in := make([]byte, 12)
		n := testing.AllocsPerRun(2000, func() {
			c.raw(frame)
			if _, err := io.ReadFull(c, in); err != nil || binary.BigEndian.Uint32(in) != 8 {
				t.Fatal(err, in)
			}
		})
		if n >= 1 {
			t.Errorf("%s: %v allocations a request", name, n)
		}
	}
}

// TestIdleConnectionMemory opens connections that did a request and are idle: they
// hold no buffer, and little else.
func TestIdleConnectionMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector takes memory of its own")
	}
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
	each := (measure() - before) / uint64(n)
	t.Logf("%d idle connections, %d bytes each", n, each)
	if each > 6<<10 {
		t.Errorf("an idle connection takes %d bytes", each)
	}
	if used := k.s.MemoryInUse(); used != 0 {
		t.Errorf("%d bytes of the budget are taken", used)
	}
}
