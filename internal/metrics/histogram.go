package metrics

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

// A histogram has buckets of equal width up to 8 units and then 8 for each doubling,
// so that a bucket is at most an eighth of its values wide.
const (
	subBits    = 3
	subBuckets = 1 << subBits
	maxBits    = 36
	// Buckets is the number of buckets; the last one also takes what is larger.
	Buckets = (maxBits - subBits + 1) * subBuckets
)

// Units of histograms, as powers of two.
const (
	// Nanoseconds is the unit for durations in nanoseconds: 128 of them, up to two hours.
	Nanoseconds = 7
	// Ones is the unit for sizes and numbers, up to 2^36.
	Ones = 0
)

// window is how long quantiles look back at least. What they are computed from is
// between one and two windows old while somebody scrapes more often than that.
const window = time.Minute

// Histogram counts values in buckets on a logarithmic scale. Observe may be called by
// any goroutine. mu guards the fields below it, which only scrapes touch.
type Histogram struct {
	unit   uint8
	counts [Buckets]atomic.Uint64

	mu sync.Mutex
	// older and newer are the counts at the begin of the last two windows, of olderAt and
	// newerAt; nil before the first scrape.
	older, newer *[Buckets]uint64
	newerAt      time.Time
}

// NewHistogram returns a histogram whose smallest bucket is 2^unit wide.
func NewHistogram(unit uint8) *Histogram { return &Histogram{unit: unit} }

// bucket is where a value is counted.
func bucket(v int64, unit uint8) int {
	if v < 0 {
		v = 0
	}
	u := uint64(v) >> unit
	if u < subBuckets {
		return int(u)
	}
	e := bits.Len64(u) - 1
	if e >= maxBits {
		return Buckets - 1
	}
	return (e-subBits+1)*subBuckets + int(u>>(e-subBits))&(subBuckets-1)
}

// bounds are the smallest value of a bucket and that of the next one.
func bounds(i int, unit uint8) (lo, hi float64) {
	at := func(i int) float64 {
		if i < subBuckets {
			return float64(uint64(i) << unit)
		}
		e := i/subBuckets + subBits - 1
		return float64(uint64(subBuckets+i%subBuckets) << (e - subBits) << unit)
	}
	return at(i), at(i + 1)
}

// Observe counts a value; negative ones count as 0.
func (h *Histogram) Observe(v int64) { h.counts[bucket(v, h.unit)].Add(1) }

// ObserveAbove is Observe for a value whose histogram is read with ReadOf: values of
// the first bucket are not counted, but follow from the number of all.
func (h *Histogram) ObserveAbove(v int64) {
	if i := bucket(v, h.unit); i > 0 {
		h.counts[i].Add(1)
	}
}

// Distribution is what a histogram held at one time. Recent are the counts of the
// last window or two in which there were any.
type Distribution struct {
	unit   uint8
	Count  uint64
	recent [Buckets]uint64
	n      uint64 // sum of recent
}

// Read returns what h holds at now.
func (h *Histogram) Read(now time.Time) *Distribution { return h.read(now, 0) }

// ReadOf is Read for values recorded by ObserveAbove, of which there are total.
func (h *Histogram) ReadOf(now time.Time, total uint64) *Distribution { return h.read(now, total) }

func (h *Histogram) read(now time.Time, total uint64) *Distribution {
	var counts [Buckets]uint64
	d := &Distribution{unit: h.unit}
	for i := range counts {
		counts[i] = h.counts[i].Load()
		d.Count += counts[i]
	}
	if total > d.Count {
		counts[0] += total - d.Count
		d.Count = total
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.older == nil {
		h.older, h.newer, h.newerAt = new([Buckets]uint64), new([Buckets]uint64), now
		*h.newer = counts
	}
	for i := range counts {
		// A race between a total and its parts may make a count fall by a little.
		if counts[i] > h.older[i] {
			d.recent[i] = counts[i] - h.older[i]
			d.n += d.recent[i]
		}
	}
	if now.Sub(h.newerAt) >= window && counts != *h.newer {
		h.older, h.newer, h.newerAt = h.newer, h.older, now
		*h.newer = counts
	}
	return d
}

// Quantile is the value below which the share q of the recent ones is, 0 when there
// was none.
func (d *Distribution) Quantile(q float64) float64 {
	if d.n == 0 {
		return 0
	}
	rank := q * float64(d.n)
	var below float64
	for i, n := range d.recent {
		if n == 0 {
			continue
		}
		if below += float64(n); below < rank {
			continue
		}
		lo, hi := bounds(i, d.unit)
		return lo + (hi-lo)*(rank-(below-float64(n)))/float64(n)
	}
	return d.Max()
}

// Mean is the mean of the recent values, to the width of a bucket.
func (d *Distribution) Mean() float64 {
	if d.n == 0 {
		return 0
	}
	var sum float64
	for i, n := range d.recent {
		if n > 0 {
			lo, hi := bounds(i, d.unit)
			sum += (lo + hi) / 2 * float64(n)
		}
	}
	return sum / float64(d.n)
}

// Max is the upper bound of the largest recent value.
func (d *Distribution) Max() float64 {
	for i := Buckets - 1; i >= 0; i-- {
		if d.recent[i] > 0 {
			_, hi := bounds(i, d.unit)
			return hi
		}
	}
	return 0
}

// Min is the lower bound of the smallest recent value.
func (d *Distribution) Min() float64 {
	for i, n := range d.recent {
		if n > 0 {
			lo, _ := bounds(i, d.unit)
			return lo
		}
	}
	return 0
}

// Run gathers values on one goroutine, so that many in a row that fall into one bucket
// cost one atomic addition. The zero value is ready; what Flush was not called for is
// not counted.
type Run struct {
	h *Histogram
	i int
	n uint64
}

// Observe is h.Observe.
func (r *Run) Observe(h *Histogram, v int64) { r.add(h, bucket(v, h.unit)) }

// ObserveAbove is h.ObserveAbove.
func (r *Run) ObserveAbove(h *Histogram, v int64) {
	if i := bucket(v, h.unit); i > 0 {
		r.add(h, i)
	}
}

func (r *Run) add(h *Histogram, i int) {
	if r.h == h && r.i == i {
		r.n++
		return
	}
	r.Flush()
	r.h, r.i, r.n = h, i, 1
}

// Flush counts what was gathered.
func (r *Run) Flush() {
	if r.n > 0 {
		r.h.counts[r.i].Add(r.n)
		r.h, r.n = nil, 0
	}
}
