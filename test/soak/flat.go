//go:build linux

package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// What flat means. A quarter is one of the time of a run, or of the life of one process.
// The median of the last quarter may be above that of the second one by growth and by a
// slack of the series, which is what a small number may vary by; to be below it is fine.
//
// A killed process begins anew, so that two things are judged for what a process tells:
//
//   - by lives: within each life, which without kills is the run, the last quarter against
//     the second; the first young of a life is left out, since a process fills its caches.
//     The median of all lives that are long enough must be flat: one life may see more kills
//     of others in its last quarter than in its second.
//   - by the run: the last quarter of the run against the second, only samples of the same
//     ages, those that both quarters have. Without kills there are none, and lives tell all.
//
// The producers' times are judged by the run too, each window of the last quarter against
// those of the second with like theft (windows.go).
//
// The first finds what leaks in a process, the second what grows with what was written.
const (
	growth     = 0.20
	young      = 2 * time.Minute
	shortLife  = 8 * time.Minute
	fewSamples = 6 // of a quarter; less says nothing
)

// sample is one value of a series.
type sample struct {
	at    time.Duration // since the steady load began
	age   time.Duration // of the process
	life  int           // which of the node's processes
	value float64
}

// verdict is what was found about one series by one rule.
type verdict struct {
	series, rule  string
	before, after float64 // medians of the second and of the last quarter
	limit         float64
	samples       int // in the smaller quarter; for lives, how many lives
	enough        bool
	needed        bool // too few samples are a failure, too
}

func (v verdict) flat() bool { return !v.enough || v.after <= v.limit }

func judge(series, rule string, before, after []float64, slack float64) verdict {
	v := verdict{series: series, rule: rule, before: median(before), after: median(after), samples: min(len(before), len(after))}
	v.limit = v.before*(1+growth) + slack
	v.enough = v.samples >= fewSamples
	return v
}

// quarters returns the values of the second and of the last quarter of a span.
func quarters(s []sample, from, to time.Duration, when func(sample) time.Duration) (second, last []sample) {
	span := to - from
	for _, x := range s {
		switch at := when(x) - from; {
		case at >= span/4 && at < span/2:
			second = append(second, x)
		case at >= span*3/4 && at <= span:
			last = append(last, x)
		}
	}
	return second, last
}

// byRun judges a series that does not begin anew, over all of the run.
func byRun(series string, s []sample, took time.Duration, slack float64) verdict {
	second, last := quarters(s, 0, took, func(x sample) time.Duration { return x.at })
	return judge(series, "run", values(second), values(last), slack)
}

// byAge judges the run with samples of ages that both quarters have.
func byAge(series string, s []sample, took time.Duration, slack float64) verdict {
	s = slices.DeleteFunc(slices.Clone(s), func(x sample) bool { return x.age < young })
	second, last := quarters(s, 0, took, func(x sample) time.Duration { return x.at })
	if len(second) > 0 && len(last) > 0 {
		byAge := func(a, b sample) int { return cmp.Compare(a.age, b.age) }
		from := max(slices.MinFunc(second, byAge).age, slices.MinFunc(last, byAge).age)
		to := min(slices.MaxFunc(second, byAge).age, slices.MaxFunc(last, byAge).age)
		other := func(x sample) bool { return x.age < from || x.age > to }
		second, last = slices.DeleteFunc(second, other), slices.DeleteFunc(last, other)
	}
	return judge(series, "run, same ages", values(second), values(last), slack)
}

// byLives judges each life that is long enough, and takes the median of their growth.
func byLives(series string, s []sample, slack float64) verdict {
	lives := map[int][]sample{}
	for _, x := range s {
		lives[x.life] = append(lives[x.life], x)
	}
	var all []verdict
	for _, l := range lives {
		end := l[len(l)-1].age
		begin := max(l[0].age, young)
		if end-l[0].age < shortLife {
			continue
		}
		second, last := quarters(l, begin, end, func(x sample) time.Duration { return x.age })
		if v := judge(series, "lives", values(second), values(last), slack); v.enough {
			all = append(all, v)
		}
	}
	if len(all) == 0 {
		return verdict{series: series, rule: "lives"}
	}
	slices.SortFunc(all, func(a, b verdict) int { return cmp.Compare(a.after-a.limit, b.after-b.limit) })
	v := all[len(all)/2]
	v.rule, v.samples = fmt.Sprintf("lives (median of %d)", len(all)), len(all)
	return v
}

func values(s []sample) (out []float64) {
	for _, x := range s {
		out = append(out, x.value)
	}
	return out
}

// median is 0 of nothing.
func median(s []float64) float64 {
	if len(s) == 0 {
		return 0
	}
	s = slices.Sorted(slices.Values(s))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}
