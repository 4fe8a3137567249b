//go:build linux

package main

import (
	"fmt"
	"hash/crc32"
	"sync"
)

// remembered is how many records of a partition are kept as check sums, to compare with
// when they are read again. What is read again is what was not committed: the members
// commit every second.
const remembered = 1 << 16

// eventPartition judges what a group is given of one partition that has one record for
// every offset. mu guards what is below it.
type eventPartition struct {
	number  int32
	ledgers []*ledger // by producer
	bad     *findings

	mu        sync.Mutex
	end       int64 // one past the highest offset that any member was given
	low, high int64 // a member may begin from low, the committed offset, to high, the highest of a commit whose outcome is not known
	sums      []uint32
	repeated  uint64
	position  map[int]int64 // the next offset of each member that owns it
}

func newEventPartition(topic string, number int32, producers int, bad *findings) *eventPartition {
	e := &eventPartition{number: number, bad: bad, sums: make([]uint32, remembered), position: map[int]int64{}}
	for p := range producers {
		e.ledgers = append(e.ledgers, newLedger(fmt.Sprintf("%s-%d, producer %d", topic, number, p), bad))
	}
	return e
}

// unknownPosition is that of a member that was given nothing yet.
const unknownPosition = -1

// assigned says that a member owns the partition from now on.
func (e *eventPartition) assigned(member int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.position[member] = unknownPosition
}

// revoked says that it does no more.
func (e *eventPartition) revoked(member int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.position, member)
}

func (e *eventPartition) owns(member int) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, ok := e.position[member]
	return ok
}

// committing says that a member is about to commit an offset.
func (e *eventPartition) committing(offset int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.high = max(e.high, offset)
}

// committed says that a commit was acknowledged.
func (e *eventPartition) committed(offset int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if offset >= e.low { // else a member of the past is told late
		e.low, e.high = offset, max(offset, e.high)
	}
}

// toCommit is the offset that a member has to commit, false if it has none.
func (e *eventPartition) toCommit(member int) (int64, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	at, ok := e.position[member]
	return at, ok && at > e.low
}

// take judges one record that a member was given. It says whether it is new.
func (e *eventPartition) take(member int, offset int64, value []byte) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	m, err := parse(value, 'e', e.number)
	if err != nil || int(m.producer) >= len(e.ledgers) {
		e.bad.add("events-%d: offset %d: %v, producer %d", e.number, offset, err, m.producer)
		return false
	}
	at, owner := e.position[member]
	switch {
	case !owner:
		e.bad.add("events-%d: member %d is given offset %d of a partition that it does not own", e.number, member, offset)
	case at == unknownPosition && (offset < e.low || offset > e.high):
		e.bad.add("events-%d: member %d begins at offset %d, committed is %d (asked for up to %d)", e.number, member, offset, e.low, e.high)
	case at != unknownPosition && offset != at:
		e.bad.add("events-%d: member %d is given offset %d, after %d", e.number, member, offset, at-1)
	}
	e.position[member] = offset + 1
	sum := crc32.Checksum(value, castagnoli)
	if offset < e.end {
		e.repeated++
		if e.end-offset <= remembered && e.sums[offset%remembered] != sum {
			e.bad.add("events-%d: offset %d holds number %d of producer %d, and held another record when it was read before", e.number, offset, m.number, m.producer)
		}
		return false
	}
	if offset > e.end {
		e.bad.add("events-%d: offset %d is read, nobody was given those from %d on", e.number, offset, e.end)
	}
	e.end = offset + 1
	e.sums[offset%remembered] = sum
	e.ledgers[m.producer].see(m.number, offset)
	return true
}

// counts are those of all producers.
func (e *eventPartition) counts() (acked, read, repeated uint64) {
	for _, l := range e.ledgers {
		a, r := l.counts()
		acked, read = acked+a, read+r
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return acked, read, e.repeated
}
