package metrics

import (
	"bufio"
	"bytes"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// writeJMX writes the beans of one family as the JMX exporter does without rules: the
// bean's domain and type and the attribute make the name, all else labels. The rates of
// meters come from the times of these scrapes.
func (r *Registry) writeJMX(fam *family, now time.Time) {
	e := &Emitter{Now: now, r: r, fam: fam, jmx: true, b: r.scratch}
	b := fam.Bean
	e.name = sanitize(b.Domain + "_" + b.Type + "_")
	if b.Attribute != "" {
		e.name += sanitize(b.Attribute)
	}
	fam.collect(e)
	r.scratch = e.b
}

// group returns where the lines of a name gather: several beans share one, and all of
// its lines have to stand together.
func (r *Registry) group(name string) *bytes.Buffer {
	b := r.groups[name]
	if b == nil {
		b = &bytes.Buffer{}
		r.groups[name] = b
	}
	return b
}

// flushJMX writes the groups, and forgets the rates of series that are gone.
func (r *Registry) flushJMX(w *bufio.Writer) {
	for _, name := range slices.Sorted(maps.Keys(r.groups)) {
		_, _ = w.WriteString("# TYPE " + name + " untyped\n")
		_, _ = r.groups[name].WriteTo(w)
	}
	r.groups = nil
	maps.DeleteFunc(r.rates, func(_ string, m *rates) bool { return m.seen != r.scrapes })
}

// sanitize replaces what names of Prometheus may not have.
func sanitize(s string) string {
	return strings.Map(func(c rune) rune {
		if c == '_' || c == ':' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' {
			return c
		}
		return '_'
	}, s)
}

func (e *Emitter) attr(attribute string, value []byte, labels []string) {
	e.line(e.name+attribute, value, "", e.fam.Bean.Name, labels)
}

// bean writes a value that is no distribution.
func (e *Emitter) bean(v float64, n int64, labels []string) {
	switch {
	case e.fam.Bean.Attribute != "":
		e.line(e.name, appendFloat(e.value(), v), "", "", labels)
	case e.fam.Kind == Meter:
		e.attr("Count", strconv.AppendInt(e.value(), n, 10), labels)
		e.meter(n, labels)
	default:
		e.attr("Value", appendFloat(e.value(), v), labels)
	}
}

// meter writes the rates of a counter.
func (e *Emitter) meter(count int64, labels []string) {
	key := e.fam.Name + "\x00" + strings.Join(labels, "\x00")
	m := e.r.rates[key]
	if m == nil {
		m = &rates{}
		e.r.rates[key] = m
	}
	m.seen = e.r.scrapes
	m.update(count, e.r.begin, e.Now)
	e.attr("MeanRate", appendFloat(e.value(), m.mean()), labels)
	for i, name := range [...]string{"OneMinuteRate", "FiveMinuteRate", "FifteenMinuteRate"} {
		e.attr(name, appendFloat(e.value(), m.ewma[i]), labels)
	}
}

func (e *Emitter) beanDistribution(d *Distribution, scale float64, labels []string) {
	e.attr("Count", strconv.AppendUint(e.value(), d.Count, 10), labels)
	e.attr("Mean", appendFloat(e.value(), d.Mean()/scale), labels)
	e.attr("Min", appendFloat(e.value(), d.Min()/scale), labels)
	e.attr("Max", appendFloat(e.value(), d.Max()/scale), labels)
	for _, q := range quantiles {
		e.attr(q.bean, appendFloat(e.value(), d.Quantile(q.q)/scale), labels)
	}
}
