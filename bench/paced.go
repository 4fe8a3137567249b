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

// pacedSpec sends batches at a fixed rate to the partitions in turn, on a connection
// for each, and measures the time from when one was meant to be sent to its answer.
type pacedSpec struct {
	leaders     []string // by partition
	topic       string
	acks        int16
	batchBytes  int
	recordBytes int
	rate        float64 // requests a second over all partitions
	skip        time.Duration
	run         time.Duration
}

// pace calls send(i) at start + i/rate until run is over or ctx is done. It sleeps
// with nanosleep on a thread of its own: a Go timer overshoots by most of a
// millisecond.
func pace(ctx context.Context, rate float64, total int, send func(i int, due time.Time) error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start := time.Now()
	for i := 0; i < total && ctx.Err() == nil; i++ {
		due := start.Add(time.Duration(float64(i) / rate * 1e9))
		for {
			d := time.Until(due)
			if d <= 0 {
				break
			}
			ts := unix.NsecToTimespec(int64(min(d, 100*time.Millisecond)))
			unix.Nanosleep(&ts, nil)
			if ctx.Err() != nil {
				return nil
			}
		}
		if err := send(i, due); err != nil {
			return err
		}
	}
	return nil
}

// runPaced ends early, and without an error, when ctx is done.
func runPaced(ctx context.Context, s pacedSpec) (*hist, error) {
	n := recordsFor(s.batchBytes, s.recordBytes)
	frames := make([][]byte, len(s.leaders))
	conns := make([]net.Conn, len(s.leaders))
	due := make([]chan time.Time, len(s.leaders))
	total := int(s.rate * (s.skip + s.run).Seconds())
	for p, addr := range s.leaders {
		batch, err := buildBatch(rand.New(rand.NewPCG(uint64(p), 7)), n, s.recordBytes, codecNone)
		if err != nil {
			return nil, err
		}
		frames[p] = produceFrame(s.topic, int32(p), s.acks, batch)
		if conns[p], err = net.Dial("tcp", addr); err != nil {
			return nil, err
		}
		defer conns[p].Close()
		conns[p].SetDeadline(time.Now().Add(s.skip + s.run + 30*time.Second))
		due[p] = make(chan time.Time, total/len(s.leaders)+1)
	}
	hists := make([]hist, len(conns))
	errs := make([]error, len(conns)+1)
	var wg sync.WaitGroup
	for p := range conns {
		wg.Add(1)
		go func() {
			defer wg.Done()
			errs[p] = drainPaced(conns[p], due[p], time.Now().Add(s.skip), &hists[p])
		}()
	}
	errs[len(conns)] = pace(ctx, s.rate, total, func(i int, at time.Time) error {
		p := i % len(conns)
		due[p] <- at
		_, err := conns[p].Write(frames[p])
		return err
	})
	for p := range due {
		close(due[p])
	}
	wg.Wait()
	out := &hist{}
	for i, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("paced load, connection %d: %w", i, err)
		}
		if i < len(hists) {
			out.merge(&hists[i])
		}
	}
	return out, nil
}

// meanwhile runs a load until stop is called, which returns what it measured.
func meanwhile(ctx context.Context, s pacedSpec) (stop func() (*hist, error)) {
	ctx, cancel := context.WithCancel(ctx)
	var h *hist
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		h, err = runPaced(ctx, s)
	}()
	return func() (*hist, error) {
		cancel()
		<-done
		return h, err
	}
}

func drainPaced(c net.Conn, due <-chan time.Time, from time.Time, h *hist) error {
	r := bufio.NewReaderSize(c, 16<<10)
	var buf []byte
	var err error
	for at := range due {
		if buf, err = readFrame(r, buf); err != nil {
			return err
		}
		if _, err := checkProduce(buf); err != nil {
			return err
		}
		if at.After(from) {
			h.add(time.Since(at).Microseconds())
		}
	}
	return nil
}

// stamped is a produce frame of one record that carries the moment at which it was
// meant to be sent. That stands right behind the record's varints, whose lengths
// depend on the value's size only.
type stamped struct{ frame, batch, stamp []byte }

func newStamped(topic string, partition int32, acks int16, size int) (stamped, error) {
	batch, err := buildBatch(rand.New(rand.NewPCG(1, 1)), 1, size, codecNone)
	if err != nil {
		return stamped{}, err
	}
	frame := produceFrame(topic, partition, acks, batch)
	at := findBatch(frame, batch)
	body := frame[at : at+len(batch)]
	return stamped{frame: frame, batch: body, stamp: body[len(body)-1-size:]}, nil
}

func (s stamped) set(t time.Time) {
	binary.BigEndian.PutUint64(s.stamp, uint64(t.UnixNano()))
	binary.BigEndian.PutUint32(s.batch[17:], crc32.Checksum(s.batch[21:], castagnoli))
}

func findBatch(frame, batch []byte) int {
	for i := len(frame) - len(batch); i > 0; i-- {
		if string(frame[i:i+len(batch)]) == string(batch) {
			return i
		}
	}
	return -1
}
