//go:build linux

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	orderRate = 200
	copiers   = 2
)

// copies is the load on the topics orders and copies.
type copies struct {
	c      *cluster
	checks []*copyCheck // by partition
}

func newCopies(c *cluster) *copies {
	x := &copies{c: c}
	for p := range int32(orderParts) {
		x.checks = append(x.checks, &copyCheck{number: p, bad: c.bad})
	}
	return x
}

// write writes the originals.
func (x *copies) write(ctx context.Context) {
	cl, err := x.c.client(&line{})
	if err != nil {
		x.c.bad.add("orders: %v", err)
		return
	}
	defer cl.Close()
	sending, cancel := lasting(ctx, flushLimit)
	defer cancel()
	var numbers [orderParts]uint64
	step := 0
	for pace := newPacer(orderRate); pace.wait(ctx, 1); step++ {
		p := step % orderParts
		m := mark{kind: 'o', partition: uint16(p), number: numbers[p]}
		numbers[p]++
		cl.Produce(sending, &kgo.Record{Topic: "orders", Partition: int32(p), Value: m.value(sizeOf(m.number) / 4)}, func(_ *kgo.Record, err error) {
			if err != nil {
				x.c.bad.add("orders-%d: number %d failed: %v", p, m.number, err)
				return
			}
			x.checks[p].ack()
		})
	}
	flush(cl, x.c.bad, "orders")
}

// copy is one copier. A session that was told of an error is replaced by another one
// with its id.
func (x *copies) copy(ctx context.Context, n int) {
	for ctx.Err() == nil {
		s, err := kgo.NewGroupTransactSession(x.c.clientOptions(&line{}, kgo.TransactionalID(fmt.Sprintf("copier-%d", n)), kgo.TransactionTimeout(txnTimeout),
			kgo.ConsumerGroup("copiers"), kgo.ConsumeTopics("orders"), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.SessionTimeout(groupSession),
			kgo.Balancers(kgo.CooperativeStickyBalancer()))...)
		if err != nil {
			x.c.bad.add("copies: %v", err)
			return
		}
		for ctx.Err() == nil && x.batch(ctx, s) {
			pause(ctx, 100*time.Millisecond)
		}
		s.Close()
		pause(ctx, 200*time.Millisecond)
	}
}

// batch copies what one poll brings; false says that the session is of no more use.
func (x *copies) batch(ctx context.Context, s *kgo.GroupTransactSession) bool {
	poll, cancelPoll := context.WithTimeout(ctx, time.Second)
	f := s.PollRecords(poll, 500)
	cancelPoll()
	f.EachError(func(_ string, p int32, err error) {
		if serious(err) {
			x.c.bad.add("orders-%d: copier: %v", p, err)
		}
	})
	if f.NumRecords() == 0 {
		return true
	}
	if s.Begin() != nil {
		return false
	}
	limit, cancel := context.WithTimeout(context.Background(), txnLimit)
	defer cancel()
	var out []*kgo.Record
	f.EachRecord(func(r *kgo.Record) {
		m, err := parse(r.Value, 'o', r.Partition)
		if err != nil {
			x.c.bad.add("orders-%d: offset %d: %v", r.Partition, r.Offset, err)
			return
		}
		m.kind = 'c'
		out = append(out, &kgo.Record{Topic: "copies", Partition: r.Partition, Value: m.value(len(r.Value) - markBytes)})
	})
	try := kgo.TryCommit
	if s.ProduceSync(limit, out...).FirstErr() != nil {
		try = kgo.TryAbort
	}
	_, err := s.End(limit, try)
	return err == nil
}

func (x *copies) read(ctx context.Context) {
	x.c.watch(ctx, "copies", orderParts, func(r *kgo.Record) { x.checks[r.Partition].take(r.Offset, r.Value) })
}

func (x *copies) waiting() (n int) {
	for _, c := range x.checks {
		n += max(c.waiting(), 0)
	}
	return n
}

func (x *copies) settle() {
	for _, c := range x.checks {
		c.settle()
	}
}
