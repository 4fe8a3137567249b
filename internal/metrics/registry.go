package metrics

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// Kind says what a family's values are and how they are written.
type Kind uint8

// The kinds. The first four are what Kafka's beans are made of, the last two are
// written as they stand.
const (
	// Gauge is a value that goes up and down.
	Gauge Kind = iota
	// Meter only grows; Kafka has it as a rate.
	Meter
	// Summary has quantiles and a count.
	Summary
	// Percent is a gauge between 0 and 1 whose bean is named so.
	Percent
	// Counter only grows.
	Counter
	// Info is always 1: its labels are what it says.
	Info
)

// String is the type in words.
func (k Kind) String() string {
	return [...]string{"gauge", "counter", "quantiles and count", "gauge", "counter", "info"}[k]
}

// Desc describes one family of metrics.
type Desc struct {
	// Section is the heading under which the reference lists it.
	Section string
	// Name is the name in Prometheus' text. A Meter's ends in _total.
	Name string
	// Also are further names under which the same values are written.
	Also []string
	// Bean is the name in Kafka's JMX: domain, type, and name or attribute. A family
	// without one is not written in the JMX format.
	Bean Bean
	Kind Kind
	// Labels are the names of its labels. A sample may have fewer values.
	Labels []string
	// Help says what it means, Source what it is read from.
	Help, Source string
}

// Bean is a name in JMX. Attribute is set for beans of Kafka's newer metrics library,
// which have no name but many attributes.
type Bean struct{ Domain, Type, Name, Attribute string }

// String is the bean as Kafka's documentation spells it.
func (b Bean) String() string {
	switch {
	case b.Domain == "":
		return ""
	case b.Attribute != "":
		return b.Domain + ":type=" + b.Type + " " + b.Attribute
	}
	return b.Domain + ":type=" + b.Type + ",name=" + b.Name
}

// Quantiles of a Summary, with the spelling that the JMX exporter's rules give them.
var quantiles = []struct {
	q     float64
	label string
	bean  string
}{
	{.5, "0.50", "50thPercentile"}, {.75, "0.75", "75thPercentile"}, {.95, "0.95", "95thPercentile"},
	{.98, "0.98", "98thPercentile"}, {.99, "0.99", "99thPercentile"}, {.999, "0.999", "999thPercentile"},
}

type family struct {
	Desc
	collect func(*Emitter)
}

// Format is how a scrape is written.
type Format uint8

// The formats.
const (
	// Prometheus has the families by their names.
	Prometheus Format = iota
	// JMX has the beans as the JMX exporter writes them without rules.
	JMX
)

// Registry holds families in the order in which they are written. Add belongs to
// whoever builds it; Write may be called by any goroutine afterwards.
type Registry struct {
	begin    time.Time
	families []family
	before   []func(now time.Time)

	mu      sync.Mutex // one scrape at a time; guards the rest
	rates   map[string]*rates
	scrapes uint64
	scratch []byte
	groups  map[string]*bytes.Buffer
}

// NewRegistry returns a registry without families. begin is when its counters were 0.
func NewRegistry(begin time.Time) *Registry {
	return &Registry{begin: begin, rates: map[string]*rates{}}
}

// Add adds a family. collect emits its samples; it may emit none, and then the family
// is left out.
func (r *Registry) Add(d Desc, collect func(*Emitter)) {
	if d.Name == "" || d.Help == "" || strings.ContainsAny(d.Help, "\n") {
		panic("metrics: " + d.Name + " needs a name and one line of help")
	}
	for i := range r.families {
		if r.families[i].Name == d.Name {
			panic("metrics: two families are named " + d.Name)
		}
	}
	r.families = append(r.families, family{d, collect})
}

// Before has f called at the begin of each scrape, to read once what several families
// are made of.
func (r *Registry) Before(f func(now time.Time)) { r.before = append(r.before, f) }

// Families describes what there is, in order.
func (r *Registry) Families() []Desc {
	all := make([]Desc, len(r.families))
	for i := range r.families {
		all[i] = r.families[i].Desc
	}
	return all
}

// Write writes what there is at now.
func (r *Registry) Write(w io.Writer, f Format, now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.before {
		f(now)
	}
	r.scrapes++
	r.groups = map[string]*bytes.Buffer{}
	buf := bufio.NewWriterSize(w, 32<<10)
	for i := range r.families {
		fam := &r.families[i]
		if f == JMX {
			if fam.Bean.Domain != "" {
				r.writeJMX(fam, now)
			}
			continue
		}
		for _, name := range append([]string{fam.Name}, fam.Also...) {
			r.writeText(buf, name, fam, now)
		}
	}
	if f == JMX {
		r.flushJMX(buf)
	}
	if err := buf.Flush(); err != nil {
		return fmt.Errorf("writing metrics: %w", err)
	}
	return nil
}

// Begin is when the counters were 0.
func (r *Registry) Begin() time.Time { return r.begin }
