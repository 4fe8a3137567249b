package monitor

import (
	"math"
	"runtime"
	"runtime/debug"
	gometrics "runtime/metrics"

	"github.com/gregorhq/gregor/internal/metrics"
)

// sample reads one of the runtime's own metrics, which stops nothing.
func sample(name string) float64 {
	s := []gometrics.Sample{{Name: name}}
	gometrics.Read(s)
	switch s[0].Value.Kind() {
	case gometrics.KindUint64:
		return float64(s[0].Value.Uint64())
	case gometrics.KindFloat64:
		return s[0].Value.Float64()
	}
	return 0
}

// quantileOf reads a quantile of one of the runtime's histograms.
func quantileOf(name string, q float64) float64 {
	s := []gometrics.Sample{{Name: name}}
	gometrics.Read(s)
	if s[0].Value.Kind() != gometrics.KindFloat64Histogram {
		return 0
	}
	h := s[0].Value.Float64Histogram()
	total := uint64(0)
	for _, n := range h.Counts {
		total += n
	}
	below := uint64(0)
	for i, n := range h.Counts {
		if below += n; n > 0 && float64(below) >= q*float64(total) {
			if hi := h.Buckets[i+1]; !math.IsInf(hi, 0) {
				return hi
			}
			return h.Buckets[i]
		}
	}
	return 0
}

func (x *exporter) runtime() {
	x.section = "Go runtime"
	const source = "runtime/metrics"
	row := func(kind metrics.Kind, name, of, help string) fam {
		return fam{kind, "", "", name, "", help, source + " " + of, func(e *metrics.Emitter) { e.Float(sample(of)) }}
	}
	x.plain(
		fam{metrics.Info, "", "", "go_info", "version", "Version of Go.", "runtime", func(e *metrics.Emitter) { e.Int(1, goVersion()) }},
		row(metrics.Gauge, "go_goroutines", "/sched/goroutines:goroutines", "Goroutines."),
		row(metrics.Gauge, "go_gomaxprocs", "/sched/gomaxprocs:threads", "Processors that Go code may use at a time."),
		row(metrics.Gauge, "go_memstats_heap_objects", "/gc/heap/objects:objects", "Objects on the heap."),
		row(metrics.Gauge, "go_memstats_alloc_bytes", "/memory/classes/heap/objects:bytes", "Bytes of objects on the heap, dead ones that were not swept included."),
		row(metrics.Counter, "go_memstats_alloc_bytes_total", "/gc/heap/allocs:bytes", "Bytes allocated on the heap since the start."),
		row(metrics.Gauge, "go_memstats_sys_bytes", "/memory/classes/total:bytes", "Bytes mapped by the runtime."),
		row(metrics.Gauge, "go_memstats_next_gc_bytes", "/gc/heap/goal:bytes", "Heap size at which the next collection ends."),
		row(metrics.Counter, "go_gc_cycles_total", "/gc/cycles/total:gc-cycles", "Collections since the start."),
		fam{metrics.Gauge, "", "", "go_gc_pause_seconds", "quantile", "How long collections stopped everything, since the start.", source + " /sched/pauses/total/gc:seconds", func(e *metrics.Emitter) {
			e.Float(quantileOf("/sched/pauses/total/gc:seconds", .5), "0.50")
			e.Float(quantileOf("/sched/pauses/total/gc:seconds", .99), "0.99")
		}},
		fam{metrics.Gauge, "", "", "go_sched_latency_seconds", "quantile", "How long goroutines waited for a processor, since the start.", source + " /sched/latencies:seconds", func(e *metrics.Emitter) {
			e.Float(quantileOf("/sched/latencies:seconds", .5), "0.50")
			e.Float(quantileOf("/sched/latencies:seconds", .99), "0.99")
		}},
	)
}

// jvm adds the names under which dashboards look for a JVM.
func (x *exporter) jvm() {
	x.section = "Aliases of a JVM (gregor.metrics.jvm.aliases.enable)"
	const heap, gc = `the Go heap`, `Go's collector`
	gauge := func(name, labels, help string, emit func(*metrics.Emitter)) fam {
		return fam{metrics.Gauge, "", "", name, labels, help, "runtime/metrics", emit}
	}
	inUse := func(e *metrics.Emitter) {
		used := sample("/memory/classes/heap/objects:bytes") + sample("/memory/classes/heap/unused:bytes")
		e.Float(used, "heap")
		e.Float(sample("/memory/classes/total:bytes")-sample("/memory/classes/heap/released:bytes")-used, "nonheap")
	}
	limit := func(e *metrics.Emitter) {
		if n := debug.SetMemoryLimit(-1); n != math.MaxInt64 {
			e.Int(n, "heap")
		} else {
			e.Int(-1, "heap") // as a JVM says that there is none
		}
	}
	x.plain(
		gauge("jvm_memory_used_bytes", "area", "Memory of "+heap+" and of the rest of the runtime.", inUse),
		gauge("jvm_memory_bytes_used", "area", "The same, as older exporters spell it.", inUse),
		gauge("jvm_memory_max_bytes", "area", "GOMEMLIMIT, -1 for none.", limit),
		gauge("jvm_memory_bytes_max", "area", "The same, as older exporters spell it.", limit),
		fam{metrics.Counter, "", "", "jvm_gc_collection_seconds_count", "gc", "Collections of " + gc + ".", "runtime/metrics", func(e *metrics.Emitter) {
			e.Float(sample("/gc/cycles/total:gc-cycles"), "go")
		}},
		fam{metrics.Counter, "", "", "jvm_gc_collection_seconds_sum", "gc", "Seconds of processor time of " + gc + ", which mostly runs beside the program.", "runtime/metrics", func(e *metrics.Emitter) {
			e.Float(sample("/cpu/classes/gc/total:cpu-seconds"), "go")
		}},
		gauge("jvm_threads_current", "", "Goroutines.", func(e *metrics.Emitter) { e.Int(int64(runtime.NumGoroutine())) }),
	)
}
