package main

import (
	"cmp"
	"fmt"
	"html"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// curve is one server's line in a plot.
type curve struct {
	kind   string
	points [][2]float64
}

// plot is a picture of curves. Axes begin at zero unless they are logarithmic.
type plot struct {
	file, title, x, y string
	logY              bool
	// tail says that x is a quantile, spread so that each further nine takes as much
	// room as the one before.
	tail   bool
	curves []curve
}

// The picture in pixels.
const (
	plotWidth, plotHeight                 = 760, 420
	plotLeft, plotRight, plotTop, plotLow = 80, 740, 50, 360
)

// plotColors tell the servers apart, also in grey and for the colour-blind.
var plotColors = map[string]string{gregor: "#0072b2", kafka: "#d55e00", floor: "#777777"}

// plotNames are what a reader calls the servers.
var plotNames = map[string]string{gregor: "gregor", kafka: "Apache Kafka", floor: "floor"}

// quantiles are where a distribution is drawn.
var quantiles = []float64{0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9995, 0.9999}

// distribution is the curve of a histogram, as far as it has values to tell a quantile.
func distribution(kind string, h *hist) curve {
	c := curve{kind: kind}
	for _, q := range quantiles {
		if float64(h.n)*(1-q) < 10 {
			break
		}
		c.points = append(c.points, [2]float64{q, math.Max(float64(h.quantile(q)), 1)})
	}
	return c
}

// place maps values of an axis to pixels.
type place struct {
	low, high   float64
	from, to    float64
	logarithmic bool
}

func (a place) at(v float64) float64 {
	if a.logarithmic {
		v = math.Log10(v)
	}
	return a.from + (v-a.low)/(a.high-a.low)*(a.to-a.from)
}

// nines is how far out in the tail a quantile lies.
func nines(q float64) float64 { return -math.Log10(1 - q) }

// axes finds the ranges of both axes.
func (p plot) axes() (x, y place) {
	x = place{from: plotLeft, to: plotRight}
	y = place{from: plotLow, to: plotTop, logarithmic: p.logY, low: math.Inf(1), high: math.Inf(-1)}
	for _, c := range p.curves {
		for _, pt := range c.points {
			if p.tail {
				pt[0] = nines(pt[0])
			}
			x.high = max(x.high, pt[0])
			y.low, y.high = min(y.low, pt[1]), max(y.high, pt[1])
		}
	}
	if p.logY {
		y.low, y.high = math.Floor(math.Log10(y.low)), math.Ceil(math.Log10(y.high))
	} else {
		y.low, y.high = 0, y.high*1.05
	}
	if x.high == 0 {
		x.high = 1
	}
	if y.high <= y.low {
		y.high = y.low + 1
	}
	return x, y
}

// ticks are the marked values of the y axis.
func (a place) ticks() []float64 {
	if a.logarithmic {
		var list []float64
		for e := a.low; e <= a.high; e++ {
			list = append(list, math.Pow(10, e))
		}
		return list
	}
	return steps(a.high)
}

// steps divides [0, high] at round values, four to ten of them.
func steps(high float64) []float64 {
	unit := math.Pow(10, math.Floor(math.Log10(high)))
	for _, f := range []float64{0.1, 0.2, 0.5, 1, 2, 5} {
		if high/(unit*f) <= 8 {
			unit *= f
			break
		}
	}
	var list []float64
	for v := 0.0; v <= high; v += unit {
		list = append(list, v)
	}
	return list
}

// label writes a value short.
func label(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%gM", v/1e6)
	case v >= 1e4:
		return fmt.Sprintf("%gk", v/1e3)
	}
	return fmt.Sprintf("%g", v)
}

// svg draws the plot.
func (p plot) svg() string {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" font-family="sans-serif" font-size="12">`+"\n", plotWidth, plotHeight)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", plotWidth, plotHeight)
	text := func(x, y float64, anchor, s string) {
		fmt.Fprintf(&b, `<text x="%.1f" y="%.1f" text-anchor="%s">%s</text>`+"\n", x, y, anchor, html.EscapeString(s))
	}
	rule := func(x1, y1, x2, y2 float64) {
		fmt.Fprintf(&b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="#ddd"/>`+"\n", x1, y1, x2, y2)
	}
	x, y := p.axes()
	text(plotWidth/2, 22, "middle", p.title)
	for _, v := range y.ticks() {
		rule(plotLeft, y.at(v), plotRight, y.at(v))
		text(plotLeft-6, y.at(v)+4, "end", label(v))
	}
	if p.tail {
		for _, q := range []float64{0, 0.5, 0.9, 0.99, 0.999, 0.9999} {
			if nines(q) <= x.high+1e-9 {
				rule(x.at(nines(q)), plotTop, x.at(nines(q)), plotLow)
				text(x.at(nines(q)), plotLow+16, "middle", fmt.Sprintf("%g %%", q*100))
			}
		}
	} else {
		for _, v := range steps(x.high) {
			rule(x.at(v), plotTop, x.at(v), plotLow)
			text(x.at(v), plotLow+16, "middle", label(v))
		}
	}
	text((plotLeft+plotRight)/2, plotLow+36, "middle", p.x)
	fmt.Fprintf(&b, `<text x="18" y="%d" text-anchor="middle" transform="rotate(-90 18 %[1]d)">%s</text>`+"\n", (plotTop+plotLow)/2, html.EscapeString(p.y))
	for i, c := range p.curves {
		p.draw(&b, c, x, y)
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="12" height="4" fill="%s"/>`+"\n", plotLeft+10, plotTop+8+16*i, plotColors[c.kind])
		text(plotLeft+28, float64(plotTop+14+16*i), "start", plotNames[c.kind])
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func (p plot) draw(b *strings.Builder, c curve, x, y place) {
	var line []string
	for _, pt := range c.points {
		if p.tail {
			pt[0] = nines(pt[0])
		}
		line = append(line, fmt.Sprintf("%.1f,%.1f", x.at(pt[0]), y.at(pt[1])))
	}
	fmt.Fprintf(b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.Join(line, " "), plotColors[c.kind])
}

// album is what a run collects for its plots.
type album struct {
	latency map[[2]string]map[string]*hist // by row and workload, then by server
	growth  map[[3]string]map[string][][2]float64
}

// noteLatency adds a measurement to the distribution of a workload.
func (a *album) noteLatency(r row, workload, kind string, h *hist) {
	if a.latency == nil {
		a.latency = map[[2]string]map[string]*hist{}
	}
	k := [2]string{r.id, workload}
	if a.latency[k] == nil {
		a.latency[k] = map[string]*hist{}
	}
	if a.latency[k][kind] == nil {
		a.latency[k][kind] = &hist{}
	}
	a.latency[k][kind].merge(h)
}

// noteGrowth adds a point to what y is for a number of x.
func (a *album) noteGrowth(r row, x, y, kind string, at, v float64) {
	if a.growth == nil {
		a.growth = map[[3]string]map[string][][2]float64{}
	}
	k := [3]string{r.id, x, y}
	if a.growth[k] == nil {
		a.growth[k] = map[string][][2]float64{}
	}
	a.growth[k][kind] = append(a.growth[k][kind], [2]float64{at, v})
}

// fileName makes a name of words.
func fileName(words ...string) string {
	s := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(strings.Join(words, "-")))
	for strings.Contains(s, "--") {
		s = strings.ReplaceAll(s, "--", "-")
	}
	return strings.Trim(s, "-") + ".svg"
}

// plots are the pictures of a run, in the order of servers.
func (a *album) plots() []plot {
	var list []plot
	for k, by := range a.latency {
		p := plot{file: fileName("row", k[0], k[1]), title: "row " + k[0] + ": " + k[1], x: "share of all records that are faster", y: "microseconds", logY: true, tail: true}
		for _, kind := range []string{gregor, floor, kafka} {
			if h := by[kind]; h != nil && h.n > 0 {
				p.curves = append(p.curves, distribution(kind, h))
			}
		}
		list = append(list, p)
	}
	for k, by := range a.growth {
		p := plot{file: fileName("row", k[0], k[2], k[1]), title: "row " + k[0] + ": " + k[2] + " by " + k[1], x: k[1], y: k[2]}
		for _, kind := range []string{gregor, floor, kafka} {
			if points := by[kind]; len(points) > 0 {
				slices.SortFunc(points, func(a, b [2]float64) int { return cmp.Compare(a[0], b[0]) })
				p.curves = append(p.curves, curve{kind, points})
			}
		}
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b plot) int { return strings.Compare(a.file, b.file) })
	return list
}

// write makes the pictures in a folder.
func (a *album) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, p := range a.plots() {
		if err := os.WriteFile(filepath.Join(dir, p.file), []byte(p.svg()), 0o644); err != nil {
			return err
		}
	}
	return nil
}
