//go:build unix

package server

import (
	"fmt"
	"io"
	"syscall"
	"testing"
	"time"
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
