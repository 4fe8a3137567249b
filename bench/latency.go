package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// latencySpec sends single records at a fixed rate and reads them at the tail; a
// record carries the moment at which it was meant to be sent.
type latencySpec struct {
	addr        string
	topic       string
	rate        int // records a second
	recordBytes int
	acks        int16
	warm, run   time.Duration
}

// The value's first 8 bytes are the intended time. It stands right behind the
// record's varints, whose lengths depend on the value's size only.
func stampOffset(batch []byte, size int) int { return len(batch) - 1 - size }

func runLatency(ctx context.Context, s latencySpec) (*hist, error) {
	ctx, cancel := context.WithTimeout(ctx, s.warm+s.run+30*time.Second)
	defer cancel()
	pc, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return nil, err
	}
	defer pc.Close()
	cc, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return nil, err
	}
	defer cc.Close()
	end := time.Now().Add(s.warm + s.run + 20*time.Second)
	pc.SetDeadline(end)
	cc.SetDeadline(end)

	total := int(float64(s.rate) * (s.warm + s.run).Seconds())
	skip := int(float64(s.rate) * s.warm.Seconds())
	out := &hist{}
	errs := make([]error, 3)
	var wg sync.WaitGroup
	wg.Add(3)
	go func() { defer wg.Done(); errs[0] = paceRecords(pc, s, total) }()
	go func() { defer wg.Done(); errs[1] = drainAcks(pc, total) }()
	go func() { defer wg.Done(); errs[2] = tailRecords(cc, s, total, skip, out) }()
	wg.Wait()
	for i, who := range []string{"sending", "reading acknowledgements", "reading the tail"} {
		if errs[i] != nil {
			return nil, fmt.Errorf("%s: %w", who, errs[i])
		}
	}
	return out, nil
}

// paceRecords sends record i at start + i/rate. It sleeps with nanosleep on a
// thread of its own: a Go timer overshoots by most of a millisecond.
func paceRecords(c net.Conn, s latencySpec, total int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	batch, err := buildBatch(rand.New(rand.NewPCG(1, 1)), 1, s.recordBytes, codecNone)
	if err != nil {
		return err
	}
	frame := produceFrame(s.topic, 0, s.acks, batch)
	at := findBatch(frame, batch)
	body := frame[at : at+len(batch)]
	stamp := body[stampOffset(body, s.recordBytes):]
	start := time.Now()
	for i := 0; i < total; i++ {
		due := start.Add(time.Duration(float64(i) / float64(s.rate) * 1e9))
		for {
			d := time.Until(due)
			if d <= 0 {
				break
			}
			ts := unix.NsecToTimespec(int64(d))
			unix.Nanosleep(&ts, nil)
		}
		binary.BigEndian.PutUint64(stamp, uint64(due.UnixNano()))
		binary.BigEndian.PutUint32(body[17:], crc32.Checksum(body[21:], castagnoli))
		if _, err := c.Write(frame); err != nil {
			return err
		}
	}
	return nil
}

func findBatch(frame, batch []byte) int {
	for i := len(frame) - len(batch); i > 0; i-- {
		if string(frame[i:i+len(batch)]) == string(batch) {
			return i
		}
	}
	return -1
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
