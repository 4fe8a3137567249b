package cli

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"
	"time"
)

// maxLatencySamples bounds the latencies that are kept for the percentiles.
const maxLatencySamples = 500000

// perfWindow are the sums of the whole run or of one reporting interval.
type perfWindow struct {
	start     time.Time
	count     int64
	bytes     int64
	latencyMs int64
	maxMs     int64
}

func (w *perfWindow) add(latencyMs int64, bytes int) {
	w.count++
	w.bytes += int64(bytes)
	w.latencyMs += latencyMs
	w.maxMs = max(w.maxMs, latencyMs)
}

// rates are records and megabytes a second until now.
func (w *perfWindow) rates(now time.Time) (records, megabytes float64) {
	ms := float64(now.Sub(w.start).Milliseconds())
	return 1000 * float64(w.count) / ms, 1000 * float64(w.bytes) / ms / bytesPerMB
}

// phase is what is measured over all records, or over those of the steady state.
type phase struct {
	total, window perfWindow
	steady        bool
	quiet         bool // prints no more windows
	sampling      int64
	latencies     []int64
}

func newPhase(records int64, steady bool, now time.Time) *phase {
	return &phase{
		total: perfWindow{start: now}, window: perfWindow{start: now}, steady: steady,
		sampling: records / min(records, maxLatencySamples),
	}
}

// perfStats collects the latencies of acknowledged records. mu guards all of it;
// the client's callbacks and the sending goroutine share it.
type perfStats struct {
	mu         sync.Mutex
	out        io.Writer
	records    int64
	warmup     int64
	intervalMs int64
	all        *phase
	steady     *phase // nil before the steady state
}

func newPerfStats(out io.Writer, records, warmup, intervalMs int64, now time.Time) *perfStats {
	return &perfStats{out: out, records: records, warmup: warmup, intervalMs: intervalMs, all: newPhase(records, false, now)}
}

// beginSteadyState ends the warm-up.
func (s *perfStats) beginSteadyState(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steady = newPhase(s.records-s.warmup, true, now)
	s.all.quiet = true
}

// record notes an acknowledged record.
func (s *perfStats) record(latencyMs int64, bytes int, now time.Time, steady bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note(s.all, latencyMs, bytes, now)
	if steady {
		s.note(s.steady, latencyMs, bytes, now)
	}
}

func (s *perfStats) note(p *phase, latencyMs int64, bytes int, now time.Time) {
	if p.total.count%p.sampling == 0 {
		p.latencies = append(p.latencies, latencyMs)
	}
	p.total.add(latencyMs, bytes)
	p.window.add(latencyMs, bytes)
	if now.Sub(p.window.start).Milliseconds() < s.intervalMs {
		return
	}
	if p.steady && p.total.count == p.window.count {
		fmt.Fprintln(s.out, "In steady state.")
	}
	if !p.quiet {
		records, mb := p.window.rates(now)
		fmt.Fprintf(s.out, "%d records sent, %s records/sec (%s MB/sec), %s ms avg latency, %s ms max latency.\n", p.window.count,
			javaFixed(records, 1), javaFixed(mb, 2), javaFixed(float64(p.window.latencyMs)/float64(p.window.count), 1), javaFixed(float64(p.window.maxMs), 1))
	}
	p.window = perfWindow{start: now}
}

// failure reports a record that was not acknowledged.
func (s *perfStats) failure(w io.Writer, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintln(w, reason(err))
}

// acknowledged is the number of records that were.
func (s *perfStats) acknowledged() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.total.count
}

func (s *perfStats) printTotals(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.printTotal(s.all, "", now)
	if s.steady != nil {
		s.printTotal(s.steady, " steady state", now)
	}
}

func (s *perfStats) printTotal(p *phase, what string, now time.Time) {
	records, mb := p.total.rates(now)
	pc := percentiles(p.latencies, 0.5, 0.95, 0.99, 0.999)
	fmt.Fprintf(s.out, "%d%s records sent, %s records/sec (%s MB/sec), %s ms avg latency, %s ms max latency, %d ms 50th, %d ms 95th, %d ms 99th, %d ms 99.9th.\n",
		p.total.count, what, javaFixed(records, 6), javaFixed(mb, 2), javaFixed(float64(p.total.latencyMs)/float64(p.total.count), 2),
		javaFixed(float64(p.total.maxMs), 2), pc[0], pc[1], pc[2], pc[3])
}

// percentiles sorts values and picks from them; zeros when there are none.
func percentiles(values []int64, at ...float64) []int64 {
	slices.Sort(values)
	picked := make([]int64, len(at))
	for i, p := range at {
		if len(values) > 0 {
			picked[i] = values[int(p*float64(len(values)))]
		}
	}
	return picked
}

// minSleep is how much waiting a throttler gathers before it waits at all.
const minSleep = 2 * time.Millisecond

// throttler keeps the sending to a number of records a second.
type throttler struct {
	start   time.Time
	target  float64
	each    time.Duration
	deficit time.Duration
}

func newThrottler(target float64, start time.Time) *throttler {
	t := &throttler{start: start, target: target}
	if target > 0 {
		t.each = time.Duration(min(float64(time.Second)/target, math.MaxInt64/4))
	}
	return t
}

// exceeded says that so many records by now are too many.
func (t *throttler) exceeded(soFar int64, now time.Time) bool {
	seconds := now.Sub(t.start).Seconds()
	return t.target >= 0 && seconds > 0 && float64(soFar)/seconds > t.target
}

// wait waits a record's share of time; with a target of 0 until ctx ends.
func (t *throttler) wait(ctx context.Context) {
	if t.target == 0 {
		<-ctx.Done()
		return
	}
	if t.deficit += t.each; t.deficit < minSleep {
		return
	}
	timer := time.NewTimer(t.deficit)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	t.deficit = 0
}
