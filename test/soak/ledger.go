//go:build linux

package main

import "sync"

// blockRecords is how many numbers of one producer and partition are compared together.
const blockRecords = 1024

// ledger compares what was acknowledged with what was read, numbers with their offsets,
// for one producer on one partition. A block of numbers is a sum on each side, kept until
// both sides are complete: there are as many as readers are behind. mu guards it.
type ledger struct {
	name string
	bad  *findings

	mu          sync.Mutex
	acked, read uint64 // how many
	blocks      map[uint64]*block
}

type block struct {
	acked, read       uint32 // how many
	ackedSum, readSum uint64
}

func newLedger(name string, bad *findings) *ledger {
	return &ledger{name: name, bad: bad, blocks: map[uint64]*block{}}
}

// mix makes a number and its offset one value, whose sums do not depend on their order.
func mix(number uint64, offset int64) uint64 {
	x := number*0x9e3779b97f4a7c15 ^ uint64(offset)*0xc2b2ae3d27d4eb4f
	x ^= x >> 31
	x *= 0xbf58476d1ce4e5b9
	return x ^ x>>29
}

// ack takes an acknowledgement. Those of one producer and partition come in order.
func (l *ledger) ack(number uint64, offset int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if number != l.acked {
		l.bad.add("%s: number %d was acknowledged after %d others", l.name, number, l.acked)
	}
	l.acked++
	b := l.block(number)
	b.acked++
	b.ackedSum += mix(number, offset)
	l.close(number, b)
}

// see takes a record that is read for the first time.
func (l *ledger) see(number uint64, offset int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if number != l.read {
		l.bad.add("%s: number %d at offset %d, where %d should be", l.name, number, offset, l.read)
		if number < l.read {
			return // a duplicate: its block may be gone
		}
		l.read = number
	}
	l.read++
	b := l.block(number)
	b.read++
	b.readSum += mix(number, offset)
	l.close(number, b)
}

func (l *ledger) block(number uint64) *block {
	b := l.blocks[number/blockRecords]
	if b == nil {
		b = &block{}
		l.blocks[number/blockRecords] = b
	}
	return b
}

// close compares a block that is complete on both sides, and forgets it.
func (l *ledger) close(number uint64, b *block) {
	if b.acked < blockRecords || b.read < blockRecords {
		return
	}
	first := number / blockRecords * blockRecords
	if b.ackedSum != b.readSum {
		l.bad.add("%s: of the numbers from %d to %d some are at other offsets than acknowledged", l.name, first, first+blockRecords-1)
	}
	delete(l.blocks, number/blockRecords)
}

// counts says how many records were acknowledged and read.
func (l *ledger) counts() (acked, read uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acked, l.read
}

// settle judges what is left when nothing is written any more and readers had their time.
func (l *ledger) settle() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.acked != l.read {
		l.bad.add("%s: %d records were acknowledged, %d read", l.name, l.acked, l.read)
		return
	}
	for n, b := range l.blocks {
		if b.acked != b.read || b.ackedSum != b.readSum {
			l.bad.add("%s: of the numbers from %d on some are at other offsets than acknowledged", l.name, n*blockRecords)
		}
	}
}
