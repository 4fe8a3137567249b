//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	opts, err := parseOptions(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		err = run(ctx, opts)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

// soak is one run.
type soak struct {
	opts     *options
	bad      *findings
	cluster  *cluster
	events   *events
	table    *table
	pairs    *pairs
	copies   *copies
	killer   *killer
	recorder *recorder
	moves    atomic.Int64
	maximum  float64 // events a second, as measured
	rate     float64 // as the load runs
}

func run(ctx context.Context, opts *options) error {
	dir, err := os.MkdirTemp(opts.dir, "gregor-soak-")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	bad := &findings{full: cancel}
	c, err := newCluster(opts.bin, dir, bad)
	if err != nil {
		return fmt.Errorf("%w; what is left is in %s", err, dir)
	}
	defer c.kill()
	if err := c.start(ctx); err != nil {
		return fmt.Errorf("%w; what is left is in %s", err, dir)
	}
	s := &soak{opts: opts, bad: bad, cluster: c, events: newEvents(c), table: newTable(c), pairs: newPairs(c), copies: newCopies(c), killer: &killer{c: c}}
	took := s.work(ctx)
	c.stop()
	c.doctor()
	if s.recorder == nil {
		return fmt.Errorf("ended before the steady load began, %d failures; what is left is in %s", bad.count(), dir)
	}
	rows, notFlat := printVerdicts(os.Stdout, s.recorder.verdicts(took), took, bad)
	fmt.Println(s.summary(took, rows, notFlat))
	if bad.count() > 0 {
		return fmt.Errorf("%d failures; what is left is in %s", bad.count(), dir)
	}
	if opts.keep {
		fmt.Println("the directories are in", dir)
		return nil
	}
	return os.RemoveAll(dir)
}

// work runs the load and returns how long it was steady. Whoever reads goes on until all
// that was written is read.
func (s *soak) work(ctx context.Context) (took time.Duration) {
	reading, stopReading := context.WithCancel(context.Background())
	writing, stopWriting := context.WithCancel(ctx)
	var readers, writers, others sync.WaitGroup
	defer readers.Wait()
	defer stopReading()
	defer stopWriting()
	s.events.group(reading, &readers, s.opts.moveEvery, &s.moves)
	readers.Go(func() { s.table.follow(reading) })
	readers.Go(func() { s.pairs.read(reading) })
	readers.Go(func() { s.copies.read(reading) })
	for n := range copiers {
		readers.Go(func() { s.copies.copy(reading, n) })
	}
	s.events.writers(writing, &writers)
	writers.Go(func() { s.table.write(writing) })
	writers.Go(func() { s.copies.write(writing) })
	for p := range pairProducers {
		writers.Go(func() { s.pairs.write(writing, p) })
	}
	if s.findRate(ctx) {
		s.recorder = newRecorder(s)
		steady, stop := context.WithTimeout(ctx, s.opts.length())
		others.Go(func() { s.killer.run(steady, s.opts.killEvery) })
		others.Go(func() { s.recorder.run(steady) })
		<-steady.Done()
		stop()
		took, s.recorder.steadyEnd = time.Since(s.recorder.began), s.events.acked.Load()
		others.Wait()
	}
	stopWriting()
	fmt.Println("the load ends, the readers read what is left")
	writers.Wait()
	s.drain()
	stopReading()
	readers.Wait()
	s.settle()
	return took
}

const (
	warmUp     = 10 * time.Second
	drainLimit = 3 * time.Minute
)

// findRate measures the maximum and throttles the load; false if ctx ended before.
func (s *soak) findRate(ctx context.Context) bool {
	if s.rate = s.opts.rate; s.rate == 0 {
		fmt.Printf("measuring the maximum for %v\n", s.opts.measure)
		if !pause(ctx, warmUp) {
			return false
		}
		before, began := s.events.acked.Load(), time.Now()
		if !pause(ctx, s.opts.measure) {
			return false
		}
		s.maximum = float64(s.events.acked.Load()-before) / time.Since(began).Seconds()
		s.rate = s.maximum / 2
	}
	if s.opts.maxRate > 0 {
		s.rate = min(s.rate, s.opts.maxRate)
	}
	if s.rate < 1 {
		s.bad.add("the maximum is %.1f events/s", s.maximum)
		return false
	}
	s.events.setRate(s.rate)
	fmt.Printf("%.0f events/s (maximum %s) for %v, beside %d versions, %d orders and %d transactions a second; a kill every %v\n",
		s.rate, s.maximumText(), s.opts.length(), tableRate, orderRate, pairRate*pairProducers, s.opts.killEvery)
	return pause(ctx, warmUp)
}

// drain waits until everything that was acknowledged is read.
func (s *soak) drain() {
	ctx, cancel := context.WithTimeout(context.Background(), drainLimit)
	defer cancel()
	for {
		acked, read, _ := s.events.counts()
		behind, pairs, copies := s.table.check.behind(), s.pairs.waiting(), s.copies.waiting()
		if acked == read && behind == 0 && pairs == 0 && copies == 0 {
			return
		}
		if !pause(ctx, 100*time.Millisecond) {
			s.bad.add("%v after the load ended %d of %d events are read, the last versions of %d keys, %d transactions and %d copies are not",
				drainLimit, read, acked, behind, pairs, copies)
			return
		}
	}
}

// settle judges what can only be judged in the end.
func (s *soak) settle() {
	ctx, cancel := context.WithTimeout(context.Background(), finalLimit+time.Minute)
	defer cancel()
	s.events.settle()
	s.pairs.settle()
	s.copies.settle()
	s.table.settle(ctx)
	starts, _ := s.cluster.bounds(ctx, "events")
	for p, start := range starts {
		if s.events.flows[p].read.Load() > 4*eventRetention && start == 0 {
			s.bad.add("events-%d: retention has deleted nothing of %d bytes", p, s.events.flows[p].read.Load())
		}
	}
}
