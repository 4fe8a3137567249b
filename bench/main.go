package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// bench is one run: the programs, how often each pair is measured, what came out.
type bench struct {
	where
	pairs   int
	kinds   []string
	servers map[string]*server
	lines   []line
	scale   float64 // share of the full volume a run; 1 for results of record
}

func main() {
	b := &bench{servers: map[string]*server{}}
	rows := flag.String("rows", "", "rows to run, by number, separated by commas; empty runs all")
	out := flag.String("out", "bench/out", "folder for results.md and results.json")
	kinds := flag.String("servers", "gregor,floor,kafka", "which servers to measure")
	flag.StringVar(&b.gregorBin, "gregor", "bin/gregor", "the gregor binary")
	flag.StringVar(&b.floorBin, "floor", "bin/floor", "the floor binary")
	flag.StringVar(&b.kafkaLibs, "kafka-libs", "", "folder with Apache Kafka's jars")
	flag.StringVar(&b.dataDir, "data", "", "folder for log directories; tmpfs for rows bound by CPU")
	flag.IntVar(&b.pairs, "pairs", 5, "measurements of each server a row")
	flag.Float64Var(&b.scale, "scale", 1, "share of the full volume a measurement")
	flag.Parse()
	b.kinds = strings.Split(*kinds, ",")
	for _, p := range []*string{&b.gregorBin, &b.floorBin, &b.kafkaLibs} {
		*p, _ = filepath.Abs(*p)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	want := strings.FieldsFunc(*rows, func(r rune) bool { return r == ',' })
	err := b.run(ctx, want)
	fmt.Println(markdown(b.lines))
	if werr := writeResults(*out, b.lines); werr != nil && err == nil {
		err = werr
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func (b *bench) run(ctx context.Context, want []string) error {
	defer b.stopAll()
	var failed []error
	for _, r := range rows {
		if len(want) > 0 && !slices.Contains(want, r.id) {
			continue
		}
		fmt.Fprintf(os.Stderr, "row %s: %s\n", r.id, r.workload)
		// A row that fails does not take the others' figures with it.
		if err := r.run(ctx, b, r); err != nil {
			err = fmt.Errorf("row %s: %w", r.id, err)
			fmt.Fprintln(os.Stderr, err)
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

func (b *bench) stopAll() {
	for _, s := range b.servers {
		s.stop()
	}
}

// get returns the running server of a kind, started and warmed once for all rows.
func (b *bench) get(ctx context.Context, kind string) (*server, error) {
	if s := b.servers[kind]; s != nil {
		return s, s.alive()
	}
	s, err := b.prepare(ctx, kind, nil)
	if err != nil {
		return nil, err
	}
	b.servers[kind] = s
	if err := b.start(ctx, s); err != nil {
		return nil, err
	}
	return s, b.warm(ctx, s)
}

// warm gives the JVM time to compile: 5 million records or 60 s, whichever is first.
func (b *bench) warm(ctx context.Context, s *server) error {
	total := int64(600 << 20)
	if s.kind != kafka {
		total = 64 << 20
	}
	topic := "warm"
	if err := s.newTopic(ctx, topic, 6, nil); err != nil {
		return err
	}
	spec := produceSpec{addr: s.addr, topic: topic, partitions: 6, conns: 4, inFlight: 5, batchBytes: 16 << 10, recordBytes: 100, acks: 1, totalBytes: int64(float64(total) * b.scale), limit: time.Minute}
	if _, err := runProduce(ctx, spec); err != nil {
		return fmt.Errorf("warming %s: %w", s.kind, err)
	}
	c := consumeSpec{addr: s.addr, topic: topic, partitions: 6, consumers: 2, totalBytes: int64(float64(total) * b.scale), limit: time.Minute, fetchBytes: 1 << 20}
	if _, err := runConsume(ctx, c); err != nil {
		return fmt.Errorf("warming %s: %w", s.kind, err)
	}
	return s.dropTopic(ctx, topic)
}

// warmPages writes and deletes some gigabytes: the first write after an idle time
// pays for pages that the host took back.
func (b *bench) warmPages() error {
	name := filepath.Join(b.dataDir, "warm-pages")
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer os.Remove(name)
	defer f.Close()
	chunk := make([]byte, 8<<20)
	for i := 0; i < int(256*b.scale)+1; i++ {
		if _, err := f.Write(chunk); err != nil {
			return err
		}
	}
	return nil
}

// interleave measures all kinds b.pairs times in the order A B C, C B A, ... and
// collects what measure returns a metric.
func (b *bench) interleave(ctx context.Context, kinds []string, measure func(kind string) (map[string]float64, error)) (map[string]map[string][]float64, error) {
	got := map[string]map[string][]float64{}
	for i := 0; i < b.pairs; i++ {
		order := slices.Clone(kinds)
		if i%2 == 1 {
			slices.Reverse(order)
		}
		for _, kind := range order {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if err := b.warmPages(); err != nil {
				return nil, err
			}
			m, err := measure(kind)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", kind, err)
			}
			for metric, v := range m {
				if got[metric] == nil {
					got[metric] = map[string][]float64{}
				}
				got[metric][kind] = append(got[metric][kind], v)
			}
			fmt.Fprintf(os.Stderr, "  %d/%d %-6s %v\n", i+1, b.pairs, kind, m)
		}
	}
	return got, nil
}

// metric describes one result of a row.
type metric struct {
	name  string
	lower bool
	goal  float64
}

func (b *bench) report(r row, workload string, got map[string]map[string][]float64, metrics ...metric) {
	for _, m := range metrics {
		if got[m.name] == nil {
			continue
		}
		b.lines = append(b.lines, line{Row: r.id, Workload: workload, Metric: m.name, Lower: m.lower, Goal: m.goal, Samples: got[m.name]})
	}
}

// has filters the kinds of this run.
func (b *bench) has(kinds ...string) []string {
	var out []string
	for _, k := range b.kinds {
		if slices.Contains(kinds, k) {
			out = append(out, k)
		}
	}
	return out
}
