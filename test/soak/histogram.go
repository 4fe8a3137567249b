//go:build linux

package main

import (
	"math"
	"sync/atomic"
	"time"
)

// histogram counts times in buckets that grow by an eighth of an octave, nine per cent,
// from a microsecond on. Its memory is fixed, and anybody may add to it.
type histogram struct {
	counts [bucketsOfOctave * 32]atomic.Uint64
}

const bucketsOfOctave = 8

func (h *histogram) add(d time.Duration) {
	us := max(float64(d)/float64(time.Microsecond), 1)
	h.counts[min(int(math.Log2(us)*bucketsOfOctave), len(h.counts)-1)].Add(1)
}

// tally is what a histogram counted in a window.
type tally [bucketsOfOctave * 32]uint64

// take returns what was counted since the last time.
func (h *histogram) take() *tally {
	var out tally
	for i := range h.counts {
		out[i] = h.counts[i].Swap(0)
	}
	return &out
}

func (t *tally) merge(other *tally) {
	for i := range t {
		t[i] += other[i]
	}
}

func (t *tally) count() (n uint64) {
	for _, c := range t {
		n += c
	}
	return n
}

// quantile is the upper bound of the bucket that has it.
func (t *tally) quantile(q float64) time.Duration {
	rank := uint64(math.Ceil(q * float64(t.count())))
	var n uint64
	for i, c := range t {
		if n += c; n >= rank && n > 0 {
			return time.Duration(math.Exp2(float64(i+1)/bucketsOfOctave) * float64(time.Microsecond))
		}
	}
	return 0
}
