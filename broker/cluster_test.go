package broker_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gregorhq/gregor/broker"
	"github.com/gregorhq/gregor/internal/log4j"
)

// startCluster starts three nodes in memory.
func startCluster(t *testing.T, ctx context.Context) *broker.Cluster {
	t.Helper()
	cfg := broker.ClusterConfig{InProcess: true, Properties: map[string]string{
		"min.insync.replicas": "2", "offsets.topic.num.partitions": "1", "transaction.state.log.num.partitions": "1",
	}}
	if os.Getenv("GREGOR_TEST_LOG") != "" {
		cfg.Logger = slog.New(log4j.NewHandler(os.Stderr, slog.LevelInfo))
	}
	c, err := broker.OpenCluster(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	return c
}

func clusterClient(t *testing.T, c *broker.Cluster, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers("node1:9092", "node2:9092", "node3:9092"), kgo.Dialer(c.Dial),
		kgo.MetadataMinAge(50 * time.Millisecond), kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond })}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func clusterContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// partitions waits until every partition of the topic is as ok wants it.
func partitions(t *testing.T, ctx context.Context, cl *kgo.Client, topic string, ok func(kadm.PartitionDetail) bool) kadm.PartitionDetails {
	t.Helper()
	for {
		topics, err := kadm.NewClient(cl).ListTopics(ctx, topic)
		good := err == nil && topics[topic].Err == nil && len(topics[topic].Partitions) > 0
		if good {
			for _, p := range topics[topic].Partitions {
				good = good && p.Err == nil && ok(p)
			}
		}
		if good {
			return topics[topic].Partitions
		}
		select {
		case <-ctx.Done():
			t.Fatalf("topic %s: %v, %v", topic, topics[topic], err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// fullISR says that all three replicas are in sync.
func fullISR(p kadm.PartitionDetail) bool { return p.Leader > 0 && len(p.ISR) == 3 }

// produceInOrder sends values from to to-1 of every partition, each acknowledged by all
// replicas in sync.
func produceInOrder(t *testing.T, ctx context.Context, cl *kgo.Client, topic string, partitions, from, to int) {
	t.Helper()
	var rs []*kgo.Record
	for i := from; i < to; i++ {
		for p := range partitions {
			rs = append(rs, &kgo.Record{Topic: topic, Partition: int32(p), Value: fmt.Appendf(nil, "%d", i)})
		}
	}
	if err := cl.ProduceSync(ctx, rs...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// checkInOrder reads values 0 to n-1 of every partition: each once, in order.
func checkInOrder(t *testing.T, ctx context.Context, c *broker.Cluster, topic string, partitions, n int) {
	t.Helper()
	cl := clusterClient(t, c, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	next := make([]int, partitions)
	for got := 0; got < partitions*n; {
		f := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("%d of %d records", got, partitions*n)
		}
		f.EachRecord(func(r *kgo.Record) {
			if want := fmt.Sprint(next[r.Partition]); string(r.Value) != want {
				t.Fatalf("partition %d offset %d holds %s, not %s", r.Partition, r.Offset, r.Value, want)
			}
			next[r.Partition]++
			got++
		})
	}
}

// Every node is killed in turn while producers write: what was acknowledged is there,
// once and in order; a node that comes back is in sync again.
func TestClusterSurvivesTheDeathOfEachNode(t *testing.T) {
	ctx := clusterContext(t)
	c := startCluster(t, ctx)
	cl := clusterClient(t, c, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	const parts, step = 6, 20
	if _, err := kadm.NewClient(cl).CreateTopic(ctx, parts, 3, nil, "t"); err != nil {
		t.Fatal(err)
	}
	n := 0
	produce := func() {
		produceInOrder(t, ctx, cl, "t", parts, n, n+step)
		n += step
	}
	produce()
	for id := 1; id <= c.Size(); id++ {
		c.Kill(id)
		began := time.Now()
		produce()
		if d := time.Since(began); d > 5*time.Second {
			t.Errorf("node %d killed: partitions acknowledge after %v; its death was not noticed before its session ended", id, d)
		} else {
			t.Logf("node %d killed: all partitions acknowledge after %v", id, d)
		}
		partitions(t, ctx, cl, "t", func(p kadm.PartitionDetail) bool { return p.Leader > 0 && p.Leader != int32(id) && len(p.ISR) == 2 })
		if err := c.Restart(ctx, id); err != nil {
			t.Fatal(err)
		}
		partitions(t, ctx, cl, "t", fullISR)
		produce()
	}
	checkInOrder(t, ctx, c, "t", parts, n)
}
