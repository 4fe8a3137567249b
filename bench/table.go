package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
)

// line is one measured metric of one workload.
type line struct {
	Row      string               `json:"row"`
	Workload string               `json:"workload"`
	Metric   string               `json:"metric"`
	Lower    bool                 `json:"lower_is_better"`
	Goal     float64              `json:"goal"`             // 0: none
	Absolute bool                 `json:"goal_is_absolute"` // else it is a ratio to Apache Kafka
	Samples  map[string][]float64 `json:"samples"`
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	s := slices.Clone(v)
	slices.Sort(s)
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// ratio is the median of the pairwise ratios of two interleaved series; that of the
// medians where one of them was measured more often.
func ratio(a, b []float64) float64 {
	if len(a) == 0 || len(b) == 0 {
		return math.NaN()
	}
	if len(a) != len(b) {
		return median(a) / median(b)
	}
	n := len(a)
	r := make([]float64, n)
	for i := range r {
		r[i] = a[i] / b[i]
	}
	return median(r)
}

func spread(v []float64) string {
	if len(v) == 0 {
		return "-"
	}
	if len(v) == 1 {
		return num(v[0]) + " (once)"
	}
	return fmt.Sprintf("%s (%s-%s, n=%d)", num(median(v)), num(slices.Min(v)), num(slices.Max(v)), len(v))
}

func num(f float64) string {
	switch a := math.Abs(f); {
	case math.IsNaN(f):
		return "-"
	case a >= 1000:
		return fmt.Sprintf("%.0f", f)
	case a >= 10:
		return fmt.Sprintf("%.1f", f)
	default:
		return fmt.Sprintf("%.3g", f)
	}
}

// verdict compares a line with its goal.
func (l line) verdict() string {
	r := ratio(l.Samples[gregor], l.Samples[kafka])
	if l.Absolute {
		r = median(l.Samples[gregor])
	}
	if l.Goal == 0 || math.IsNaN(r) {
		return ""
	}
	if l.Lower && r <= l.Goal || !l.Lower && r >= l.Goal {
		return "met"
	}
	return "missed"
}

func (l line) goal() string {
	switch {
	case l.Goal == 0:
		return ""
	case l.Absolute && l.Lower:
		return "<= " + num(l.Goal)
	case l.Absolute:
		return ">= " + num(l.Goal)
	}
	if l.Lower {
		return fmt.Sprintf("<= 1/%s", num(1/l.Goal))
	}
	return fmt.Sprintf(">= %sx", num(l.Goal))
}

func markdown(lines []line) string {
	var b strings.Builder
	b.WriteString("| # | workload | metric | gregor: median (range) | floor | Apache Kafka | ours / Kafka | ours / floor | goal | |\n|---|---|---|---|---|---|---|---|---|---|\n")
	for _, l := range lines {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", l.Row, l.Workload, l.Metric,
			spread(l.Samples[gregor]), spread(l.Samples[floor]), spread(l.Samples[kafka]),
			num(ratio(l.Samples[gregor], l.Samples[kafka])), num(ratio(l.Samples[gregor], l.Samples[floor])), l.goal(), l.verdict())
	}
	return b.String()
}

func writeResults(dir string, lines []line) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	j, err := json.MarshalIndent(lines, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(dir+"/results.json", j, 0o644); err != nil {
		return err
	}
	return os.WriteFile(dir+"/results.md", []byte(markdown(lines)), 0o644)
}
