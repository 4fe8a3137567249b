package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// produceSpec is one bounded produce load.
type produceSpec struct {
	addr        string
	leaders     []string // by partition; nil where addr leads them all
	topic       string
	partitions  int
	conns       int
	inFlight    int
	batchBytes  int
	recordBytes int
	records     int // a batch; 0 derives it from batchBytes
	codec       int
	acks        int16
	totalBytes  int64         // stop after this much of batches
	limit       time.Duration // and after this long in any case
}

// produceResult is what a load saw.
type produceResult struct {
	requests, records, bytes int64
	rawBytes                 int64 // of the records before compression
	took                     time.Duration
	lat                      hist // of a request, first byte out to answer in
}

func (r produceResult) recordsPerSec() float64 { return float64(r.records) / r.took.Seconds() }
func (r produceResult) mbPerSec() float64      { return float64(r.bytes) / 1e6 / r.took.Seconds() }
func (r produceResult) rawMBPerSec() float64   { return float64(r.rawBytes) / 1e6 / r.took.Seconds() }
func (r produceResult) requestsPerSec() float64 {
	return float64(r.requests) / r.took.Seconds()
}

// runProduce opens the connections, then runs the load until its bound.
func runProduce(ctx context.Context, s produceSpec) (produceResult, error) {
	ctx, cancel := context.WithTimeout(ctx, s.limit+30*time.Second)
	defer cancel()
	n := s.records
	if n == 0 {
		n = recordsFor(s.batchBytes, s.recordBytes)
	}
	var addrs []string
	frames := map[string][][]byte{} // by the address of their leader
	var batchLen int
	for p := range s.partitions {
		b, err := buildBatch(rand.New(rand.NewPCG(uint64(p), 7)), n, s.recordBytes, s.codec)
		if err != nil {
			return produceResult{}, err
		}
		batchLen = len(b)
		addr := s.addr
		if s.leaders != nil {
			addr = s.leaders[p]
		}
		if frames[addr] == nil {
			addrs = append(addrs, addr)
		}
		frames[addr] = append(frames[addr], produceFrame(s.topic, int32(p), s.acks, b))
	}
	conns := make([]net.Conn, s.conns)
	for i := range conns {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addrs[i%len(addrs)])
		if err != nil {
			return produceResult{}, fmt.Errorf("connection %d of %d to %s: %w", i+1, s.conns, addrs[i%len(addrs)], err)
		}
		defer c.Close()
		conns[i] = c
	}

	var left atomic.Int64
	left.Store(s.totalBytes)
	results := make([]produceResult, s.conns)
	errs := make([]error, s.conns)
	var wg sync.WaitGroup
	start := time.Now()
	deadline := start.Add(s.limit)
	for i, c := range conns {
		wg.Add(1)
		go func() {
			defer wg.Done()
			errs[i] = produceConn(c, frames[addrs[i%len(addrs)]], i/len(addrs), s.inFlight, int64(batchLen), &left, deadline, &results[i])
		}()
	}
	wg.Wait()
	total := produceResult{took: time.Since(start)}
	for i := range results {
		if errs[i] != nil {
			return total, fmt.Errorf("connection %d: %w", i, errs[i])
		}
		total.requests += results[i].requests
		total.lat.merge(&results[i].lat)
	}
	total.records = total.requests * int64(n)
	total.bytes = total.requests * int64(batchLen)
	total.rawBytes = total.records * int64(s.recordBytes)
	return total, nil
}

// produceConn keeps inFlight requests on one connection until the shared budget
// or the deadline is reached, and checks every answer. Its requests go to the
// partitions in turn, beginning with first.
func produceConn(c net.Conn, frames [][]byte, first, inFlight int, size int64, left *atomic.Int64, deadline time.Time, res *produceResult) error {
	if err := c.SetDeadline(deadline.Add(20 * time.Second)); err != nil {
		return err
	}
	r := bufio.NewReaderSize(c, 16<<10)
	sent := make([]time.Time, inFlight)
	var out, in int64
	var buf []byte
	more := true
	for {
		for more && out-in < int64(inFlight) {
			now := time.Now()
			if left.Add(-size) < -size || now.After(deadline) {
				more = false
				break
			}
			sent[out%int64(inFlight)] = now
			if _, err := c.Write(frames[(int64(first)+out)%int64(len(frames))]); err != nil {
				return fmt.Errorf("sending request %d: %w", out, err)
			}
			out++
		}
		if in == out {
			return nil
		}
		var err error
		if buf, err = readFrame(r, buf); err != nil {
			return fmt.Errorf("reading answer %d: %w", in, err)
		}
		if _, err := checkProduce(buf); err != nil {
			return err
		}
		res.lat.add(time.Since(sent[in%int64(inFlight)]).Microseconds())
		in++
		res.requests = in
	}
}

func readFrame(r io.Reader, buf []byte) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return buf, err
	}
	n := int(binary.BigEndian.Uint32(head[:]))
	if n > 256<<20 {
		return buf, fmt.Errorf("an answer of %d bytes", n)
	}
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	_, err := io.ReadFull(r, buf)
	return buf, err
}
