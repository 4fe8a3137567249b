package main

import "math/bits"

// hist counts durations in microseconds with three significant digits: values up
// to 2,048 exactly, above that in 1,024 steps an octave.
type hist struct {
	counts [32 * 1024]uint64
	n      uint64
	max    uint64
}

func slot(v uint64) int {
	if v < 2048 {
		return int(v)
	}
	shift := bits.Len64(v) - 11
	return min(shift*1024+int(v>>shift), 32*1024-1)
}

func lowest(i int) uint64 {
	if i < 2048 {
		return uint64(i)
	}
	shift := i/1024 - 1
	return uint64(i-shift*1024) << shift
}

func (h *hist) add(us int64) {
	v := uint64(max(us, 0))
	h.counts[slot(v)]++
	h.n++
	h.max = max(h.max, v)
}

func (h *hist) merge(o *hist) {
	for i, c := range o.counts {
		h.counts[i] += c
	}
	h.n += o.n
	h.max = max(h.max, o.max)
}

// quantile returns the microseconds below which the share q of all values lies.
func (h *hist) quantile(q float64) uint64 {
	want := uint64(q * float64(h.n))
	var seen uint64
	for i, c := range h.counts {
		seen += c
		if c > 0 && seen > want {
			return lowest(i)
		}
	}
	return h.max
}
