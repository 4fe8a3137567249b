//go:build linux

package main

import (
	"slices"
	"sync"
)

// outcome is how a transaction ended, as far as its producer was told.
type outcome int

const (
	running outcome = iota
	committed
	aborted
	unknown
)

// maxWindow is how many transactions of one producer may wait for their reader.
const maxWindow = 50_000

// pair is one transaction: a number that is written to two partitions.
type pair struct {
	number  uint64
	parts   [2]int32
	seen    [2]bool
	passed  [2]bool // the reader is beyond the place where it would be
	outcome outcome
}

// pairCheck judges the transactions of one producer, which makes one after the other, so
// that the numbers of a partition rise. A reader that was given a higher number on a
// partition will not be given a lower one. mu guards what is below it.
type pairCheck struct {
	producer int
	bad      *findings

	mu                            sync.Mutex
	window                        []*pair // what is not decided, by number
	committed, aborted, uncertain int
	read                          int
}

// began says that a transaction is about to be written.
func (c *pairCheck) began(number uint64, parts [2]int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.window) == maxWindow {
		c.bad.add("pairs: producer %d: the reader is %d transactions behind", c.producer, maxWindow)
	}
	if len(c.window) >= maxWindow {
		return
	}
	c.window = append(c.window, &pair{number: number, parts: parts})
}

// ended says how it ended.
func (c *pairCheck) ended(number uint64, o outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch o {
	case committed:
		c.committed++
	case aborted:
		c.aborted++
	default:
		c.uncertain++
	}
	for _, p := range c.window {
		if p.number == number {
			p.outcome = o
			if o == aborted && (p.seen[0] || p.seen[1]) {
				c.bad.add("pairs: producer %d: number %d was read and is aborted", c.producer, number)
			}
		}
	}
	c.decide()
}

// take judges a record that a read_committed reader was given.
func (c *pairCheck) take(partition int32, offset int64, m mark) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.doomed {
		c.bad.add("pairs: producer %d: number %d of an aborted transaction at offset %d of partition %d", c.producer, m.number, offset, partition)
		return
	}
	found := false
	for _, p := range c.window {
		if p.number > m.number {
			break
		}
		for i, part := range p.parts {
			switch {
			case part != partition || p.seen[i]:
			case p.number == m.number:
				p.seen[i], found = true, true
			default:
				p.passed[i] = true
			}
		}
	}
	if !found {
		c.bad.add("pairs: producer %d: number %d at offset %d of partition %d is there twice, too late, or was aborted", c.producer, m.number, offset, partition)
	}
	c.decide()
}

// decide judges what can be judged, and forgets it.
func (c *pairCheck) decide() {
	c.window = slices.DeleteFunc(c.window, func(p *pair) bool {
		there := p.seen[0] || p.seen[1]
		lost := p.passed[0] || p.passed[1]
		switch {
		case p.seen[0] && p.seen[1] && p.outcome != running:
			c.read++
			return true
		case p.outcome == aborted:
			return true
		case lost && p.outcome == committed, lost && there:
			c.bad.add("pairs: producer %d: number %d, %v, is torn: on partitions %d and %d it was read %v, passed %v",
				c.producer, p.number, p.outcome, p.parts[0], p.parts[1], p.seen, p.passed)
			return true
		case p.passed[0] && p.passed[1]:
			return true // nobody told how it ended: it was aborted
		}
		return false
	})
}

// waiting is how many transactions the reader has to bring yet.
func (c *pairCheck) waiting() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.window {
		if p.outcome == committed || p.seen[0] || p.seen[1] {
			n++
		}
	}
	return n
}

// settle judges what is left in the end.
func (c *pairCheck) settle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.window {
		if p.outcome == committed || p.seen[0] != p.seen[1] {
			c.bad.add("pairs: producer %d: number %d, %v, is read %v of partitions %v in the end", c.producer, p.number, p.outcome, p.seen, p.parts)
		}
	}
}

func (o outcome) String() string {
	return [...]string{"running", "committed", "aborted", "of unknown outcome"}[o]
}
