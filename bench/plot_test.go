package main

import (
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

// points are the polylines of a picture, which has to be well-formed.
func points(t *testing.T, svg string) (lines []string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return lines
		}
		if err != nil {
			t.Fatalf("%v in %s", err, svg)
		}
		if e, ok := tok.(xml.StartElement); ok && e.Name.Local == "polyline" {
			lines = append(lines, e.Attr[0].Value)
		}
	}
}

func TestPlots(t *testing.T) {
	var a album
	fast, slow := &hist{}, &hist{}
	for i := range int64(2000) {
		fast.add(100 + i/100)
		slow.add(1000 + 10*i)
	}
	r := row{id: "6"}
	a.noteLatency(r, "1000 records/s & more", gregor, fast)
	a.noteLatency(r, "1000 records/s & more", kafka, slow)
	for _, n := range []float64{2000, 1000, 0} { // they may come in any order
		a.noteGrowth(r, "connections", "RSS MB", gregor, n, 20+n/1000)
	}
	list := a.plots()
	var files []string
	for _, p := range list {
		files = append(files, p.file)
	}
	if want := []string{"row-6-1000-records-s-more.svg", "row-6-rss-mb-connections.svg"}; !slices.Equal(files, want) {
		t.Fatalf("%q", files)
	}
	lines := points(t, list[0].svg())
	if len(lines) != 2 {
		t.Fatalf("%d curves", len(lines))
	}
	// 2,000 values tell the 99.5th percentile and no more.
	if n := len(strings.Fields(lines[0])); n != 9 {
		t.Errorf("%d points", n)
	}
	// From 100 to 25,000 us there are decades from 10^2 to 10^5.
	if !strings.HasPrefix(lines[0], "80.0,360.0 ") {
		t.Errorf("the fastest record is not in the corner: %s", lines[0])
	}
	if got := points(t, list[1].svg()); got[0] != "80.0,91.6 410.0,78.2 740.0,64.8" {
		t.Errorf("growth: %s", got[0])
	}
}

func TestSteps(t *testing.T) {
	for high, want := range map[float64]int{10000: 6, 75: 8, 1: 6, 3.2: 7} {
		if got := steps(high); len(got) != want {
			t.Errorf("%g: %v", high, got)
		}
	}
}
