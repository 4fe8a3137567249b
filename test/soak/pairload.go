//go:build linux

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	pairProducers = 2
	pairRate      = 30 // transactions a second of each
	abortEvery    = 4
	txnTimeout    = 20 * time.Second
	txnLimit      = 30 * time.Second // for one transaction of a client
)

// pairs is the load on the topic pairs.
type pairs struct {
	c      *cluster
	checks []*pairCheck // by producer
}

func newPairs(c *cluster) *pairs {
	x := &pairs{c: c}
	for p := range pairProducers {
		x.checks = append(x.checks, &pairCheck{producer: p, bad: c.bad})
	}
	return x
}

// write is one transactional producer. A client that was told of an error is replaced by
// another one with its id.
func (x *pairs) write(ctx context.Context, producer int) {
	number, pace := uint64(0), newPacer(pairRate)
	for ctx.Err() == nil {
		cl, err := x.c.client(&line{}, kgo.TransactionalID(fmt.Sprintf("pairs-%d", producer)), kgo.TransactionTimeout(txnTimeout))
		if err != nil {
			x.c.bad.add("pairs: %v", err)
			return
		}
		for pace.wait(ctx, 1) && x.transaction(cl, producer, number) {
			number++
		}
		number++
		cl.Close()
		pause(ctx, 200*time.Millisecond)
	}
}

// transaction makes one transaction; false says that the client is of no more use.
func (x *pairs) transaction(cl *kgo.Client, producer int, number uint64) bool {
	if cl.BeginTransaction() != nil {
		return false
	}
	limit, cancel := context.WithTimeout(context.Background(), txnLimit)
	defer cancel()
	first := int32(number % pairParts)
	second := (first + 1 + int32(number/pairParts%(pairParts-1))) % pairParts
	doomed := number%abortEvery == 1
	x.checks[producer].began(number, [2]int32{first, second})
	var records []*kgo.Record
	for _, p := range []int32{first, second} {
		m := mark{kind: 'p', producer: uint8(producer), partition: uint16(p), doomed: doomed, number: number}
		records = append(records, &kgo.Record{Topic: "pairs", Partition: p, Value: m.value(sizeOf(number) / 4)})
	}
	err := cl.ProduceSync(limit, records...).FirstErr()
	if doomed || err != nil {
		_ = cl.AbortBufferedRecords(limit)
		abort := cl.EndTransaction(limit, kgo.TryAbort)
		x.checks[producer].ended(number, aborted) // nobody asked for a commit
		return err == nil && abort == nil
	}
	if err = cl.EndTransaction(limit, kgo.TryCommit); err != nil {
		x.checks[producer].ended(number, unknown)
		return false
	}
	x.checks[producer].ended(number, committed)
	return true
}

func (x *pairs) read(ctx context.Context) {
	x.c.watch(ctx, "pairs", pairParts, func(r *kgo.Record) {
		m, err := parse(r.Value, 'p', r.Partition)
		if err != nil || int(m.producer) >= pairProducers {
			x.c.bad.add("pairs-%d: offset %d: %v, producer %d", r.Partition, r.Offset, err, m.producer)
			return
		}
		x.checks[m.producer].take(r.Partition, r.Offset, m)
	})
}

func (x *pairs) waiting() (n int) {
	for _, c := range x.checks {
		n += c.waiting()
	}
	return n
}

func (x *pairs) counts() (yes, no, unsure int) {
	for _, c := range x.checks {
		c.mu.Lock()
		yes, no, unsure = yes+c.committed, no+c.aborted, unsure+c.uncertain
		c.mu.Unlock()
	}
	return yes, no, unsure
}

func (x *pairs) settle() {
	for _, c := range x.checks {
		c.settle()
	}
}
