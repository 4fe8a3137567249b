//go:build linux

package main

import "time"

// window is what the producers saw in ten seconds.
type window struct {
	at       time.Duration
	stolen   float64 // percent of the CPUs' time that a hypervisor gave to others
	p50, p99 float64 // ms
}

// robbery is the theft from which on the last line tells the times of windows apart: what
// waits for a tenth of a second on one of two CPUs is half of a percent, and is the p99 of
// ten seconds.
const robbery = 1.0

// windows are the producers' times.
type windows struct {
	all       []window // without kills
	times     tally    // of these with less than robbery stolen
	robbed    tally    // of the others, which are so many:
	robberies int
	disturbed tally // while a node was down or came back
}

// add takes the times since the last window.
func (w *windows) add(at time.Duration, t *tally, quiet bool, stolen float64) {
	if !quiet {
		w.disturbed.merge(t)
		return
	}
	if stolen >= robbery {
		w.robbed.merge(t)
		w.robberies++
	} else {
		w.times.merge(t)
	}
	if t.count() > 0 {
		w.all = append(w.all, window{at, stolen, ms(t.quantile(0.5)), ms(t.quantile(0.99))})
	}
}

// Times rise and fall with what the machine gives to others, tenfold on some days, so that
// only windows of like theft are compared: within half a percent or a tenth of it. A window
// of the last quarter counts when the second quarter has fewLike like it, whose median is
// its counterpart.
const (
	likeTheft = 0.5
	likeShare = 0.1
	fewLike   = 3
)

// byTheft judges a series of the windows. A last quarter of which less than a quarter has
// counterparts proves nothing, and a run that proves nothing has failed.
func byTheft(series string, all []window, value func(window) float64, took time.Duration, slack float64) verdict {
	var before, after []float64
	for _, w := range all {
		if w.at < took*3/4 || w.at > took {
			continue
		}
		var like []float64
		for _, x := range all {
			if x.at >= took/4 && x.at < took/2 && abs(x.stolen-w.stolen) <= max(likeTheft, likeShare*w.stolen) {
				like = append(like, value(x))
			}
		}
		if len(like) >= fewLike {
			before, after = append(before, median(like)), append(after, value(w))
		}
	}
	v := judge(series, "run, like theft", before, after, slack)
	v.enough, v.needed = v.samples >= max(fewSamples, int(took/(16*sampleEvery))), true
	return v
}

func abs(x float64) float64 { return max(x, -x) }

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
