package metrics

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

var t0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// TestBucketsCoverEveryValueOnce: a value lies between the bounds of its bucket, and
// buckets are at most an eighth wide.
func TestBucketsCoverEveryValueOnce(t *testing.T) {
	for _, unit := range []uint8{Ones, Nanoseconds} {
		for v := int64(1); v < 1<<(maxBits+unit); v += v/7 + 1 {
			lo, hi := bounds(bucket(v, unit), unit)
			if float64(v) < lo || float64(v) >= hi {
				t.Fatalf("unit %d: %d is in the bucket from %v to %v", unit, v, lo, hi)
			}
			if v >= 8<<unit && (hi-lo)/lo > 0.125 {
				t.Fatalf("unit %d: the bucket of %d is %v wide", unit, v, hi-lo)
			}
		}
		if bucket(math.MaxInt64, unit) != Buckets-1 || bucket(-1, unit) != 0 {
			t.Errorf("unit %d: the ends are in buckets %d and %d", unit, bucket(math.MaxInt64, unit), bucket(-1, unit))
		}
	}
}

// TestQuantilesAreWithinABucket compares with the exact ones.
func TestQuantilesAreWithinABucket(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	h := NewHistogram(Nanoseconds)
	var all []int64
	for range 50_000 {
		v := int64(math.Exp(rng.NormFloat64()*2 + 12))
		all = append(all, v)
		h.Observe(v)
	}
	slices.Sort(all)
	d := h.Read(t0)
	for _, q := range quantiles {
		exact := float64(all[int(q.q*float64(len(all)))])
		if got := d.Quantile(q.q); math.Abs(got-exact)/exact > 0.13 {
			t.Errorf("quantile %v is %v, exactly %v", q.q, got, exact)
		}
	}
	if d.Count != 50_000 || d.Max() < float64(all[len(all)-1]) || d.Min() > float64(all[0]) {
		t.Errorf("count %d, min %v, max %v", d.Count, d.Min(), d.Max())
	}
}

// TestQuantilesLookAtTheLastMinutes: what was slow an hour ago is counted for ever, and
// in no quantile; a quiet hour leaves the quantiles as they were.
func TestQuantilesLookAtTheLastMinutes(t *testing.T) {
	h := NewHistogram(Ones)
	now := t0
	scrape := func() *Distribution {
		now = now.Add(15 * time.Second)
		return h.Read(now)
	}
	for range 100 {
		h.Observe(1000)
	}
	if got := scrape().Quantile(.5); got < 900 || got > 1100 {
		t.Fatalf("median %v", got)
	}
	for range 240 {
		if got := scrape().Quantile(.5); got < 900 || got > 1100 {
			t.Fatalf("median %v after a quiet while", got)
		}
	}
	var d *Distribution
	for range 12 {
		h.Observe(10)
		d = scrape()
	}
	if got := d.Quantile(.999); got > 12 || d.Count != 112 {
		t.Errorf("the last minutes' 0.999 is %v, count %d", got, d.Count)
	}
}

// TestFirstBucketFollowsFromTheNumberOfAll: values that ObserveAbove leaves out are in
// the count and in the quantiles.
func TestFirstBucketFollowsFromTheNumberOfAll(t *testing.T) {
	h := NewHistogram(Nanoseconds)
	for i := range 100 {
		h.ObserveAbove(int64(i/90) * 1_000_000) // 90 times 0, 10 times a millisecond
	}
	d := h.ReadOf(t0, 100)
	if d.Count != 100 || d.Quantile(.75) >= 128 || d.Quantile(.95) < 900_000 {
		t.Errorf("count %d, 0.75 is %v, 0.95 is %v", d.Count, d.Quantile(.75), d.Quantile(.95))
	}
	if d := NewHistogram(Ones).Read(t0); d.Count != 0 || d.Quantile(.99) != 0 || d.Mean() != 0 || d.Max() != 0 || d.Min() != 0 {
		t.Errorf("an empty histogram: %v", d)
	}
}

// TestHistogramLosesNothing has many goroutines count while others read.
func TestHistogramLosesNothing(t *testing.T) {
	h := NewHistogram(Ones)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 10_000 {
				h.Observe(int64(i * g))
				if i%1000 == 0 {
					h.Read(t0)
				}
			}
		}()
	}
	wg.Wait()
	if d := h.Read(t0); d.Count != 40_000 {
		t.Errorf("count %d", d.Count)
	}
}

func TestObserveAllocatesNothing(t *testing.T) {
	h := NewHistogram(Nanoseconds)
	if n := testing.AllocsPerRun(1000, func() { h.Observe(12345); h.ObserveAbove(7) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkObserve(b *testing.B) {
	h := NewHistogram(Nanoseconds)
	for i := range b.N {
		h.Observe(int64(i) & 0xfffff)
	}
}

func BenchmarkObserveParallel(b *testing.B) {
	h := NewHistogram(Nanoseconds)
	b.RunParallel(func(pb *testing.PB) {
		for i := int64(0); pb.Next(); i++ {
			h.Observe(i & 0xfffff)
		}
	})
}

func TestRates(t *testing.T) {
	var r Rate
	for i, want := range []float64{0, 10, 10, 10} {
		if got := r.Of(float64(100*i), t0.Add(time.Duration(10*i)*time.Second)); got != want {
			t.Errorf("reading %d: %v, want %v", i, got, want)
		}
	}
	if got := r.Of(1e6, t0.Add(30*time.Second+time.Millisecond)); got != 10 {
		t.Errorf("a reading at once: %v", got)
	}
	// A meter that counts 5 a second for an hour, then stops.
	var m rates
	now := t0
	for i := range 240 {
		now = now.Add(15 * time.Second)
		m.update(int64(75*(i+1)), t0, now)
	}
	for i := range periods {
		if math.Abs(m.ewma[i]-5) > .01 {
			t.Errorf("average %d is %v", i, m.ewma[i])
		}
	}
	m.update(75*240, t0, now.Add(time.Minute))
	if math.Abs(m.ewma[0]-5/math.E) > .01 || math.Abs(m.mean()-75*240/3660.) > .01 {
		t.Errorf("after a minute's silence %v, mean %v", m.ewma[0], m.mean())
	}
}

// TestRunCountsEverything: gathered values are counted as single ones are.
func TestRunCountsEverything(t *testing.T) {
	a, b, c := NewHistogram(Ones), NewHistogram(Ones), NewHistogram(Ones)
	var r Run
	for i := range int64(1000) {
		r.Observe(a, i/100)
		if i%7 == 0 {
			r.ObserveAbove(b, i%2)
		}
		c.Observe(i / 100)
	}
	r.Flush()
	r.Flush()
	if got, want := a.Read(t0), c.Read(t0); *got != *want {
		t.Errorf("got %v, want %v", got, want)
	}
	if d := b.Read(t0); d.Count != 71 {
		t.Errorf("%d above the first bucket", d.Count)
	}
}
