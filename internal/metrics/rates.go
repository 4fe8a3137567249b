package metrics

import (
	"math"
	"time"
)

// rates makes rates of a counter from the times at which it is read, weighted as
// Kafka's meters do: what happened a while ago counts exponentially less.
type rates struct {
	begin, last time.Time
	first       int64 // the count at begin
	count       int64 // the count at last
	ewma        [3]float64
	seen        uint64 // the scrape that last had it
}

// periods of the moving averages.
var periods = [3]time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute}

// update takes the count at now. Before there are two readings a rate is the mean since
// the counter began, at begin.
func (r *rates) update(count int64, begin, now time.Time) {
	if r.last.IsZero() {
		r.begin, r.first, r.last = begin, 0, begin
		if d := now.Sub(begin).Seconds(); d > 0 {
			for i := range r.ewma {
				r.ewma[i] = float64(count) / d
			}
		}
		r.last, r.count = now, count
		return
	}
	d := now.Sub(r.last)
	if d < time.Second {
		return // too short to tell a rate
	}
	rate := float64(max(count-r.count, 0)) / d.Seconds()
	for i, p := range periods {
		r.ewma[i] += (1 - math.Exp(-d.Seconds()/p.Seconds())) * (rate - r.ewma[i])
	}
	r.last, r.count = now, count
}

// mean is the rate since the counter began.
func (r *rates) mean() float64 {
	if d := r.last.Sub(r.begin).Seconds(); d > 0 {
		return float64(r.count-r.first) / d
	}
	return 0
}

// Rate is the rate of a counter between two readings of it that are at least a second
// apart. Its owner calls Of; it is not safe for concurrent use.
type Rate struct {
	last  time.Time
	count float64
	rate  float64
}

// Of takes the counter's value at now and returns its rate a second since the reading
// before, 0 for the first.
func (r *Rate) Of(count float64, now time.Time) float64 {
	if r.last.IsZero() {
		r.last, r.count = now, count
		return 0
	}
	if d := now.Sub(r.last); d >= time.Second {
		r.rate = max(count-r.count, 0) / d.Seconds()
		r.last, r.count = now, count
	}
	return r.rate
}
