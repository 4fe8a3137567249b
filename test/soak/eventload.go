//go:build linux

package main

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	eventProducers = 2
	// burst is how many records one partition gets before the next one.
	burst = 8
	// maxUnacked is how many records one producer sends to one partition without being told:
	// what a partition without leader holds up must not stop the others.
	maxUnacked = 4000
	// maxBehind is how many bytes the readers of one partition may be behind, before its
	// writers wait: a good deal less than what retention leaves.
	maxBehind = eventRetention / 2
	// linger gathers at half of the maximum batches of the size that the maximum has. With
	// smaller ones the half costs as much CPU as the maximum, and the times of a machine
	// without a rest tell of its other guests.
	linger = 50 * time.Millisecond
)

// events is the load on the topic events.
type events struct {
	c       *cluster
	parts   []*eventPartition
	flows   []flow // by partition
	pacers  []*pacer
	latency histogram
	acked   atomic.Uint64
	bytes   atomic.Uint64 // of acknowledged values
	waited  atomic.Uint64 // times that nothing could be sent
	moved   atomic.Uint64 // records that the member read that comes and goes
	last    atomic.Int64  // when a record was acknowledged last, Unix nanoseconds
	longest atomic.Int64  // between two of those
}

// flow is what is on its way through one partition.
type flow struct {
	sent, read atomic.Int64 // bytes
	unacked    [eventProducers]atomic.Int64
}

func newEvents(c *cluster) *events {
	e := &events{c: c, flows: make([]flow, eventParts)}
	for p := range int32(eventParts) {
		e.parts = append(e.parts, newEventPartition("events", p, eventProducers, c.bad))
	}
	for range eventProducers {
		e.pacers = append(e.pacers, newPacer(unthrottled))
	}
	return e
}

// setRate sets that of all producers together.
func (e *events) setRate(rate float64) {
	for _, p := range e.pacers {
		p.set(rate / eventProducers)
	}
}

// write is one producer, until ctx ends and all that it sent is acknowledged.
func (e *events) write(ctx context.Context, producer int) {
	codec := kgo.NoCompression()
	if producer > 0 {
		codec = kgo.Lz4Compression()
	}
	cl, err := e.c.client(&line{}, kgo.ProducerBatchCompression(codec), kgo.ProducerLinger(linger), kgo.MaxBufferedRecords(2*maxUnacked*eventParts))
	if err != nil {
		e.c.bad.add("events: %v", err)
		return
	}
	defer cl.Close()
	sending, cancel := lasting(ctx, flushLimit)
	defer cancel()
	var numbers [eventParts]uint64
	for step := 0; e.pacers[producer].wait(ctx, burst); step++ {
		p, ok := e.place(producer, step)
		if !ok {
			e.waited.Add(1)
			pause(ctx, 5*time.Millisecond)
			continue
		}
		for range burst {
			e.send(sending, cl, producer, p, numbers[p])
			numbers[p]++
		}
	}
	flush(cl, e.c.bad, "events")
}

// place is the next partition that takes records.
func (e *events) place(producer, step int) (int32, bool) {
	for i := range eventParts {
		p := (step + i) % eventParts
		f := &e.flows[p]
		if f.unacked[producer].Load() < maxUnacked && f.sent.Load()-f.read.Load() < maxBehind {
			return int32(p), true
		}
	}
	return 0, false
}

// sizeOf is between 100 and 1000 bytes.
func sizeOf(number uint64) int { return 100 + int(number*2654435761>>16%901) }

func (e *events) send(ctx context.Context, cl *kgo.Client, producer int, p int32, number uint64) {
	value := mark{kind: 'e', producer: uint8(producer), partition: uint16(p), number: number}.value(sizeOf(number))
	f, size, began := &e.flows[p], len(value), time.Now()
	f.sent.Add(int64(size))
	f.unacked[producer].Add(1)
	cl.Produce(ctx, &kgo.Record{Topic: "events", Partition: p, Value: value}, func(r *kgo.Record, err error) {
		f.unacked[producer].Add(-1)
		if err != nil {
			e.c.bad.add("events-%d: number %d of producer %d failed: %v", p, number, producer, err)
			return
		}
		now := time.Now()
		e.parts[p].ledgers[producer].ack(number, r.Offset)
		e.latency.add(now.Sub(began))
		e.acked.Add(1)
		e.bytes.Add(uint64(size))
		if before := e.last.Swap(now.UnixNano()); before > 0 {
			raise(&e.longest, now.UnixNano()-before)
		}
	})
}

func raise(v *atomic.Int64, to int64) {
	for at := v.Load(); to > at && !v.CompareAndSwap(at, to); at = v.Load() {
	}
}

// flush waits for what was sent; nothing is given up before.
func flush(cl *kgo.Client, bad *findings, topic string) {
	ctx, cancel := context.WithTimeout(context.Background(), flushLimit)
	defer cancel()
	if err := cl.Flush(ctx); err != nil {
		bad.add("%s: %d records are not acknowledged %v after the last one was sent: %v", topic, cl.BufferedProduceRecords(), flushLimit, err)
	}
}

const flushLimit = 2 * time.Minute

// counts are those of all partitions.
func (e *events) counts() (acked, read, repeated uint64) {
	for _, p := range e.parts {
		a, r, again := p.counts()
		acked, read, repeated = acked+a, read+r, repeated+again
	}
	return acked, read, repeated
}

func (e *events) settle() {
	for _, p := range e.parts {
		for _, l := range p.ledgers {
			l.settle()
		}
	}
}

// writers starts all producers.
func (e *events) writers(ctx context.Context, wg *sync.WaitGroup) {
	for p := range eventProducers {
		wg.Go(func() { e.write(ctx, p) })
	}
}
