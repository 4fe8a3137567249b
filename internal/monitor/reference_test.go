package monitor

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/metrics"
)

var update = flag.Bool("update", false, "write docs/compat/metrics.md from the families")

const referencePage = "../../docs/compat/metrics.md"

// TestReferencePage holds docs/compat/metrics.md to the families. Run it with -update to
// write the page.
func TestReferencePage(t *testing.T) {
	page := reference(New(Sources{Clock: clock.NewVirtual(time.Unix(0, 0)), JVMAliases: true}))
	if *update {
		if err := os.WriteFile(referencePage, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(referencePage)
	if err != nil {
		t.Fatalf("%v: run this test with -update", err)
	}
	if string(got) != page {
		t.Error("docs/compat/metrics.md is not what the families say; run this test with -update")
	}
}

func reference(r *metrics.Registry) string {
	var b strings.Builder
	b.WriteString(`# Metrics

What ` + "`/metrics`" + ` of ` + "`gregor.http.listener`" + ` shows, by its names in Prometheus; this page is written from the code in internal/monitor.
How it is made and what it costs: [architecture](../architecture/metrics.md); how to set it up: [operations](../operations.md).

The names are those that the JMX exporter makes with the rules that are usual for Kafka (lower case; PerSec becomes _total, Percent
_percent; quantiles 0.50, 0.75, 0.95, 0.98, 0.99 and 0.999 of the last one to two minutes in which there was anything, beside a _count), then those
of kafka_exporter, of a process, and of Go. With ` + "`?format=jmx`" + ` the beans are shown by the names that the exporter gives without rules, meters
with their moving averages. Names that begin with gregor_ are of gregor's own.

What Kafka has and gregor has not is left out rather than shown as 0: what belongs to ZooKeeper, tiered storage, share groups, and what
counts threads, since there are none. Rates that Kafka has as gauges of its newer library (-rate) are to be computed from the counters.
`)
	section := ""
	for _, d := range r.Families() {
		if d.Section != section {
			section = d.Section
			fmt.Fprintf(&b, "\n## %s\n\n| Name | Type | Labels | Meaning | Source | Bean |\n|--|--|--|--|--|--|\n", section)
		}
		names := "`" + strings.Join(append([]string{d.Name}, d.Also...), "`, `") + "`"
		bean := d.Bean.String()
		if bean != "" {
			bean = "`" + bean + "`"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", names, d.Kind, strings.Join(d.Labels, ", "), strings.ReplaceAll(d.Help, "|", `\|`), d.Source, bean)
	}
	return b.String()
}

// TestFamiliesAreWellFormed: names are Prometheus', counters end in _total or _count, no
// name stands for two families.
func TestFamiliesAreWellFormed(t *testing.T) {
	seen := map[string]bool{}
	for _, d := range New(Sources{Clock: clock.NewVirtual(time.Unix(0, 0)), JVMAliases: true}).Families() {
		if d.Source == "" || d.Section == "" {
			t.Errorf("%s has no source or section", d.Name)
		}
		names := append([]string{d.Name}, d.Also...)
		if d.Kind == metrics.Summary {
			names = append(names, d.Name+"_count")
		}
		for _, n := range names {
			if seen[n] {
				t.Errorf("%s stands for two families", n)
			}
			seen[n] = true
			if strings.Trim(n, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
				t.Errorf("%s is not a name in lower case", n)
			}
			counter := d.Kind == metrics.Meter || d.Kind == metrics.Counter
			if counter && !strings.HasSuffix(n, "_total") && !strings.HasSuffix(n, "_count") && !strings.HasSuffix(n, "_sum") {
				t.Errorf("the counter %s has another ending", n)
			}
		}
	}
	if len(seen) < 150 {
		t.Errorf("%d names", len(seen))
	}
}
