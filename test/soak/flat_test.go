//go:build linux

package main

import (
	"io"
	"math"
	"strings"
	"testing"
	"time"
)

// series makes two hours of samples, one every ten seconds, of processes that live so
// long; 0 for one that lives all the time.
func series(life time.Duration, value func(at, age time.Duration) float64) (out []sample) {
	for at := time.Duration(0); at < 2*time.Hour; at += 10 * time.Second {
		age, n := at, 0
		if life > 0 {
			age, n = at%life, int(at/life)
		}
		out = append(out, sample{at: at, age: age, life: n, value: value(at, age)})
	}
	return out
}

func TestFlat(t *testing.T) {
	saw := func(at time.Duration) float64 { return 50 + 50*math.Mod(at.Seconds()/37, 1) }
	tests := map[string]struct {
		life                   time.Duration
		value                  func(at, age time.Duration) float64
		run, age, lives        bool // what must be flat
		ageEnough, livesEnough bool
	}{
		"constant, no kills":         {0, func(_, _ time.Duration) float64 { return 100 }, true, true, true, false, true},
		"sawtooth, kills":            {15 * time.Minute, func(at, _ time.Duration) float64 { return saw(at) }, true, true, true, true, true},
		"shrinking":                  {0, func(at, _ time.Duration) float64 { return 1000 / (1 + at.Hours()) }, true, true, true, false, true},
		"leak, no kills":             {0, func(at, _ time.Duration) float64 { return 100 + 100*at.Hours() }, false, true, false, false, true},
		"leak in each life":          {15 * time.Minute, func(_, age time.Duration) float64 { return 100 + 10*age.Minutes() }, true, true, false, true, true},
		"grows with what is written": {15 * time.Minute, func(at, _ time.Duration) float64 { return 100 + 60*at.Hours() }, false, false, true, true, true},
		"young processes":            {15 * time.Minute, func(_, age time.Duration) float64 { return 100 * min(1, age.Minutes()/2) }, true, true, true, true, true},
		"young processes grow over the run": {3 * time.Minute, func(at, age time.Duration) float64 {
			if age < young {
				return 100 + 100*at.Hours()
			}
			return 100
		}, false, true, true, true, false},
		"caches fill in the first minutes": {10 * time.Minute, func(_, age time.Duration) float64 {
			if age < 4*time.Minute {
				return 50
			}
			return 100
		}, true, true, true, true, true},
		"more after the first quarter": {0, func(at, _ time.Duration) float64 {
			if at < 30*time.Minute {
				return 10
			}
			return 100
		}, true, true, true, false, true},
		"more in the last quarter": {0, func(at, _ time.Duration) float64 {
			if at < 90*time.Minute {
				return 100
			}
			return 140
		}, false, true, false, false, true},
		"lives that are nearly long enough": {7 * time.Minute, func(_, age time.Duration) float64 { return age.Seconds() }, true, true, true, true, false},
		"lives that are short":              {3 * time.Minute, func(_, age time.Duration) float64 { return age.Seconds() }, true, true, true, true, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := series(tt.life, tt.value)
			for rule, x := range map[string]struct {
				v            verdict
				flat, enough bool
			}{
				"run":   {byRun("x", s, 2*time.Hour, 5), tt.run, true},
				"age":   {byAge("x", s, 2*time.Hour, 5), tt.age, tt.ageEnough},
				"lives": {byLives("x", s, 5), tt.lives, tt.livesEnough},
			} {
				if x.v.flat() != x.flat || x.v.enough != x.enough {
					t.Errorf("%s: flat %v, enough %v: %+v", rule, x.v.flat(), x.v.enough, x.v)
				}
			}
		})
	}
}

func TestSlackAndGrowthAreTheLimit(t *testing.T) {
	ten := func(v float64) (out []float64) {
		for range 10 {
			out = append(out, v)
		}
		return out
	}
	for _, tt := range []struct {
		after float64
		flat  bool
	}{{100, true}, {130, true}, {130.1, false}, {1, true}} {
		if v := judge("x", "run", ten(100), ten(tt.after), 10); v.flat() != tt.flat {
			t.Errorf("%v after 100: flat %v", tt.after, v.flat())
		}
	}
	if v := judge("x", "run", ten(100)[:fewSamples-1], ten(500), 10); v.enough {
		t.Error("judged with few samples")
	}
}

func TestMostLivesDecide(t *testing.T) {
	for leaks, flat := range map[int]bool{3: true, 5: false} {
		value := func(at, age time.Duration) float64 {
			if n := int(at / (15 * time.Minute)); n < leaks {
				return 100 + 10*age.Minutes()
			}
			return 100
		}
		if v := byLives("x", series(15*time.Minute, value), 5); !v.enough || v.flat() != flat || v.rule != "lives (median of 8)" {
			t.Errorf("%d of 8 leak: %+v", leaks, v)
		}
	}
}

func TestQuantilesOfAHistogram(t *testing.T) {
	var h histogram
	for i := range 1000 {
		h.add(time.Duration(i+1) * time.Millisecond)
	}
	w := h.take()
	for q, want := range map[float64]time.Duration{0.5: 500 * time.Millisecond, 0.99: 990 * time.Millisecond} {
		if got := w.quantile(q); got < want || got > want*11/10 {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	if h.take().count() != 0 {
		t.Error("the window was not emptied")
	}
	h.add(0)
	h.add(100 * time.Hour)
	var sum tally
	sum.merge(h.take())
	if sum.count() != 2 || (&tally{}).quantile(0.5) != 0 {
		t.Error("bounds")
	}
}

func TestMetricsAreSummedOverLabels(t *testing.T) {
	got, err := parseMetrics(strings.NewReader(`# TYPE go_goroutines gauge
go_goroutines 17
go_goroutines_other 3
gregor_log_directory_refused_appends_total{logDirectory="/a b"} 2
gregor_log_directory_refused_appends_total{logDirectory="/c"} 3
process_resident_memory_bytes 1.5e+06
`))
	if err != nil || got["go_goroutines"] != 17 || got["gregor_log_directory_refused_appends_total"] != 5 || got["process_resident_memory_bytes"] != 1.5e6 || len(got) != 3 {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := parseMetrics(strings.NewReader("go_goroutines many\n")); err == nil {
		t.Error("what is no number is taken")
	}
}

func TestStolenTimeIsCounted(t *testing.T) {
	before := machine{}
	before.total, before.stolen = parseCPU("cpu  100 0 50 800 10 0 5 35 7 0")
	if before.total != 1000 || before.stolen != 35 {
		t.Fatalf("%+v", before)
	}
	now := machine{total: 2000, stolen: 85, stalled: 6e6}
	if got := now.since(before, 60); got != "stolen CPU 5.0 %, waiting for the disk 10 %" {
		t.Error(got)
	}
	if got := before.since(before, 60); got != "stolen CPU 0.0 %, waiting for the disk 0 %" {
		t.Error(got)
	}
}

func TestWindowsOfKillsAndOfOthersAreKeptApart(t *testing.T) {
	var w windows
	tally := func(d time.Duration) *tally {
		var h histogram
		for range 100 {
			h.add(d)
		}
		return h.take()
	}
	w.add(10*time.Second, tally(time.Millisecond), true, robbery/2)
	w.add(20*time.Second, tally(time.Second), false, 0)
	w.add(30*time.Second, tally(100*time.Millisecond), true, robbery)
	if len(w.all) != 2 || w.all[0].at != 10*time.Second || w.all[0].p99 > 1.2 || w.all[1].stolen != robbery || w.all[1].p50 < 90 {
		t.Fatalf("the windows without kills are %v", w.all)
	}
	if w.robberies != 1 || w.times.count() != 100 || w.disturbed.count() != 100 || w.robbed.count() != 100 {
		t.Fatalf("%d robberies; times %d, disturbed %d, robbed %d", w.robberies, w.times.count(), w.disturbed.count(), w.robbed.count())
	}
}

// TestWindowsOfLikeTheftAreCompared: what others take is not what the broker has become.
func TestWindowsOfLikeTheftAreCompared(t *testing.T) {
	const took = 2 * time.Hour
	value := func(w window) float64 { return w.p50 }
	flat := func(float64, int) float64 { return 1 }
	worse := func(_ float64, quarter int) float64 { return 1 + 0.5*float64(quarter/3) }
	for name, tt := range map[string]struct {
		stolen       func(quarter, i int) float64
		grown        func(stolen float64, quarter int) float64
		enough, flat bool
	}{
		"nothing is stolen":           {func(int, int) float64 { return 0 }, flat, true, true},
		"more is stolen in the end":   {func(q, i int) float64 { return float64(i%10) * float64(1+q) }, flat, true, true},
		"all is stolen in the end":    {func(q, i int) float64 { return 20 * float64(q/3) }, flat, false, true},
		"it is worse":                 {func(int, int) float64 { return 0 }, worse, true, false},
		"it is worse beside theft":    {func(q, i int) float64 { return float64(i % 20) }, worse, true, false},
		"it is worse and less stolen": {func(q, i int) float64 { return float64(i%20) / float64(1+q/3) }, worse, true, false},
	} {
		var all []window
		for i := range int(took / sampleEvery) {
			q := 4 * i / int(took/sampleEvery)
			s := tt.stolen(q, i)
			all = append(all, window{time.Duration(i) * sampleEvery, s, (20 + 10*s) * tt.grown(s, q), 0})
		}
		if v := byTheft("p50", all, value, took, 2); v.enough != tt.enough || v.flat() != tt.flat {
			t.Errorf("%s: %+v, flat %v", name, v, v.flat())
		}
	}
}

func TestTooFewWindowsAreAFailure(t *testing.T) {
	every := func(n int) (out []window) {
		for i := range int(2 * time.Hour / sampleEvery) {
			if at := time.Duration(i) * sampleEvery; at < time.Hour || i%n == 0 {
				out = append(out, window{at: at, p50: 10})
			}
		}
		return out
	}
	tests := map[string]struct {
		every    int
		took     time.Duration
		failures int
	}{
		"all":                     {1, 2 * time.Hour, 0},
		"one of four":             {4, 2 * time.Hour, 0},
		"one of five":             {5, 2 * time.Hour, 1},
		"none":                    {1 << 20, 2 * time.Hour, 1},
		"a run that is too short": {1 << 20, judged - 1, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			bad := &findings{quiet: true}
			printVerdicts(io.Discard, []verdict{byTheft("p50", every(tt.every), func(w window) float64 { return w.p50 }, tt.took, 2)}, tt.took, bad)
			if bad.count() != tt.failures {
				t.Fatalf("%d failures, not %d", bad.count(), tt.failures)
			}
		})
	}
}
