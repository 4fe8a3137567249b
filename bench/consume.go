package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"sync"
	"time"
)

// consumeSpec reads what is in a topic, each consumer all partitions that fall to it.
type consumeSpec struct {
	addr       string
	topic      string
	partitions int
	consumers  int   // partition p belongs to consumer p mod consumers
	totalBytes int64 // over all consumers
	limit      time.Duration
	fetchBytes int32
}

type consumeResult struct {
	bytes, records int64
	took           time.Duration
}

func (r consumeResult) gbPerSec() float64 { return float64(r.bytes) / 1e9 / r.took.Seconds() }

func runConsume(ctx context.Context, s consumeSpec) (consumeResult, error) {
	ctx, cancel := context.WithTimeout(ctx, s.limit+30*time.Second)
	defer cancel()
	results := make([]consumeResult, s.consumers)
	errs := make([]error, s.consumers)
	var wg sync.WaitGroup
	start := time.Now()
	for i := 0; i < s.consumers; i++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			c, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.addr)
			if err != nil {
				errs[i] = err
				return
			}
			defer c.Close()
			errs[i] = consumeConn(c, s, i, start.Add(s.limit), &results[i])
		}()
	}
	wg.Wait()
	total := consumeResult{took: time.Since(start)}
	for i := range results {
		if errs[i] != nil {
			return total, fmt.Errorf("consumer %d: %w", i, errs[i])
		}
		total.bytes += results[i].bytes
		total.records += results[i].records
	}
	return total, nil
}

// consumeConn reads its partitions in turn, one fetch in flight, and goes back to
// offset 0 at the end, until its share of the bytes is read.
func consumeConn(c net.Conn, s consumeSpec, who int, deadline time.Time, res *consumeResult) error {
	if err := c.SetDeadline(deadline.Add(20 * time.Second)); err != nil {
		return err
	}
	r := bufio.NewReaderSize(c, 64<<10)
	offsets := make([]int64, s.partitions)
	var buf []byte
	share := s.totalBytes / int64(s.consumers)
	for p := who % s.partitions; res.bytes < share && time.Now().Before(deadline); p = (p + s.consumers) % s.partitions {
		if _, err := c.Write(fetchFrame(s.topic, int32(p), offsets[p], s.fetchBytes, 1, 500)); err != nil {
			return err
		}
		var err error
		if buf, err = readFrame(r, buf); err != nil {
			return err
		}
		recs, hw, err := fetched(buf)
		if err != nil {
			return err
		}
		next, bytes, n := nextOffset(recs, offsets[p])
		if bytes == 0 && hw == 0 {
			return fmt.Errorf("partition %d of %s is empty", p, s.topic)
		}
		res.bytes += int64(bytes)
		res.records += int64(n)
		if offsets[p] = next; next >= hw {
			offsets[p] = 0
		}
	}
	return nil
}
