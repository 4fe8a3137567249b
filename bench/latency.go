package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"sync"
	"time"
)

// latencySpec sends single records at a fixed rate and reads them at the tail; a
// record carries the moment at which it was meant to be sent.
type latencySpec struct {
	addr        string
	topic       string
	rate        int // records a second
	recordBytes int
	acks        int16
	readers     int // at the tail, each of all records
	warm, run   time.Duration
}

// drainLimit is how long a server may take for what it is behind with at the end of a
// run. One that does not keep up with the rate is measured with its queue.
const drainLimit = 2 * time.Minute

func runLatency(ctx context.Context, s latencySpec) (*hist, error) {
	ctx, cancel := context.WithTimeout(ctx, s.warm+s.run+drainLimit)
	defer cancel()
	pc, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return nil, err
	}
	defer pc.Close()
	end := time.Now().Add(s.warm + s.run + drainLimit)
	pc.SetDeadline(end)
	readers := make([]net.Conn, max(1, s.readers))
	for i := range readers {
		if readers[i], err = (&net.Dialer{}).DialContext(ctx, "tcp", s.addr); err != nil {
			return nil, err
		}
		defer readers[i].Close()
		readers[i].SetDeadline(end)
	}

	total := int(float64(s.rate) * (s.warm + s.run).Seconds())
	skip := int(float64(s.rate) * s.warm.Seconds())
	hists := make([]hist, len(readers))
	errs := make([]error, 2+len(readers))
	var wg sync.WaitGroup
	wg.Add(len(errs))
	go func() { defer wg.Done(); errs[0] = paceRecords(pc, s, total) }()
	go func() { defer wg.Done(); errs[1] = drainAcks(pc, total) }()
	for i, c := range readers {
		go func() { defer wg.Done(); errs[2+i] = tailRecords(c, s, total, skip, &hists[i]) }()
	}
	wg.Wait()
	out := &hist{}
	for i, err := range errs {
		switch {
		case err == nil:
		case i == 0:
			return nil, fmt.Errorf("sending: %w", err)
		case i == 1:
			return nil, fmt.Errorf("reading acknowledgements: %w", err)
		default:
			return nil, fmt.Errorf("reading the tail: %w", err)
		}
		if i >= 2 {
			out.merge(&hists[i-2])
		}
	}
	return out, nil
}

func paceRecords(c net.Conn, s latencySpec, total int) error {
	f, err := newStamped(s.topic, 0, s.acks, s.recordBytes)
	if err != nil {
		return err
	}
	return pace(context.Background(), float64(s.rate), total, func(_ int, due time.Time) error {
		f.set(due)
		_, err := c.Write(f.frame)
		return err
	})
}

func drainAcks(c net.Conn, total int) error {
	r := bufio.NewReaderSize(c, 16<<10)
	var buf []byte
	var err error
	for i := 0; i < total; i++ {
		if buf, err = readFrame(r, buf); err != nil {
			return err
		}
		if _, err := checkProduce(buf); err != nil {
			return err
		}
	}
	return nil
}

// tailRecords long-polls from offset 0 and measures each record of one partition.
func tailRecords(c net.Conn, s latencySpec, total, skip int, out *hist) error {
	r := bufio.NewReaderSize(c, 64<<10)
	var buf []byte
	var offset int64
	for seen := 0; seen < total; {
		if _, err := c.Write(fetchFrame(s.topic, 0, offset, 1<<20, 1, 500)); err != nil {
			return err
		}
		var err error
		if buf, err = readFrame(r, buf); err != nil {
			return err
		}
		recs, _, err := fetched(buf)
		if err != nil {
			return err
		}
		now := time.Now().UnixNano()
		for len(recs) >= 61 {
			size := 12 + int(binary.BigEndian.Uint32(recs[8:]))
			if size > len(recs) {
				break
			}
			stamp := int64(binary.BigEndian.Uint64(recs[size-1-s.recordBytes:]))
			if seen++; seen > skip {
				out.add((now - stamp) / 1000)
			}
			offset = int64(binary.BigEndian.Uint64(recs)) + 1
			recs = recs[size:]
		}
	}
	return nil
}
