package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// forCompaction lets the cleaner begin soon after it may; both servers wait 15 s by
// default between two looks.
var forCompaction = setup{name: "compaction", nodes: 1, extra: map[string]string{"log.cleaner.backoff.ms": "100"}}

const (
	compactionLimit = 8 * time.Minute
	meanwhileRate   = 1000 // records a second of 1 KB on another topic
)

// row12c writes a log whose records live to a tenth, lets the cleaner at it and
// measures how fast it goes through, and what a producer to another topic notices.
func row12c(ctx context.Context, b *bench, r row) error {
	bytes := b.bytes(int64(b.gigs * 1e9))
	for _, size := range []int{1000, 100} {
		got, err := b.interleave(ctx, b.has(gregor, kafka), func(kind string) (map[string]float64, error) {
			c, err := b.use(ctx, kind, forCompaction)
			if err != nil {
				return nil, err
			}
			return compactOnce(ctx, c, bytes, size)
		})
		if err != nil {
			return err
		}
		b.report(r, fmt.Sprintf("%.1f GB of %d B records, one partition, about 10 %% live, segments of 256 MiB, tmpfs", float64(bytes)/1e9, size), got,
			metric{"MB/s of input", false, 4}, metric{"produce p50 us meanwhile", true, 0}, metric{"produce p99 us meanwhile", true, 1.0 / 3}, metric{"broker CPU-s a GB of input", true, 0}, metric{"% left", true, 0})
	}
	return nil
}

func compactOnce(ctx context.Context, c *cluster, bytes int64, size int) (map[string]float64, error) {
	s := c.nodes[0]
	topic := fmt.Sprintf("compact-%d", time.Now().UnixNano())
	other := topic + "-other"
	configs := map[string]string{"cleanup.policy": "delete", "retention.ms": "-1", "segment.bytes": "268435456", "min.cleanable.dirty.ratio": "0.001", "file.delete.delay.ms": "1000"}
	if err := c.newTopic(ctx, topic, 1, configs); err != nil {
		return nil, err
	}
	if err := c.newTopic(ctx, other, 1, nil); err != nil {
		return nil, err
	}
	if err := fillKeyed(ctx, s.addr, topic, bytes, size); err != nil {
		return nil, err
	}
	dir := filepath.Join(s.dir, "data")
	input, active, err := segments(filepath.Join(dir, topic+"-0"))
	if err != nil {
		return nil, err
	}
	if active == 0 {
		return nil, fmt.Errorf("%d bytes fill no segment", bytes)
	}
	adm, err := c.admin()
	if err != nil {
		return nil, err
	}
	defer adm.Close()
	before, err := c.usage()
	if err != nil {
		return nil, err
	}
	stop := meanwhile(ctx, pacedSpec{leaders: []string{s.addr}, topic: other, acks: 1, recordBytes: 1000, rate: meanwhileRate, run: compactionLimit})
	defer stop()
	policy := "compact"
	began := time.Now()
	rs, err := adm.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "cleanup.policy", Value: &policy}}, topic)
	if err != nil {
		return nil, err
	}
	if rs[0].Err != nil {
		return nil, rs[0].Err
	}
	for cleanPoint(dir, topic) < active {
		if time.Since(began) > compactionLimit || ctx.Err() != nil {
			return nil, fmt.Errorf("cleaned to %d of %d after %v", cleanPoint(dir, topic), active, time.Since(began))
		}
		if err := s.alive(); err != nil {
			return nil, err
		}
		time.Sleep(10 * time.Millisecond)
	}
	took := time.Since(began).Seconds()
	after, err := c.usage()
	if err != nil {
		return nil, err
	}
	load, err := stop()
	if err != nil {
		return nil, err
	}
	left, _, err := segments(filepath.Join(dir, topic+"-0"))
	if err != nil {
		return nil, err
	}
	return map[string]float64{
		"MB/s of input": float64(input) / 1e6 / took, "produce p50 us meanwhile": float64(load.quantile(0.5)), "produce p99 us meanwhile": float64(load.quantile(0.99)),
		"broker CPU-s a GB of input": (after.cpu - before.cpu).Seconds() / (float64(input) / 1e9), "% left": 100 * float64(left) / float64(input),
	}, c.dropTopic(ctx, topic, other)
}

// segments returns the bytes of a partition's closed segments and the base offset of
// the active one.
func segments(dir string) (closed, active int64, err error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil {
		return 0, 0, err
	}
	var last int64
	for _, name := range names {
		base, err := strconv.ParseInt(strings.TrimSuffix(filepath.Base(name), ".log"), 10, 64)
		if err != nil {
			return 0, 0, err
		}
		st, err := os.Stat(name)
		if err != nil {
			return 0, 0, err
		}
		closed += st.Size()
		if base >= active {
			active, last = base, st.Size()
		}
	}
	return closed - last, active, nil
}

// cleanPoint is the partition's entry in cleaner-offset-checkpoint, -1 without one.
func cleanPoint(dir, topic string) int64 {
	text, err := os.ReadFile(filepath.Join(dir, "cleaner-offset-checkpoint"))
	if err != nil {
		return -1
	}
	for _, l := range strings.Split(string(text), "\n") {
		if f := strings.Fields(l); len(f) == 3 && f[0] == topic {
			if n, err := strconv.ParseInt(f[2], 10, 64); err == nil {
				return n
			}
		}
	}
	return -1
}
