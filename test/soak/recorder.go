//go:build linux

package main

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"time"
)

const (
	sampleEvery = 10 * time.Second
	// minuteSamples is how many samples make one line of progress.
	minuteSamples = 6
	// judged is the shortest run whose series are judged.
	judged = 10 * time.Minute
)

// recorder takes samples. They are all that it keeps of a run: some forty numbers each
// ten seconds. Its fields belong to the goroutine that runs it, then to the one that waits.
type recorder struct {
	s     *soak
	began time.Time

	node      [nodes][][]sample // by measure
	windows   windows
	heap      []sample // MiB, of this process
	disk      []sample // MiB
	minute    tally
	lastAcked uint64
	sampled   machine // at the last sample
	machine   machine // a minute ago
	silent    int     // samples that a node that runs did not give
	steady    uint64  // events acknowledged when the steady load began
	steadyEnd uint64  // and when it ended
}

func newRecorder(s *soak) *recorder {
	now := machineNow()
	r := &recorder{s: s, began: time.Now(), sampled: now, machine: now, lastAcked: s.events.acked.Load(), steady: s.events.acked.Load()}
	for i := range r.node {
		r.node[i] = make([][]sample, len(measures))
	}
	s.events.latency.take()
	return r
}

// run takes samples until ctx ends.
func (r *recorder) run(ctx context.Context) {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		at := time.Since(r.began)
		for i, p := range r.s.cluster.nodes {
			r.sampleNode(ctx, i, p, at)
		}
		r.sampleClient(at)
		if n%minuteSamples == 0 {
			r.progress(at)
		}
	}
}

func (r *recorder) sampleNode(ctx context.Context, i int, p *process, at time.Duration) {
	life, age, up := p.running()
	if !up {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, sampleEvery/4)
	defer cancel()
	got, err := scrape(ctx, p.http)
	if err != nil {
		if now, _, up := p.running(); up && now == life && age > young {
			r.silent++
		}
		return
	}
	for m, x := range measures {
		v, ok := got[x.metric]
		if !ok {
			r.s.bad.add("node %d has no metric %s", p.id, x.metric)
			continue
		}
		r.node[i][m] = append(r.node[i][m], sample{at, age, life, v / x.unit})
	}
	for _, name := range never {
		if v := got[name]; v != 0 {
			r.s.bad.add("node %d: %s is %v", p.id, name, v)
		}
	}
}

func (r *recorder) sampleClient(at time.Duration) {
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	r.heap = append(r.heap, sample{at: at, age: at, value: float64(mem.HeapAlloc) / (1 << 20)})
	var total int64
	for _, p := range r.s.cluster.nodes {
		total += disk(p.data())
	}
	r.disk = append(r.disk, sample{at: at, age: at, value: float64(total) / (1 << 20)})
	if total>>20 > r.s.opts.maxDisk {
		r.s.bad.add("the data directories have %d MiB, more than %d", total>>20, r.s.opts.maxDisk)
	}
	now := machineNow()
	w := r.s.events.latency.take()
	r.minute.merge(w)
	r.windows.add(at, w, r.s.killer.quiet(), now.stolenSince(r.sampled))
	r.sampled = now
}

// progress prints a line.
func (r *recorder) progress(at time.Duration) {
	acked, read, _ := r.s.events.counts()
	total := r.s.events.acked.Load()
	kills, _, _ := r.s.killer.counts()
	fmt.Printf("%4.0f min: %.0f events/s, readers %d behind, p50 %.1f ms, p99 %.1f ms", at.Minutes(),
		float64(total-r.lastAcked)/(minuteSamples*sampleEvery.Seconds()), max(int64(acked)-int64(read), 0), ms(r.minute.quantile(0.5)), ms(r.minute.quantile(0.99)))
	for m, x := range measures {
		var values []string
		for i := range r.node {
			v := "-"
			if s := r.node[i][m]; len(s) > 0 {
				v = fmt.Sprintf("%.0f", s[len(s)-1].value)
			}
			values = append(values, v)
		}
		fmt.Printf(", %s %s", x.title, strings.Join(values, "/"))
	}
	now := machineNow()
	fmt.Printf(", disk %.0f MiB, %s, %d kills, %d failures\n", r.disk[len(r.disk)-1].value, now.since(r.machine, minuteSamples*sampleEvery.Seconds()), kills, r.s.bad.count())
	r.lastAcked, r.minute, r.machine = total, tally{}, now
}

// verdicts judges every series of a run that took so long.
func (r *recorder) verdicts(took time.Duration) (out []verdict) {
	for i := range r.node {
		for m, x := range measures {
			title := fmt.Sprintf("node %d %s", i+1, x.title)
			if took < judged {
				out = append(out, byRun(title, r.node[i][m], took, x.slack))
				continue
			}
			out = append(out, byLives(title, r.node[i][m], x.slack), byAge(title, r.node[i][m], took, x.slack))
		}
	}
	return append(out,
		byTheft("produce p50 ms", r.windows.all, func(w window) float64 { return w.p50 }, took, 2),
		byTheft("produce p99 ms", r.windows.all, func(w window) float64 { return w.p99 }, took, 15),
		byRun("disk MiB", r.disk, took, 256), byRun("soak's heap MiB", r.heap, took, 48))
}
