package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const fanoutReaders = 20

// fanoutSpec is one producer, with a connection a partition, and many readers of
// everything, with a connection a partition each, all at once.
type fanoutSpec struct {
	leaders     []string // by partition
	topic       string
	readers     int
	batchBytes  int
	recordBytes int
	totalBytes  int64 // produced
	limit       time.Duration
}

type fanoutResult struct {
	delivered int64
	took      time.Duration // until the last reader has the last byte
}

func runFanout(ctx context.Context, s fanoutSpec) (fanoutResult, error) {
	ctx, cancel := context.WithTimeout(ctx, s.limit)
	defer cancel()
	n := recordsFor(s.batchBytes, s.recordBytes)
	parts := len(s.leaders)
	var delivered atomic.Int64
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	run := func(addr string, f func(c net.Conn) error) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
			if err == nil {
				defer c.Close()
				c.SetDeadline(time.Now().Add(s.limit))
				err = f(c)
			}
			if err != nil {
				cancel()
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		}()
	}
	start := time.Now()
	for p, addr := range s.leaders {
		batch, err := buildBatch(rand.New(rand.NewPCG(uint64(p), 7)), n, s.recordBytes, codecNone)
		if err != nil {
			return fanoutResult{}, err
		}
		requests := max(1, s.totalBytes/int64(parts)/int64(len(batch)))
		frame := produceFrame(s.topic, int32(p), -1, batch)
		run(addr, func(c net.Conn) error {
			var left atomic.Int64
			left.Store(requests * int64(len(batch)))
			var res produceResult
			return produceConn(c, [][]byte{frame}, 0, 5, int64(len(batch)), &left, start.Add(s.limit), &res)
		})
		for range s.readers {
			run(addr, func(c net.Conn) error {
				got, err := readUpTo(ctx, c, s.topic, int32(p), requests*int64(n))
				delivered.Add(got)
				return err
			})
		}
	}
	wg.Wait()
	return fanoutResult{delivered: delivered.Load(), took: time.Since(start)}, errors.Join(errs...)
}

// readUpTo reads one partition from its start until offset end.
func readUpTo(ctx context.Context, c net.Conn, topic string, partition int32, end int64) (int64, error) {
	r := bufio.NewReaderSize(c, 64<<10)
	var buf []byte
	var at, got int64
	for at < end {
		if err := ctx.Err(); err != nil {
			return got, fmt.Errorf("%s-%d read to %d of %d: %w", topic, partition, at, end, err)
		}
		if _, err := c.Write(fetchFrame(topic, partition, at, 1<<20, 1, 500)); err != nil {
			return got, err
		}
		var err error
		if buf, err = readFrame(r, buf); err != nil {
			return got, err
		}
		recs, _, err := fetched(buf)
		if err != nil {
			return got, err
		}
		next, bytes, _ := nextOffset(recs, at)
		at = next
		got += int64(bytes)
	}
	return got, nil
}

func row5a(ctx context.Context, b *bench, r row) error {
	got, err := b.interleave(ctx, b.has(gregor, kafka), func(kind string) (map[string]float64, error) {
		c, err := b.use(ctx, kind, triple)
		if err != nil {
			return nil, err
		}
		var res fanoutResult
		cpu, err := b.measured(ctx, c, 3, topicConfigs, func(topic string, leaders []string) error {
			var err error
			res, err = runFanout(ctx, fanoutSpec{leaders: leaders, topic: topic, readers: fanoutReaders, batchBytes: 256 << 10, recordBytes: 1000, totalBytes: b.bytes(384 << 20), limit: time.Minute})
			return err
		})
		if err != nil {
			return nil, err
		}
		gb := float64(res.delivered) / 1e9
		return map[string]float64{"GB/s delivered": gb / res.took.Seconds(), "broker CPU-s a GB delivered": cpu.Seconds() / gb}, nil
	})
	if err != nil {
		return err
	}
	b.report(r, r.workload, got, metric{"GB/s delivered", false, 1.5}, metric{"broker CPU-s a GB delivered", true, 0.6})
	return nil
}

func row5b(ctx context.Context, b *bench, r row) error {
	got, err := b.interleave(ctx, b.has(gregor, kafka), func(kind string) (map[string]float64, error) {
		return b.tail(ctx, r, r.workload, kind, latencySpec{rate: 2000, recordBytes: 1000, readers: fanoutReaders, warm: 2 * time.Second, run: b.seconds(8)})
	})
	if err != nil {
		return err
	}
	b.report(r, r.workload, got, metric{"broker CPU us a record", true, 1.0 / 4}, metric{"p50 us", true, 0}, metric{"p99 us", true, 1.0 / 5})
	return nil
}
