//go:build linux

package main

import "sync"

// copyCheck judges the copies of one partition: every number once, in order. mu guards
// what is below it.
type copyCheck struct {
	number int32
	bad    *findings

	mu    sync.Mutex
	acked uint64 // originals
	next  uint64 // of the copies
}

// ack counts an original.
func (c *copyCheck) ack() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.acked++
}

func (c *copyCheck) take(offset int64, value []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m, err := parse(value, 'c', c.number)
	switch {
	case err != nil:
		c.bad.add("copies-%d: offset %d: %v", c.number, offset, err)
	case m.number != c.next:
		c.bad.add("copies-%d: offset %d holds the copy of number %d, where that of %d should be", c.number, offset, m.number, c.next)
		c.next = max(c.next, m.number+1)
	default:
		c.next++
	}
}

// waiting is how many copies are missing yet.
func (c *copyCheck) waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return int(c.acked) - int(c.next)
}

func (c *copyCheck) settle() {
	if n := c.waiting(); n != 0 {
		c.bad.add("copies-%d: %d originals were acknowledged, %d copies read", c.number, c.acked, c.next)
	}
}
