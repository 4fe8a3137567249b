package main

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// growth is something that a node gets more and more of while its load stays the same.
type growth struct {
	what  string    // with its unit
	steps []float64 // the first is what the others are compared with
	setup setup
	// grow brings the node from one step to the next one.
	grow func(ctx context.Context, c *cluster, from, to float64) error
}

// steadyRate is the rate at which latency is measured, in requests a second of 16 KiB:
// far below what either server sustains, so that no queue is measured.
const steadyRate = 500

// row11c measures one load beside more and more idle partitions, idle connections and
// data. Servers are new for each pair, since they only ever grow.
func row11c(ctx context.Context, b *bench, r row) error {
	b.stopAll()
	held := &idleConns{}
	defer held.close()
	gigs := b.gigs * b.scale
	if err := b.room(int64(gigs * 1e9)); err != nil {
		return err
	}
	for _, g := range []growth{
		{"partitions", []float64{6, float64(b.many(1000).total()), float64(b.many(10_000).total())}, setup{nodes: 1}, b.morePartitions},
		{"connections", []float64{10, max(20, 1000*b.scale), max(40, 10_000*b.scale)}, setup{nodes: 1}, held.more},
		{"GB", []float64{gigs / 40, gigs}, setup{nodes: 1, onDisk: true}, moreData},
	} {
		got, err := b.interleave(ctx, b.has(gregor, kafka), func(kind string) (map[string]float64, error) {
			defer held.close()
			return b.growOnce(ctx, kind, g)
		})
		if err != nil {
			return fmt.Errorf("%s: %w", g.what, err)
		}
		b.reportGrowth(r, g, got)
	}
	return nil
}

// at names a metric of one step.
func (g growth) at(metric string, step float64) string { return fmt.Sprintf("%s at %g", metric, step) }

// loss names how a metric of one step compares with the first one's.
func (g growth) loss(metric string, step float64) string {
	return fmt.Sprintf("%s at %g / at %g", metric, step, g.steps[0])
}

func (b *bench) reportGrowth(r row, g growth, got map[string]map[string][]float64) {
	workload := fmt.Sprintf("%g to %g %s beside the same load", g.steps[0], g.steps[len(g.steps)-1], g.what)
	for _, step := range g.steps {
		for _, m := range []string{"MB/s", "ack p99 us"} {
			b.report(r, workload, got, metric{g.at(m, step), m != "MB/s", 0})
			for kind, v := range got[g.at(m, step)] {
				b.noteGrowth(r, g.what, m, kind, step, median(v))
			}
		}
	}
	for _, step := range g.steps[1:] {
		b.reportAbsolute(r, workload, got, metric{g.loss("MB/s", step), false, 0.9}, metric{g.loss("ack p99 us", step), true, 1.2})
	}
}

func (b *bench) growOnce(ctx context.Context, kind string, g growth) (map[string]float64, error) {
	c, err := b.prepareCluster(ctx, kind, g.setup)
	if err != nil {
		return nil, err
	}
	defer c.stop()
	if err := b.startAll(ctx, c); err != nil {
		return nil, err
	}
	if err := b.warm(ctx, c); err != nil {
		return nil, err
	}
	out := map[string]float64{}
	var from float64
	for i, step := range g.steps {
		if err := g.grow(ctx, c, from, step); err != nil {
			return nil, fmt.Errorf("from %g to %g %s: %w", from, step, g.what, err)
		}
		from = step
		m, err := b.sameLoad(ctx, c)
		if err != nil {
			return nil, err
		}
		for name, v := range m {
			out[g.at(name, step)] = v
			if i > 0 {
				out[g.loss(name, step)] = v / out[g.at(name, g.steps[0])]
			}
		}
	}
	return out, nil
}

// sameLoad is the load that stays the same: first as much as the node takes, then a
// steady one for its latency, to a topic of its own.
func (b *bench) sameLoad(ctx context.Context, c *cluster) (map[string]float64, error) {
	s := c.nodes[0]
	topic := fmt.Sprintf("g%d", time.Now().UnixNano())
	if err := c.newTopic(ctx, topic, 6, topicConfigs); err != nil {
		return nil, err
	}
	res, err := runProduce(ctx, produceSpec{addr: s.addr, topic: topic, partitions: 6, conns: 4, inFlight: 5, batchBytes: 16 << 10, recordBytes: 100, acks: 1, totalBytes: b.bytes(2 * gib), limit: 12 * time.Second})
	if err != nil {
		return nil, err
	}
	leaders := []string{s.addr, s.addr, s.addr, s.addr, s.addr, s.addr}
	run := max(time.Second, b.seconds(10))
	h, err := runPaced(ctx, pacedSpec{leaders: leaders, topic: topic, acks: 1, batchBytes: 16 << 10, recordBytes: 100, rate: steadyRate, skip: time.Second, run: run})
	if err != nil {
		return nil, err
	}
	return map[string]float64{"MB/s": res.mbPerSec(), "ack p99 us": float64(h.quantile(0.99))}, c.dropTopic(ctx, topic)
}

// morePartitions adds partitions that nobody produces to, beside the load's six.
func (b *bench) morePartitions(ctx context.Context, c *cluster, from, to float64) error {
	for n := int(from); n > 0 && n < int(to); {
		add := min(1000, int(to)-n)
		if err := c.newTopics(ctx, add, topicConfigs, 5*time.Minute, fmt.Sprintf("idle-%d", n)); err != nil {
			return err
		}
		n += add
	}
	return nil
}

// moreData fills a topic that nobody reads.
func moreData(ctx context.Context, c *cluster, from, to float64) error {
	const topic = "data"
	if from == 0 {
		if err := c.newTopic(ctx, topic, 6, topicConfigs); err != nil {
			return err
		}
	}
	_, err := runProduce(ctx, produceSpec{addr: c.nodes[0].addr, topic: topic, partitions: 6, conns: 2, inFlight: 4, batchBytes: 256 << 10, recordBytes: 1000, acks: 1, totalBytes: int64((to - from) * 1e9), limit: 5 * time.Minute})
	return err
}

// idleConns are connections that have asked once, as a client does when it connects,
// and then do nothing.
type idleConns struct{ open []net.Conn }

func (i *idleConns) more(ctx context.Context, c *cluster, _, to float64) error {
	req := kmsg.NewPtrApiVersionsRequest()
	frame := kmsg.NewRequestFormatter(kmsg.FormatterClientID("idle")).AppendRequest(nil, req, 1)
	var buf []byte
	for len(i.open) < int(to) {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.nodes[0].addr)
		if err != nil {
			return fmt.Errorf("connection %d: %w", len(i.open), err)
		}
		i.open = append(i.open, conn)
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := conn.Write(frame); err != nil {
			return err
		}
		if buf, err = readFrame(conn, buf); err != nil {
			return fmt.Errorf("connection %d: %w", len(i.open), err)
		}
	}
	return nil
}

func (i *idleConns) close() {
	for _, c := range i.open {
		c.Close()
	}
	i.open = nil
}
