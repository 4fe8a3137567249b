package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// manySpec is a node or a cluster with very many partitions, in topics of a thousand.
type manySpec struct {
	topics, partitions int // partitions of each topic
}

// many is n partitions at full scale.
func (b *bench) many(n int) manySpec {
	n = max(10, int(float64(n)*b.scale))
	if n < 1000 {
		return manySpec{1, n}
	}
	return manySpec{n / 1000, 1000}
}

func (m manySpec) total() int { return m.topics * m.partitions }

func (m manySpec) names() []string {
	out := make([]string, m.topics)
	for i := range out {
		out[i] = fmt.Sprintf("many-%03d", i)
	}
	return out
}

// create makes the topics one request each: a request that is too large for a
// controller would be measured otherwise.
func (m manySpec) create(ctx context.Context, c *cluster, limit time.Duration) error {
	for _, name := range m.names() {
		if err := c.newTopics(ctx, m.partitions, topicConfigs, limit, name); err != nil {
			return err
		}
	}
	return nil
}

// started runs all nodes and returns how long it took until each partition was led
// and, with several nodes, in sync.
func (b *bench) started(ctx context.Context, c *cluster, m manySpec) (time.Duration, error) {
	began := time.Now()
	for _, s := range c.nodes {
		if err := b.launch(s); err != nil {
			return 0, err
		}
	}
	if err := c.inSync(ctx, m.partitions, 8*time.Minute, m.names()...); err != nil {
		return 0, err
	}
	return time.Since(began), nil
}

// fill writes about bytes to the partitions, the same to each.
func (m manySpec) fill(ctx context.Context, addr string, bytes int64) error {
	for _, name := range m.names() {
		// Batches are of the size that gives each partition at least two.
		batch := int(min(256<<10, max(1<<10, bytes/int64(m.total())/2)))
		spec := produceSpec{addr: addr, topic: name, partitions: m.partitions, conns: 1, inFlight: 8, batchBytes: batch, recordBytes: 1000, acks: 1, totalBytes: bytes / int64(m.topics), limit: 5 * time.Minute}
		if _, err := runProduce(ctx, spec); err != nil {
			return fmt.Errorf("filling %s: %w", name, err)
		}
	}
	return nil
}

// room refuses a measurement that would fill the disk.
func (b *bench) room(bytes int64) error {
	if err := os.MkdirAll(b.diskDir, 0o755); err != nil {
		return err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(b.diskDir, &st); err != nil {
		return err
	}
	if free := int64(st.Bavail) * st.Bsize; free < bytes+10*gib {
		return fmt.Errorf("%s has %d GB free, too few for %d GB of data", b.diskDir, free>>30, bytes>>30)
	}
	return nil
}

// row11a restarts one node after kill -9 with data that was never flushed by the
// broker, then after an orderly stop. Every measurement has directories of its own.
func row11a(ctx context.Context, b *bench, r row) error {
	bytes := b.bytes(int64(b.gigs * 1e9))
	if err := b.room(bytes); err != nil {
		return err
	}
	b.stopAll()
	m := b.many(10_000)
	got, err := b.interleave(ctx, b.has(gregor, kafka), func(kind string) (map[string]float64, error) {
		return b.restarts(ctx, kind, m, bytes)
	})
	if err != nil {
		return err
	}
	workload := fmt.Sprintf("%d partitions, %.1f GB, ext4", m.total(), float64(bytes)/1e9)
	b.report(r, workload, got, metric{"after kill -9: s to all leaders", true, 1.0 / 20}, metric{"clean: s to all leaders", true, 1.0 / 20},
		metric{"orderly stop s", true, 0}, metric{"creation of all partitions s", true, 0}, metric{"CPU s of the start after kill -9", true, 0}, metric{"CPU s of the clean start", true, 0})
	return nil
}

func (b *bench) restarts(ctx context.Context, kind string, m manySpec, bytes int64) (map[string]float64, error) {
	c, err := b.prepareCluster(ctx, kind, setup{nodes: 1, onDisk: true})
	if err != nil {
		return nil, err
	}
	defer c.stop()
	if err := b.startAll(ctx, c); err != nil {
		return nil, err
	}
	out := map[string]float64{}
	began := time.Now()
	if err := m.create(ctx, c, 5*time.Minute); err != nil {
		return nil, err
	}
	out["creation of all partitions s"] = time.Since(began).Seconds()
	if err := m.fill(ctx, c.nodes[0].addr, bytes); err != nil {
		return nil, err
	}
	if err := c.nodes[0].end(syscall.SIGKILL, time.Minute); err != nil {
		return nil, err
	}
	start := func(what, cpu string) error {
		took, err := b.started(ctx, c, m)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		u, err := c.usage()
		out[what], out[cpu] = took.Seconds(), u.cpu.Seconds()
		return err
	}
	if err := start("after kill -9: s to all leaders", "CPU s of the start after kill -9"); err != nil {
		return nil, err
	}
	began = time.Now()
	if err := c.endAll(3 * time.Minute); err != nil {
		return nil, err
	}
	out["orderly stop s"] = time.Since(began).Seconds()
	return out, start("clean: s to all leaders", "CPU s of the clean start")
}

var gcHeap = regexp.MustCompile(`(?m)^gc \d+ .* \d+->\d+->(\d+) MB`)

// liveHeap is the heap that the last collection of a Go server left, from its log.
func (s *server) liveHeap() float64 {
	text, err := os.ReadFile(s.log.Name())
	if err != nil {
		return 0
	}
	all := gcHeap.FindAllSubmatch(text, -1)
	if len(all) == 0 {
		return 0
	}
	mb, _ := strconv.ParseFloat(string(all[len(all)-1][1]), 64)
	return mb
}

// row11b makes 100,000 partitions on one node. Apache Kafka maps two files a segment
// and ends at the default vm.max_map_count of 65,530; it is tried only when asked for.
func row11b(ctx context.Context, b *bench, r row) error {
	kinds := b.has(gregor)
	if b.kafka11 {
		kinds = b.has(gregor, kafka)
	}
	b.stopAll()
	m := b.many(100_000)
	got, err := b.interleave(ctx, kinds, func(kind string) (map[string]float64, error) {
		c, err := b.prepareCluster(ctx, kind, setup{nodes: 1, onDisk: true})
		if err != nil {
			return nil, err
		}
		defer c.stop()
		c.nodes[0].env = []string{"GODEBUG=gctrace=1"}
		if err := b.startAll(ctx, c); err != nil {
			return nil, err
		}
		empty, err := c.usage()
		if err != nil {
			return nil, err
		}
		out := map[string]float64{}
		began := time.Now()
		if err := m.create(ctx, c, 5*time.Minute); err != nil {
			return nil, err
		}
		out["creation s"] = time.Since(began).Seconds()
		full, err := c.usage()
		if err != nil {
			return nil, err
		}
		out["RSS KB a partition after creation"] = float64(full.rss-empty.rss) / 1e3 / float64(m.total())
		began = time.Now()
		if err := c.endAll(3 * time.Minute); err != nil {
			return nil, err
		}
		out["orderly stop s"] = time.Since(began).Seconds()
		took, err := b.started(ctx, c, m)
		if err != nil {
			return nil, err
		}
		out["restart: s to all leaders"] = took.Seconds()
		full, err = c.usage()
		out["RSS KB a partition after restart"] = float64(full.rss-empty.rss) / 1e3 / float64(m.total())
		if h := c.nodes[0].liveHeap(); h > 0 {
			out["live heap KB a partition"] = h * 1e3 / float64(m.total())
		}
		return out, err
	})
	if err != nil {
		return err
	}
	b.reportAbsolute(r, fmt.Sprintf("%d partitions on one node, ext4", m.total()), got, metric{"creation s", true, 0}, metric{"RSS KB a partition after creation", true, 0}, metric{"orderly stop s", true, 0},
		metric{"restart: s to all leaders", true, 2}, metric{"RSS KB a partition after restart", true, 0}, metric{"live heap KB a partition", true, 3})
	return nil
}

// row10k is a cluster of three with 10,000 partitions of three replicas.
func row10k(ctx context.Context, b *bench, r row) error {
	b.stopAll()
	m := b.many(10_000)
	got, err := b.interleave(ctx, b.has(gregor, kafka), func(kind string) (map[string]float64, error) {
		c, err := b.prepareCluster(ctx, kind, setup{nodes: 3, onDisk: true})
		if err != nil {
			return nil, err
		}
		defer c.stop()
		if err := b.startAll(ctx, c); err != nil {
			return nil, err
		}
		out := map[string]float64{}
		began := time.Now()
		if err := m.create(ctx, c, 5*time.Minute); err != nil {
			return nil, err
		}
		out["create: s to all in sync"] = time.Since(began).Seconds()
		u, err := c.usage()
		if err != nil {
			return nil, err
		}
		out["RSS MB of three nodes"] = float64(u.rss) / 1e6
		if out["kill -9 of a node: s to new leaders of all"], err = b.loseNode(ctx, c, m); err != nil {
			return nil, err
		}
		if err := c.endAll(3 * time.Minute); err != nil {
			return nil, err
		}
		took, err := b.started(ctx, c, m)
		out["restart of all: s to all in sync"] = took.Seconds()
		return out, err
	})
	if err != nil {
		return err
	}
	b.report(r, fmt.Sprintf("%d partitions, RF3, three nodes, ext4", m.total()), got, metric{"create: s to all in sync", true, 0}, metric{"kill -9 of a node: s to new leaders of all", true, 0},
		metric{"restart of all: s to all in sync", true, 0}, metric{"RSS MB of three nodes", true, 0})
	return nil
}

// loseNode kills a node that is not the active controller and returns the seconds
// until the others lead all partitions; the node is back and in sync afterwards.
func (b *bench) loseNode(ctx context.Context, c *cluster, m manySpec) (float64, error) {
	active, err := c.controller()
	if err != nil {
		return 0, err
	}
	victim := c.nodes[int(active.id)%len(c.nodes)]
	left := &cluster{kind: c.kind}
	for _, s := range c.nodes {
		if s != victim {
			left.nodes = append(left.nodes, s)
		}
	}
	began := time.Now()
	victim.cmd.Process.Signal(syscall.SIGKILL)
	for {
		err := left.inSyncNow(m.partitions, m.names()...)
		if err == nil {
			break
		}
		if time.Since(began) > 2*time.Minute || ctx.Err() != nil {
			return 0, errors.Join(fmt.Errorf("not all partitions have leaders after %v", time.Since(began)), err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	took := time.Since(began)
	<-victim.done
	if err := b.launch(victim); err != nil {
		return 0, err
	}
	return took.Seconds(), c.inSync(ctx, m.partitions, 5*time.Minute, m.names()...)
}
