//go:build linux

package main

import "time"

// robberies are shares of the CPU's time, in percent. A window in which a hypervisor gave
// as much to others says more of them than of the broker: what waits for a tenth of a
// second on one of two CPUs is half of a percent, and is the p99 of ten seconds. The lowest
// share is the limit that leaves both quarters enough windows to be judged by. All four
// series of two quarters have the same limit, and one that is higher makes them noisier,
// not flatter.
var robberies = [...]float64{1, 2, 4, 8}

// windows are the producers' times, ten seconds each.
type windows struct {
	p50, p99  [len(robberies) + 1][]sample // ms, without kills, by how many of robberies were reached
	tallies   [len(robberies) + 1]tally    // the same
	disturbed tally                        // while a node was down or came back
}

// add takes the times since the last window, in which the machine gave that share of the
// CPU, in percent, to others.
func (w *windows) add(at time.Duration, t *tally, quiet bool, stolen float64) {
	if !quiet {
		w.disturbed.merge(t)
		return
	}
	level := 0
	for level < len(robberies) && stolen >= robberies[level] {
		level++
	}
	w.tallies[level].merge(t)
	if t.count() > 0 {
		w.p50[level] = append(w.p50[level], sample{at: at, age: at, value: ms(t.quantile(0.5))})
		w.p99[level] = append(w.p99[level], sample{at: at, age: at, value: ms(t.quantile(0.99))})
	}
}

// enoughWindows is a quarter of those that a quarter of a run has.
func enoughWindows(took time.Duration) int { return max(fewSamples, int(took/(16*sampleEvery))) }

// limit is the index of the limit for a run that took so long. The highest one may leave too few.
func (w *windows) limit(took time.Duration) int {
	for i := range robberies {
		if second, last := quarters(below(w.p50, i), 0, took, func(x sample) time.Duration { return x.at }); min(len(second), len(last)) >= enoughWindows(took) {
			return i
		}
	}
	return len(robberies) - 1
}

// below are the samples of the windows that are judged with limit i.
func below(s [len(robberies) + 1][]sample, i int) (out []sample) {
	for level := range i + 1 {
		out = append(out, s[level]...)
	}
	return out
}

// split adds up the times of the windows that are judged with limit i, and of the others
// without a kill, which are so many.
func (w *windows) split(i int) (judged, robbed tally, robberies int) {
	for level := range w.tallies {
		if level <= i {
			judged.merge(&w.tallies[level])
			continue
		}
		robbed.merge(&w.tallies[level])
		robberies += len(w.p50[level])
	}
	return judged, robbed, robberies
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
