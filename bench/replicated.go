package main

import (
	"context"
	"fmt"
	"os"
	"time"
)

// Rows of three combined nodes: every topic has three replicas, producers ask for
// acks=all, min.insync.replicas is 2.

// measured makes a topic, runs load on it and returns the CPU seconds of all nodes.
func (b *bench) measured(ctx context.Context, c *cluster, partitions int, configs map[string]string, load func(topic string, leaders []string) error) (time.Duration, error) {
	topic := fmt.Sprintf("t%d", time.Now().UnixNano())
	if err := c.newTopic(ctx, topic, partitions, configs); err != nil {
		return 0, err
	}
	leaders, err := c.leaders(topic)
	if err != nil {
		return 0, err
	}
	before, err := c.usage()
	if err != nil {
		return 0, err
	}
	if err := load(topic, leaders); err != nil {
		return 0, err
	}
	after, err := c.usage()
	if err != nil {
		return 0, err
	}
	return after.cpu - before.cpu, c.dropTopic(ctx, topic)
}

// tripleProduce measures one produce load on three nodes.
func (b *bench) tripleProduce(ctx context.Context, kind string, u setup, configs map[string]string, spec produceSpec) (map[string]float64, error) {
	c, err := b.use(ctx, kind, u)
	if err != nil {
		return nil, err
	}
	var res produceResult
	cpu, err := b.measured(ctx, c, spec.partitions, configs, func(topic string, leaders []string) error {
		spec.topic, spec.leaders, spec.acks = topic, leaders, -1
		var err error
		res, err = runProduce(ctx, spec)
		return err
	})
	if err != nil {
		return nil, err
	}
	u2, err := c.usage()
	return map[string]float64{
		"records/s": res.recordsPerSec(), "MB/s": res.mbPerSec(), "ack p99 us": float64(res.lat.quantile(0.99)), "ack p50 us": float64(res.lat.quantile(0.5)),
		"broker CPU-s a GB": cpu.Seconds() / (float64(res.bytes) / 1e9), "broker CPU us a request": cpu.Seconds() * 1e6 / float64(max(res.requests, 1)),
		"RSS MB of three nodes": float64(u2.rss) / 1e6,
	}, err
}

// row2a measures the maximum, then the latency of acknowledgements at half of what
// Apache Kafka reached. Its CPU a GB is also row 7's figure of replication.
func row2a(ctx context.Context, b *bench, r row) error {
	kinds := b.has(gregor, kafka)
	spec := produceSpec{partitions: 6, conns: 6, inFlight: 5, batchBytes: 16 << 10, recordBytes: 100, totalBytes: b.bytes(gib), limit: 12 * time.Second}
	got, err := b.interleave(ctx, kinds, func(kind string) (map[string]float64, error) {
		return b.tripleProduce(ctx, kind, triple, topicConfigs, spec)
	})
	if err != nil {
		return err
	}
	b.report(r, r.workload, got, metric{"records/s", false, 3}, metric{"ack p99 us", true, 0}, metric{"broker CPU-s a GB", true, 1.0 / 3}, metric{"RSS MB of three nodes", true, 0})
	reference := got["records/s"][kafka]
	if len(reference) == 0 {
		reference = got["records/s"][gregor]
	}
	half := median(reference) / 2 / float64(recordsFor(spec.batchBytes, spec.recordBytes))
	got, err = b.interleave(ctx, kinds, func(kind string) (map[string]float64, error) {
		c, err := b.use(ctx, kind, triple)
		if err != nil {
			return nil, err
		}
		var m map[string]float64
		_, err = b.measured(ctx, c, 6, topicConfigs, func(topic string, leaders []string) error {
			h, err := runPaced(ctx, pacedSpec{leaders: leaders, topic: topic, acks: -1, batchBytes: spec.batchBytes, recordBytes: spec.recordBytes, rate: half, skip: time.Second, run: b.seconds(6)})
			if err == nil {
				m = map[string]float64{"ack p50 us": float64(h.quantile(0.5)), "ack p99 us": float64(h.quantile(0.99)), "ack p99.9 us": float64(h.quantile(0.999))}
			}
			return err
		})
		return m, err
	})
	if err != nil {
		return err
	}
	b.report(r, fmt.Sprintf("the same at half of Apache Kafka's maximum (%.0f records/s)", half*float64(recordsFor(spec.batchBytes, spec.recordBytes))), got,
		metric{"ack p50 us", true, 0}, metric{"ack p99 us", true, 1.0 / 5}, metric{"ack p99.9 us", true, 0})
	return nil
}

// seconds is n seconds of a full run.
func (b *bench) seconds(n float64) time.Duration {
	return time.Duration(n * b.scale * float64(time.Second))
}

func row2b(ctx context.Context, b *bench, r row) error {
	configs := map[string]string{"flush.messages": "1", "retention.ms": "-1"}
	spec := produceSpec{partitions: 16, conns: 51, inFlight: 1, records: 1, recordBytes: 100, totalBytes: b.bytes(gib), limit: b.seconds(8)}
	got, err := b.interleave(ctx, b.has(gregor, kafka), func(kind string) (map[string]float64, error) {
		if err := b.warmPagesIn(b.diskDir); err != nil {
			return nil, err
		}
		return b.tripleProduce(ctx, kind, tripleOnDisk, configs, spec)
	})
	if err != nil {
		return err
	}
	b.report(r, r.workload, got, metric{"records/s", false, 10}, metric{"ack p50 us", true, 0}, metric{"ack p99 us", true, 1.0 / 5}, metric{"broker CPU us a request", true, 0})
	return nil
}

// tail runs a latency load on a topic of one partition, adds it to the distribution of the
// workload and returns the percentiles and the CPU that the nodes took.
func (b *bench) tail(ctx context.Context, r row, workload, kind string, spec latencySpec) (map[string]float64, error) {
	c, err := b.use(ctx, kind, triple)
	if err != nil {
		return nil, err
	}
	c.pin(0)
	pin(os.Getpid(), 1)
	defer c.pin(0, 1)
	defer pin(os.Getpid(), 0, 1)
	var h *hist
	cpu, err := b.measured(ctx, c, 1, topicConfigs, func(topic string, leaders []string) error {
		spec.addr, spec.topic, spec.acks = leaders[0], topic, -1
		var err error
		h, err = runLatency(ctx, spec)
		return err
	})
	if err != nil {
		return nil, err
	}
	b.noteLatency(r, workload, kind, h)
	return map[string]float64{
		"p50 us": float64(h.quantile(0.5)), "p99 us": float64(h.quantile(0.99)), "p99.9 us": float64(h.quantile(0.999)),
		"broker CPU us a record": cpu.Seconds() * 1e6 / (float64(spec.rate) * (spec.warm + spec.run).Seconds()),
	}, nil
}

func row6Replicated(ctx context.Context, b *bench, r row) error {
	for _, rate := range []int{1000, 5000, 20000} {
		workload := fmt.Sprintf("RF3, acks=all, %d records/s", rate)
		got, err := b.interleave(ctx, b.has(gregor, kafka), func(kind string) (map[string]float64, error) {
			return b.tail(ctx, r, workload, kind, latencySpec{rate: rate, recordBytes: 1000, warm: 2 * time.Second, run: b.seconds(8)})
		})
		if err != nil {
			return err
		}
		b.report(r, workload, got, metric{"p50 us", true, 1.0 / 3}, metric{"p99 us", true, 1.0 / 6}, metric{"p99.9 us", true, 1.0 / 10}, metric{"broker CPU us a record", true, 0})
	}
	return nil
}

// row7 leaves the nodes alone with a thousand replicated partitions.
func row7(ctx context.Context, b *bench, r row) error {
	const topic = "idle"
	partitions := min(1000, max(1, int(10_000*b.scale)))
	kinds := b.has(gregor, kafka)
	for _, kind := range kinds {
		c, err := b.use(ctx, kind, triple)
		if err != nil {
			return err
		}
		if err := c.newTopic(ctx, topic, partitions, nil); err != nil {
			return err
		}
	}
	time.Sleep(b.seconds(10)) // what creation left to do is not idleness
	got, err := b.interleave(ctx, kinds, func(kind string) (map[string]float64, error) {
		c, err := b.use(ctx, kind, triple)
		if err != nil {
			return nil, err
		}
		before, err := c.usage()
		if err != nil {
			return nil, err
		}
		idle := b.seconds(20)
		time.Sleep(idle) // the idle time is what is measured
		after, err := c.usage()
		return map[string]float64{"CPU ms a second, three nodes": ms(after.cpu-before.cpu) / idle.Seconds(), "RSS MB of three nodes": float64(after.rss) / 1e6}, err
	})
	if err != nil {
		return err
	}
	b.report(r, fmt.Sprintf("idle, %d partitions, RF3", partitions), got, metric{"CPU ms a second, three nodes", true, 1.0 / 10}, metric{"RSS MB of three nodes", true, 0})
	for _, kind := range kinds {
		if err := b.running[kind].dropTopic(ctx, topic); err != nil {
			return err
		}
	}
	return nil
}
