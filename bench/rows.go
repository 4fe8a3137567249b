package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// row is one line of the plan in docs/performance.md.
type row struct {
	id, workload string
	run          func(ctx context.Context, b *bench, r row) error
}

var rows = []row{
	{"1a", "acks=1, RF1, 6 partitions, 100 B records in 16 KiB batches, 4 connections x 5 in flight", row1a},
	{"1b", "the same with 1 MiB batches, 100 B and 1 KB records", row1b},
	{"1c", "the same with lz4 and zstd from the client", row1c},
	{"3", "100 and 1,000 connections, one 100 B record a request, acks=1", row3},
	{"4a", "consume hot, 1 and 6 consumers", row4a},
	{"4b", "consume cold while producing", row4b},
	{"6", "end to end at fixed rates of 1 KB records, RF1 acks=1", row6},
	{"8", "memory", row8},
	{"9", "start", row9},
	{"2a", "acks=all, RF3, min.insync 2, three nodes, 6 partitions, 100 B records in 16 KiB batches, 6 connections x 5 in flight", row2a},
	{"7", "idle, 1,000 partitions, RF3", row7},
	{"5a", "fan-out in bulk: one producer, 20 consumers, 3 partitions, RF3 acks=all, 256 KiB batches of 1 KB records", row5a},
	{"5b", "fan-out at the tail: 1 KB x 2,000/s to 20 consumers, RF3 acks=all", row5b},
	{"6-rf3", "end to end at fixed rates of 1 KB records, RF3 acks=all", row6Replicated},
	{"2b", "durable: flush.messages=1, RF3 acks=all, 16 partitions, 51 producers of one 100 B record a request, ext4", row2b},
	{"10a", "kill -9 of a leader that is not the active controller; 100 partitions, RF3, acks=all", row10a},
	{"10b", "kill -9 of the active controller, then CreateTopics", row10b},
	{"10c", "SIGTERM of a leader that is not the active controller; acks=all", row10c},
	{"11a", "restart of a node with 10,000 partitions", row11a},
	{"11b", "100,000 partitions on one node", row11b},
	{"11c", "more and more partitions, connections and data beside the same load", row11c},
	{"10k", "10,000 partitions with three replicas: creation, failover, restart", row10k},
	{"12a-classic", "a large group of the classic protocol: all join, one leaves, rolling restart", row12a(false)},
	{"12a-848", "the same with the consumer protocol of KIP-848", row12a(true)},
	{"12b", "transactions of 100 producers", row12b},
	{"12c", "compaction", row12c},
}

const gib = 1 << 30

// topicConfigs let batches of a full MiB with their header into a topic, and keep
// records although their timestamps are old.
var topicConfigs = map[string]string{"max.message.bytes": "2000000", "retention.ms": "-1"}

func (b *bench) bytes(n int64) int64 { return int64(float64(n) * b.scale) }

// produceOnce runs one produce load on a new topic, with the CPU that it cost.
func (b *bench) produceOnce(ctx context.Context, kind string, spec produceSpec) (produceResult, map[string]float64, error) {
	s, err := b.get(ctx, kind)
	if err != nil {
		return produceResult{}, nil, err
	}
	spec.addr, spec.topic = s.addr, fmt.Sprintf("t%d", time.Now().UnixNano())
	if err := s.newTopic(ctx, spec.topic, spec.partitions, topicConfigs); err != nil {
		return produceResult{}, nil, err
	}
	before, err := usageOf(s.pid())
	if err != nil {
		return produceResult{}, nil, err
	}
	res, err := runProduce(ctx, spec)
	if err != nil {
		return res, nil, err
	}
	after, err := usageOf(s.pid())
	if err != nil {
		return res, nil, err
	}
	cpu := (after.cpu - before.cpu).Seconds()
	m := map[string]float64{
		"records/s": res.recordsPerSec(), "MB/s": res.mbPerSec(), "MB/s before compression": res.rawMBPerSec(),
		"requests/s": res.requestsPerSec(), "ack p99 us": float64(res.lat.quantile(0.99)),
		"broker CPU-s a GB": cpu / (float64(res.bytes) / 1e9), "broker CPU us a request": cpu * 1e6 / float64(res.requests),
		"RSS MB under load": float64(after.rss) / 1e6,
	}
	return res, m, s.dropTopic(ctx, spec.topic)
}

func (b *bench) produceRow(ctx context.Context, r row, workload string, kinds []string, spec produceSpec, metrics ...metric) error {
	got, err := b.interleave(ctx, kinds, func(kind string) (map[string]float64, error) {
		_, m, err := b.produceOnce(ctx, kind, spec)
		return m, err
	})
	if err != nil {
		return err
	}
	b.report(r, workload, got, metrics...)
	return nil
}

func row1a(ctx context.Context, b *bench, r row) error {
	spec := produceSpec{partitions: 6, conns: 4, inFlight: 5, batchBytes: 16 << 10, recordBytes: 100, acks: 1, totalBytes: b.bytes(3 * gib), limit: 12 * time.Second}
	return b.produceRow(ctx, r, r.workload, b.has(gregor, floor, kafka), spec,
		metric{"records/s", false, 3}, metric{"ack p99 us", true, 0},
		metric{"broker CPU-s a GB", true, 1.0 / 4}, metric{"RSS MB under load", true, 1.0 / 8})
}

func row1b(ctx context.Context, b *bench, r row) error {
	for _, size := range []int{100, 1000} {
		spec := produceSpec{partitions: 6, conns: 4, inFlight: 5, batchBytes: 1 << 20, recordBytes: size, acks: 1, totalBytes: b.bytes(6 * gib), limit: 12 * time.Second}
		if err := b.produceRow(ctx, r, fmt.Sprintf("1 MiB batches of %d B records", size), b.has(gregor, floor, kafka), spec,
			metric{"MB/s", false, 1.7}, metric{"broker CPU-s a GB", true, 1.0 / 2}); err != nil {
			return err
		}
	}
	return nil
}

func row1c(ctx context.Context, b *bench, r row) error {
	for _, c := range []struct {
		name  string
		codec int
	}{{"lz4", codecLZ4}, {"zstd", codecZstd}} {
		spec := produceSpec{partitions: 6, conns: 4, inFlight: 5, batchBytes: 1 << 20, recordBytes: 100, codec: c.codec, acks: 1, totalBytes: b.bytes(2 * gib), limit: 12 * time.Second}
		if err := b.produceRow(ctx, r, "1 MiB batches, "+c.name, b.has(gregor, kafka), spec,
			metric{"MB/s before compression", false, 2}); err != nil {
			return err
		}
	}
	return nil
}

func row3(ctx context.Context, b *bench, r row) error {
	for _, conns := range []int{100, 1000} {
		spec := produceSpec{partitions: 6, conns: conns, inFlight: 1, records: 1, recordBytes: 100, acks: 1, totalBytes: b.bytes(170 << 20), limit: 8 * time.Second}
		if err := b.produceRow(ctx, r, fmt.Sprintf("%d connections, one record a request", conns), b.has(gregor, floor, kafka), spec,
			metric{"requests/s", false, 4}, metric{"broker CPU us a request", true, 1.0 / 5}, metric{"ack p99 us", true, 0}); err != nil {
			return err
		}
	}
	return nil
}

func row4a(ctx context.Context, b *bench, r row) error {
	const topic = "hot"
	for _, kind := range b.has(gregor, floor, kafka) {
		s, err := b.get(ctx, kind)
		if err != nil {
			return err
		}
		if err := s.newTopic(ctx, topic, 6, topicConfigs); err != nil {
			return err
		}
		spec := produceSpec{addr: s.addr, topic: topic, partitions: 6, conns: 6, inFlight: 2, batchBytes: 16 << 10, recordBytes: 100, acks: 1, totalBytes: 256 << 20, limit: 20 * time.Second}
		if _, err := runProduce(ctx, spec); err != nil {
			return err
		}
	}
	for _, n := range []int{1, 6} {
		got, err := b.interleave(ctx, b.has(gregor, floor, kafka), func(kind string) (map[string]float64, error) {
			s, err := b.get(ctx, kind)
			if err != nil {
				return nil, err
			}
			before, err := usageOf(s.pid())
			if err != nil {
				return nil, err
			}
			res, err := runConsume(ctx, consumeSpec{addr: s.addr, topic: topic, partitions: 6, consumers: n, totalBytes: b.bytes(8 * gib), limit: 12 * time.Second, fetchBytes: 1 << 20})
			if err != nil {
				return nil, err
			}
			after, err := usageOf(s.pid())
			if err != nil {
				return nil, err
			}
			return map[string]float64{"GB/s": res.gbPerSec(), "broker CPU-s a GB": (after.cpu - before.cpu).Seconds() / (float64(res.bytes) / 1e9)}, nil
		})
		if err != nil {
			return err
		}
		b.report(r, fmt.Sprintf("hot, %d consumers, 1 MiB fetches", n), got, metric{"GB/s", false, 2}, metric{"broker CPU-s a GB", true, 1.0 / 2})
	}
	for _, kind := range b.has(gregor, floor, kafka) {
		s, err := b.get(ctx, kind)
		if err != nil {
			return err
		}
		if err := s.dropTopic(ctx, topic); err != nil {
			return err
		}
	}
	return nil
}

// pin sets the CPUs of a process and its threads; it is undone by giving all.
func pin(pid int, cpus ...int) {
	var set unix.CPUSet
	for _, c := range cpus {
		set.Set(c)
	}
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return
	}
	for _, t := range tasks {
		if tid, err := strconv.Atoi(t.Name()); err == nil {
			unix.SchedSetaffinity(tid, &set)
		}
	}
}

func row6(ctx context.Context, b *bench, r row) error {
	for _, rate := range []int{1000, 5000, 20000} {
		workload := fmt.Sprintf("%d records/s", rate)
		got, err := b.interleave(ctx, b.has(gregor, floor, kafka), func(kind string) (map[string]float64, error) {
			s, err := b.get(ctx, kind)
			if err != nil {
				return nil, err
			}
			topic := fmt.Sprintf("e%d", time.Now().UnixNano())
			if err := s.newTopic(ctx, topic, 1, topicConfigs); err != nil {
				return nil, err
			}
			pin(s.pid(), 0)
			pin(os.Getpid(), 1)
			defer pin(s.pid(), 0, 1)
			defer pin(os.Getpid(), 0, 1)
			h, err := runLatency(ctx, latencySpec{addr: s.addr, topic: topic, rate: rate, recordBytes: 1000, acks: 1, warm: 2 * time.Second, run: b.seconds(8)})
			if err != nil {
				return nil, err
			}
			b.noteLatency(r, workload, kind, h)
			return map[string]float64{"p50 us": float64(h.quantile(0.5)), "p99 us": float64(h.quantile(0.99)), "p99.9 us": float64(h.quantile(0.999))}, s.dropTopic(ctx, topic)
		})
		if err != nil {
			return err
		}
		b.report(r, workload, got, metric{"p50 us", true, 1.0 / 3}, metric{"p99 us", true, 1.0 / 6}, metric{"p99.9 us", true, 1.0 / 10})
	}
	return nil
}
