package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// singleOnDisk is for rows that read what memory does not hold.
var singleOnDisk = setup{name: "single on disk", nodes: 1, onDisk: true}

const (
	coldTopic = "cold"
	coldLimit = 2 * time.Minute
	// coldReaders is how many consumers share the partitions: each waits for the disk
	// while another one's answer is sent.
	coldReaders = 2
)

// row4b reads a topic that is on disk only while a producer to another topic is
// measured. The page cache is emptied of the topic before each measurement, and what
// the broker had from the device is counted: only that is cold.
func row4b(ctx context.Context, b *bench, r row) error {
	bytes := b.bytes(8 * gib)
	kinds := b.has(gregor, kafka)
	if err := b.room(bytes * int64(len(kinds))); err != nil {
		return err
	}
	for _, kind := range kinds {
		c, err := b.use(ctx, kind, singleOnDisk)
		if err != nil {
			return err
		}
		if err := c.newTopic(ctx, coldTopic, 6, topicConfigs); err != nil {
			return err
		}
		spec := produceSpec{addr: c.nodes[0].addr, topic: coldTopic, partitions: 6, conns: 2, inFlight: 4, batchBytes: 64 << 10, recordBytes: 1000, acks: 1, totalBytes: bytes, limit: 5 * time.Minute}
		if _, err := runProduce(ctx, spec); err != nil {
			return err
		}
	}
	got, err := b.interleave(ctx, kinds, func(kind string) (map[string]float64, error) {
		c, err := b.use(ctx, kind, singleOnDisk)
		if err != nil {
			return nil, err
		}
		return b.readCold(ctx, c, r, bytes)
	})
	if err != nil {
		return err
	}
	b.report(r, fmt.Sprintf("cold, %.1f GB on ext4, %d consumers, 1 MiB fetches, %d records/s of 1 KB produced meanwhile", float64(bytes)/1e9, coldReaders, meanwhileRate), got,
		metric{"GB/s", false, 1.3}, metric{"produce p50 us meanwhile", true, 0}, metric{"produce p99 us meanwhile", true, 1.0 / 4},
		metric{"broker CPU-s a GB", true, 0}, metric{"% from the device", false, 0})
	for _, kind := range kinds {
		if err := b.running[kind].dropTopic(ctx, coldTopic); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) readCold(ctx context.Context, c *cluster, r row, bytes int64) (map[string]float64, error) {
	s := c.nodes[0]
	if err := evict(filepath.Join(s.dir, "data"), coldTopic); err != nil {
		return nil, err
	}
	other := fmt.Sprintf("m%d", time.Now().UnixNano())
	if err := c.newTopic(ctx, other, 1, nil); err != nil {
		return nil, err
	}
	stop := meanwhile(ctx, pacedSpec{leaders: []string{s.addr}, topic: other, acks: 1, recordBytes: 1000, rate: meanwhileRate, run: coldLimit + time.Minute})
	defer stop()
	before, err := usageOf(s.pid())
	if err != nil {
		return nil, err
	}
	read, err := deviceBytes(s.pid())
	if err != nil {
		return nil, err
	}
	res, err := runConsume(ctx, consumeSpec{addr: s.addr, topic: coldTopic, partitions: 6, consumers: coldReaders, totalBytes: bytes, limit: coldLimit, fetchBytes: 1 << 20})
	if err != nil {
		return nil, err
	}
	after, err := usageOf(s.pid())
	if err != nil {
		return nil, err
	}
	readAfter, err := deviceBytes(s.pid())
	if err != nil {
		return nil, err
	}
	load, err := stop()
	if err != nil {
		return nil, err
	}
	b.noteLatency(r, "produce while cold data is read", c.kind, load)
	return map[string]float64{
		"GB/s": res.gbPerSec(), "broker CPU-s a GB": (after.cpu - before.cpu).Seconds() / (float64(res.bytes) / 1e9),
		"produce p50 us meanwhile": float64(load.quantile(0.5)), "produce p99 us meanwhile": float64(load.quantile(0.99)),
		"% from the device": 100 * float64(readAfter-read) / float64(res.bytes),
	}, c.dropTopic(ctx, other)
}

// evict takes a topic's segments out of the page cache, after what is dirty of them was
// written.
func evict(dir, topic string) error {
	names, err := filepath.Glob(filepath.Join(dir, topic+"-*", "*.log"))
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return fmt.Errorf("%s has no segments of %s", dir, topic)
	}
	for _, name := range names {
		if err := evictFile(name); err != nil {
			return fmt.Errorf("emptying the page cache of %s: %w", name, err)
		}
	}
	return nil
}

func evictFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil {
		return err
	}
	if fs.Type == unix.TMPFS_MAGIC {
		return errors.New("files of a tmpfs are nowhere but in memory; give a folder on a disk with -disk")
	}
	if err := unix.Fdatasync(int(f.Fd())); err != nil {
		return err
	}
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// deviceBytes is what a process has had read from devices, read-ahead included.
func deviceBytes(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		return 0, err
	}
	for l := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(l, "read_bytes: "); ok {
			return strconv.ParseInt(strings.TrimSpace(v), 10, 64)
		}
	}
	return 0, fmt.Errorf("/proc/%d/io does not count read_bytes", pid)
}
