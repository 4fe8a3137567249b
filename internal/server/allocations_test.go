//go:build !race && !gregor_invariants

package server

import (
	"encoding/binary"
	"io"
	"testing"
)

// The race detector empties pools and invariants allocate, so this is for builds without them.

// TestRequestsAllocateNothing: one round trip through reader, handler, queue and
// writer, completed in stage 1 and by another goroutine.
func TestRequestsAllocateNothing(t *testing.T) {
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
