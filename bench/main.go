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
	album
	pairs   int
	kinds   []string
	running map[string]*cluster // by kind, all of one setup
	setup   string              // its name
	lines   []line
	scale   float64 // share of the full volume a run; 1 for results of record
	rounds  int     // failovers of gregor a row
	kRounds int     // and of Apache Kafka, which takes seconds for each
	gigs    float64 // of data, where a row needs much
	kafka11 bool    // 100,000 partitions on Apache Kafka too
	end     time.Time
}

func main() {
	b := &bench{running: map[string]*cluster{}}
	rows := flag.String("rows", "", "rows to run, by number, separated by commas; empty runs all")
	out := flag.String("out", "bench/out", "folder for results.md, results.json and plots")
	kinds := flag.String("servers", "gregor,floor,kafka", "which servers to measure")
	flag.StringVar(&b.gregorBin, "gregor", "bin/gregor", "the gregor binary")
	flag.StringVar(&b.floorBin, "floor", "bin/floor", "the floor binary")
	flag.StringVar(&b.kafkaLibs, "kafka-libs", "", "folder with Apache Kafka's jars")
	flag.StringVar(&b.dataDir, "data", "", "folder for log directories; tmpfs for rows bound by CPU")
	flag.StringVar(&b.diskDir, "disk", "bench/.work/data", "folder of a real file system for rows bound by the disk")
	flag.IntVar(&b.nextPort, "first-port", 24000, "the first of some 1,900 ports for servers")
	flag.IntVar(&b.rounds, "rounds", 100, "failovers of gregor a row")
	flag.IntVar(&b.kRounds, "kafka-rounds", 100, "failovers of Apache Kafka a row")
	flag.Float64Var(&b.gigs, "gigs", 20, "GB of data for rows 11a, 11c and 12c")
	flag.BoolVar(&b.kafka11, "kafka-11b", false, "100,000 partitions on Apache Kafka too; it fails by default limits")
	limit := flag.Duration("limit", 24*time.Hour, "begin no measurement that would not end within this time; the table then shows fewer")
	flag.IntVar(&b.pairs, "pairs", 5, "measurements of each server a row")
	flag.Float64Var(&b.scale, "scale", 1, "share of the full volume a measurement")
	flag.Parse()
	b.end = time.Now().Add(*limit)
	b.kinds = strings.Split(*kinds, ",")
	for _, p := range []*string{&b.gregorBin, &b.floorBin, &b.kafkaLibs, &b.diskDir} {
		*p, _ = filepath.Abs(*p)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	want := strings.FieldsFunc(*rows, func(r rune) bool { return r == ',' })
	err := b.run(ctx, want)
	fmt.Println(markdown(b.lines))
	if werr := errors.Join(writeResults(*out, b.lines), b.album.write(filepath.Join(*out, "plots"))); werr != nil && err == nil {
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
	for kind, c := range b.running {
		c.stop()
		delete(b.running, kind)
	}
}

// use returns the running servers of a kind, started and warmed once for all rows of
// one setup. Those of another setup are stopped before.
func (b *bench) use(ctx context.Context, kind string, u setup) (*cluster, error) {
	if b.setup != u.name {
		b.stopAll()
		b.setup = u.name
	}
	if c := b.running[kind]; c != nil {
		return c, c.alive()
	}
	c, err := b.prepareCluster(ctx, kind, u)
	if err != nil {
		return nil, err
	}
	b.running[kind] = c
	if err := b.startAll(ctx, c); err != nil || u.cold {
		return c, err
	}
	if err := b.warm(ctx, c); err != nil {
		return nil, fmt.Errorf("warming %s: %w", kind, err)
	}
	return c, nil
}

// get returns the running single node of a kind.
func (b *bench) get(ctx context.Context, kind string) (*server, error) {
	c, err := b.use(ctx, kind, single)
	if err != nil {
		return nil, err
	}
	return c.nodes[0], nil
}

// warm gives the JVM time to compile: 5 million records or 60 s, whichever is first.
func (b *bench) warm(ctx context.Context, c *cluster) error {
	const topic = "warm"
	total := int64(600 << 20)
	if c.kind != kafka {
		total = 64 << 20
	}
	total = int64(float64(total) * b.scale)
	if err := c.newTopic(ctx, topic, 6, nil); err != nil {
		return err
	}
	leaders, err := c.leaders(topic)
	if err != nil {
		return err
	}
	acks := int16(1)
	if len(c.nodes) > 1 {
		acks = -1
	}
	if len(c.nodes) == 1 {
		leaders = nil
	}
	spec := produceSpec{addr: c.nodes[0].addr, leaders: leaders, topic: topic, partitions: 6, conns: 6, inFlight: 5, batchBytes: 16 << 10, recordBytes: 100, acks: acks, totalBytes: total, limit: time.Minute}
	if _, err := runProduce(ctx, spec); err != nil {
		return err
	}
	if len(c.nodes) == 1 {
		r := consumeSpec{addr: c.nodes[0].addr, topic: topic, partitions: 6, consumers: 2, totalBytes: total, limit: time.Minute, fetchBytes: 1 << 20}
		if _, err := runConsume(ctx, r); err != nil {
			return err
		}
	}
	return c.dropTopic(ctx, topic)
}

// warmPages writes and deletes some gigabytes: the first write after an idle time
// pays for pages that the host took back.
func (b *bench) warmPages() error {
	return b.warmPagesIn(b.dataDir)
}

func (b *bench) warmPagesIn(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	name := filepath.Join(dir, "warm-pages")
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
	var longest time.Duration
	for i := 0; i < b.pairs; i++ {
		began := time.Now()
		if i > 0 && began.Add(longest).After(b.end) {
			fmt.Fprintf(os.Stderr, "  %d of %d: out of time\n", i, b.pairs)
			break
		}
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
		longest = max(longest, time.Since(began))
	}
	return got, nil
}

// metric describes one result of a row.
type metric struct {
	name  string
	lower bool
	goal  float64
}

// report adds lines whose goals are ratios to Apache Kafka.
func (b *bench) report(r row, workload string, got map[string]map[string][]float64, metrics ...metric) {
	b.addLines(line{Row: r.id, Workload: workload}, got, metrics)
}

// reportAbsolute adds lines whose goals are bounds of gregor's own figures.
func (b *bench) reportAbsolute(r row, workload string, got map[string]map[string][]float64, metrics ...metric) {
	b.addLines(line{Row: r.id, Workload: workload, Absolute: true}, got, metrics)
}

func (b *bench) addLines(of line, got map[string]map[string][]float64, metrics []metric) {
	for _, m := range metrics {
		if got[m.name] == nil {
			continue
		}
		of.Metric, of.Lower, of.Goal, of.Samples = m.name, m.lower, m.goal, got[m.name]
		b.lines = append(b.lines, of)
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
