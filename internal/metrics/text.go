package metrics

import (
	"bufio"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
)

// writer is what lines are written to. What fails shows when all is flushed.
type writer interface {
	io.Writer
	io.ByteWriter
	io.StringWriter
}

// Emitter takes the samples of one family. It is valid while collect runs.
type Emitter struct {
	// Now is the time of the scrape.
	Now time.Time

	r      *Registry
	w      writer
	name   string
	fam    *family
	jmx    bool
	counts bool // of a Summary only the counts are written
	began  bool
	b      []byte
}

// Int emits a value. labels are the values of the family's labels, in order; missing
// ones are left out.
func (e *Emitter) Int(v int64, labels ...string) {
	if e.jmx {
		e.bean(float64(v), v, labels)
		return
	}
	e.sample(e.name, strconv.AppendInt(e.value(), v, 10), "", labels)
}

// Float emits a value.
func (e *Emitter) Float(v float64, labels ...string) {
	if e.jmx {
		e.bean(v, int64(v), labels)
		return
	}
	e.sample(e.name, appendFloat(e.value(), v), "", labels)
}

// Bool emits 1 or 0.
func (e *Emitter) Bool(v bool, labels ...string) {
	n := int64(0)
	if v {
		n = 1
	}
	e.Int(n, labels...)
}

// Distribution emits a Summary's quantiles and count; values are divided by scale.
func (e *Emitter) Distribution(d *Distribution, scale float64, labels ...string) {
	switch {
	case e.jmx:
		e.beanDistribution(d, scale, labels)
	case e.counts:
		e.sample(e.name, strconv.AppendUint(e.value(), d.Count, 10), "", labels)
	default:
		for _, q := range quantiles {
			e.sample(e.name, appendFloat(e.value(), d.Quantile(q.q)/scale), q.label, labels)
		}
	}
}

// value is scratch memory for a value's digits, behind what sample writes.
func (e *Emitter) value() []byte { return e.b[:0] }

func appendFloat(b []byte, v float64) []byte {
	switch {
	case math.IsNaN(v):
		return append(b, "NaN"...)
	case math.IsInf(v, 1):
		return append(b, "+Inf"...)
	case math.IsInf(v, -1):
		return append(b, "-Inf"...)
	}
	return strconv.AppendFloat(b, v, 'g', -1, 64)
}

// writeText writes one family under one name.
func (r *Registry) writeText(w *bufio.Writer, name string, fam *family, now time.Time) {
	e := &Emitter{Now: now, r: r, w: w, name: name, fam: fam, b: r.scratch}
	fam.collect(e)
	if fam.Kind == Summary && e.began {
		c := &Emitter{Now: now, r: r, w: w, name: name + "_count", fam: fam, counts: true, b: e.b}
		fam.collect(c)
		e.b = c.b
	}
	r.scratch = e.b
}

// header writes what stands before the first sample of a family.
func (e *Emitter) header() {
	if e.began {
		return
	}
	e.began = true
	typ := "gauge"
	if k := e.fam.Kind; k == Meter || k == Counter || e.counts {
		typ = "counter"
	}
	w := e.w
	_, _ = w.WriteString("# HELP ") // a failed write shows at the end
	_, _ = w.WriteString(e.name)
	_ = w.WriteByte(' ')
	_, _ = helpEscaper.WriteString(w, e.fam.Help)
	_, _ = w.WriteString("\n# TYPE ")
	_, _ = w.WriteString(e.name)
	_ = w.WriteByte(' ')
	_, _ = w.WriteString(typ)
	_ = w.WriteByte('\n')
}

var (
	helpEscaper  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	labelEscaper = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
)

// sample writes one line.
func (e *Emitter) sample(name string, value []byte, quantile string, labels []string) {
	e.header()
	e.line(name, value, quantile, "", labels)
}

// line writes a name, labels and a value. bean is the value of the label name that
// comes first in the JMX format, if there is one.
func (e *Emitter) line(name string, value []byte, quantile, bean string, labels []string) {
	w := e.w
	if e.jmx {
		w = e.r.group(name)
	}
	_, _ = w.WriteString(name)
	sep := byte('{')
	label := func(k, v string) {
		_ = w.WriteByte(sep)
		sep = ','
		_, _ = w.WriteString(k)
		_, _ = w.WriteString(`="`)
		if strings.ContainsAny(v, "\\\n\"") {
			_, _ = labelEscaper.WriteString(w, v)
		} else {
			_, _ = w.WriteString(v)
		}
		_ = w.WriteByte('"')
	}
	if bean != "" {
		label("name", bean)
	}
	for i, v := range labels {
		label(e.fam.Labels[i], v)
	}
	if quantile != "" {
		label("quantile", quantile)
	}
	if sep == ',' {
		_ = w.WriteByte('}')
	}
	_ = w.WriteByte(' ')
	_, _ = w.Write(value)
	_ = w.WriteByte('\n')
	e.b = value
}
