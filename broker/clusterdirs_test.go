package broker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/broker"
	"github.com/gregorhq/gregor/internal/log4j"
	"github.com/gregorhq/gregor/internal/vfs"
)

// twoDisks starts three nodes with the directories /data and /more, whose disks can fail.
func twoDisks(t *testing.T, ctx context.Context) (*broker.Cluster, []*vfs.Fault) {
	t.Helper()
	faults := make([]*vfs.Fault, 4)
	cfg := broker.ClusterConfig{InProcess: true, Properties: map[string]string{
		"min.insync.replicas": "2", "offsets.topic.num.partitions": "1", "log.dirs": "/data,/more",
	}}
	if os.Getenv("GREGOR_TEST_LOG") != "" {
		cfg.Logger = slog.New(log4j.NewHandler(os.Stderr, slog.LevelInfo))
	}
	c, err := broker.OpenClusterOn(cfg, func(id int, files vfs.FS) vfs.FS {
		faults[id] = vfs.NewFault(files)
		return faults[id]
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	return c, faults
}

// logDirs describes the directories of a broker: for each the partitions in it, nil for one
// that is offline.
func logDirs(t *testing.T, ctx context.Context, cl *kgo.Client, id int) map[string]map[string]kmsg.DescribeLogDirsResponseDirTopicPartition {
	t.Helper()
	req := kmsg.NewPtrDescribeLogDirsRequest()
	resp, err := cl.Broker(id).RetriableRequest(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]map[string]kmsg.DescribeLogDirsResponseDirTopicPartition{}
	for _, d := range resp.(*kmsg.DescribeLogDirsResponse).Dirs {
		if d.ErrorCode != 0 {
			out[d.Dir] = nil
			continue
		}
		out[d.Dir] = map[string]kmsg.DescribeLogDirsResponseDirTopicPartition{}
		for _, topic := range d.Topics {
			for _, p := range topic.Partitions {
				name := fmt.Sprintf("%s-%d", topic.Topic, p.Partition)
				if p.IsFuture {
					name += "-future"
				}
				out[d.Dir][name] = p
			}
		}
	}
	return out
}

// alterLogDir asks a broker to move its replica.
func alterLogDir(t *testing.T, ctx context.Context, cl *kgo.Client, id int, topic string, partition int32, dir string) int16 {
	t.Helper()
	req := kmsg.NewPtrAlterReplicaLogDirsRequest()
	req.Dirs = []kmsg.AlterReplicaLogDirsRequestDir{{Dir: dir, Topics: []kmsg.AlterReplicaLogDirsRequestDirTopic{{Topic: topic, Partitions: []int32{partition}}}}}
	resp, err := cl.Broker(id).RetriableRequest(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	return resp.(*kmsg.AlterReplicaLogDirsResponse).Topics[0].Partitions[0].ErrorCode
}

// load produces to all partitions of a topic until it is told to stop, each record
// acknowledged by all in sync, and remembers how many were, in order.
type load struct {
	stop  chan struct{}
	done  sync.WaitGroup
	acked []atomic.Int64 // by partition
	slow  atomic.Int64   // the longest wait for an acknowledgement, in ms
}

func startLoad(t *testing.T, ctx context.Context, cl *kgo.Client, topic string, parts int) *load {
	l := &load{stop: make(chan struct{}), acked: make([]atomic.Int64, parts)}
	for p := range parts {
		l.done.Add(1)
		go func() {
			defer l.done.Done()
			for n := 0; ; n++ {
				select {
				case <-l.stop:
					return
				default:
				}
				began := time.Now()
				if err := cl.ProduceSync(ctx, &kgo.Record{Topic: topic, Partition: int32(p), Value: fmt.Append(nil, n)}).FirstErr(); err != nil {
					t.Errorf("partition %d record %d: %v", p, n, err)
					return
				}
				l.slow.Store(max(l.slow.Load(), time.Since(began).Milliseconds()))
				l.acked[p].Store(int64(n + 1))
			}
		}()
	}
	return l
}

// grows waits until every partition has acknowledged n records more.
func (l *load) grows(t *testing.T, ctx context.Context, n int64) {
	t.Helper()
	for p := range l.acked {
		goal := l.acked[p].Load() + n
		eventually(t, ctx, fmt.Sprintf("partition %d acknowledges", p), func() bool { return t.Failed() || l.acked[p].Load() >= goal })
	}
}

func (l *load) end() []int64 {
	close(l.stop)
	l.done.Wait()
	var out []int64
	for p := range l.acked {
		out = append(out, l.acked[p].Load())
	}
	return out
}

// checkAcked reads every partition from its start: the records 0 to acked-1, each once, in
// order.
func checkAcked(t *testing.T, ctx context.Context, c *broker.Cluster, topic string, acked []int64) {
	t.Helper()
	cl := clusterClient(t, c, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	next := make([]int64, len(acked))
	for left := len(acked); left > 0; {
		f := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("read %v of %v", next, acked)
		}
		f.EachRecord(func(r *kgo.Record) {
			if want := fmt.Sprint(next[r.Partition]); string(r.Value) != want {
				t.Fatalf("partition %d offset %d holds %s, not %s", r.Partition, r.Offset, r.Value, want)
			}
			if next[r.Partition]++; next[r.Partition] == acked[r.Partition] {
				left--
			}
		})
	}
}

// TestOneOfTwoDirectoriesFailsUnderLoad: with three replicas and acks=all a disk of one node
// may fail: the others take over what it led, its other disk serves on, and nothing
// acknowledged is lost. Healed or replaced by an empty disk, it is filled again.
func TestOneOfTwoDirectoriesFailsUnderLoad(t *testing.T) {
	ctx := clusterContext(t)
	c, faults := twoDisks(t, ctx)
	cl := clusterClient(t, c, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	const parts = 6
	if _, err := kadm.NewClient(cl).CreateTopic(ctx, parts, 3, nil, "t"); err != nil {
		t.Fatal(err)
	}
	partitions(t, ctx, cl, "t", fullISR)
	l := startLoad(t, ctx, cl, "t", parts)
	l.grows(t, ctx, 20)
	for id, empty := range map[int]bool{1: false, 2: true} {
		l.slow.Store(0)
		lost := logDirs(t, ctx, cl, id)["/more"]
		kept := logDirs(t, ctx, cl, id)["/data"]
		if len(lost) < 2 || len(kept) < 2 {
			t.Fatalf("node %d has %d and %d partitions in its directories", id, len(kept), len(lost))
		}
		faults[id].Add(vfs.Rule{Op: vfs.OpAny, Path: "/more/*/*", Times: -1, Err: errors.New("the disk is broken")})
		details := partitions(t, ctx, cl, "t", func(p kadm.PartitionDetail) bool {
			_, in := lost[fmt.Sprintf("t-%d", p.Partition)]
			if in {
				return p.Leader > 0 && p.Leader != int32(id) && len(p.ISR) == 2
			}
			return len(p.ISR) == 3
		})
		l.grows(t, ctx, 20)
		dirs := logDirs(t, ctx, cl, id)
		if dirs["/more"] != nil || len(dirs["/data"]) != len(kept) {
			t.Fatalf("node %d: %v", id, dirs)
		}
		leads := 0
		for _, p := range details {
			if p.Leader == int32(id) {
				leads++
			}
		}
		t.Logf("node %d: %d partitions lost, %d led by its other directory, longest wait for an acknowledgement %d ms", id, len(lost), leads, l.slow.Load())
		c.Kill(id)
		faults[id].Clear()
		if empty {
			if err := c.ReplaceDisk(id, "/more"); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Restart(ctx, id); err != nil {
			t.Fatal(err)
		}
		partitions(t, ctx, cl, "t", fullISR)
		eventually(t, ctx, "the directory has partitions again", func() bool { return len(logDirs(t, ctx, cl, id)["/more"]) > 0 })
		l.grows(t, ctx, 20)
	}
	checkAcked(t, ctx, c, "t", l.end())
}

// TestReplicasMoveBetweenDirectoriesUnderLoad moves the replicas of all nodes to and fro
// while records are produced and the nodes are killed.
func TestReplicasMoveBetweenDirectoriesUnderLoad(t *testing.T) {
	ctx := clusterContext(t)
	c, _ := twoDisks(t, ctx)
	cl := clusterClient(t, c, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	const parts = 3
	if _, err := kadm.NewClient(cl).CreateTopic(ctx, parts, 3, nil, "t"); err != nil {
		t.Fatal(err)
	}
	partitions(t, ctx, cl, "t", fullISR)
	l := startLoad(t, ctx, cl, "t", parts)
	move := func(id int, p int32, dir string) {
		t.Helper()
		name := fmt.Sprintf("t-%d", p)
		eventually(t, ctx, "the broker has the replica", func() bool { return alterLogDir(t, ctx, cl, id, "t", p, dir) == 0 })
		eventually(t, ctx, name+" is in "+dir, func() bool { _, in := logDirs(t, ctx, cl, id)[dir][name]; return in })
	}
	for round, dir := range []string{"/more", "/data"} {
		for id := 1; id <= 3; id++ {
			for p := range int32(parts) {
				move(id, p, dir)
			}
		}
		l.grows(t, ctx, 5)
		// A node that dies during its moves goes on with them.
		id := round + 1
		back := map[string]string{"/more": "/data", "/data": "/more"}[dir]
		for p := range int32(parts) {
			if code := alterLogDir(t, ctx, cl, id, "t", p, back); code != 0 {
				t.Fatalf("error %d", code)
			}
		}
		c.Kill(id)
		if err := c.Restart(ctx, id); err != nil {
			t.Fatal(err)
		}
		for p := range int32(parts) {
			name := fmt.Sprintf("t-%d", p)
			eventually(t, ctx, name+" is in one directory", func() bool {
				n := 0
				for _, d := range logDirs(t, ctx, cl, id) {
					for in := range d {
						if strings.HasPrefix(in, name) {
							n++
						}
					}
				}
				return n == 1
			})
		}
		partitions(t, ctx, cl, "t", fullISR)
	}
	checkAcked(t, ctx, c, "t", l.end())
}
