package broker_test

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/broker"
	"github.com/gregorhq/gregor/internal/log4j"
)

// startRoles starts two brokers, 1 and 2, and three controllers, 3 to 5, in memory.
func startRoles(t *testing.T, ctx context.Context) *broker.Cluster {
	t.Helper()
	cfg := broker.ClusterConfig{InProcess: true, Nodes: 2, Controllers: 3, Properties: map[string]string{"offsets.topic.num.partitions": "1"}}
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

// quorumLeader asks the brokers who leads the metadata quorum, until that is not one of
// those that are dead.
func quorumLeader(t *testing.T, ctx context.Context, cl *kgo.Client, dead int) int {
	t.Helper()
	for ctx.Err() == nil {
		req := kmsg.NewPtrDescribeQuorumRequest()
		topic := kmsg.NewDescribeQuorumRequestTopic()
		topic.Topic = "__cluster_metadata"
		topic.Partitions = append(topic.Partitions, kmsg.NewDescribeQuorumRequestTopicPartition())
		req.Topics = append(req.Topics, topic)
		resp, err := req.RequestWith(ctx, cl)
		if err == nil && resp.ErrorCode == 0 && len(resp.Topics) == 1 && len(resp.Topics[0].Partitions) == 1 {
			if p := resp.Topics[0].Partitions[0]; p.ErrorCode == 0 && p.LeaderID > 0 && int(p.LeaderID) != dead {
				return int(p.LeaderID)
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("no controller leads")
	return 0
}

// Brokers and controllers are nodes of their own. The active controller is killed, and
// each broker in turn: topics are created, what was acknowledged is there, and who comes
// back is in sync again.
func TestBrokersAndControllersApart(t *testing.T) {
	ctx := clusterContext(t)
	c := startRoles(t, ctx)
	if n := len(c.Addrs()); n != 2 {
		t.Errorf("%d nodes take clients", n)
	}
	cl := clusterClient(t, c, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	adm := kadm.NewClient(cl)
	const parts, step = 4, 10
	if _, err := adm.CreateTopic(ctx, parts, 2, nil, "t"); err != nil {
		t.Fatal(err)
	}
	n := 0
	produce := func() {
		produceInOrder(t, ctx, cl, "t", parts, n, n+step)
		n += step
	}
	produce()
	leader := quorumLeader(t, ctx, cl, 0)
	if leader < 3 {
		t.Fatalf("broker %d leads the metadata quorum", leader)
	}
	began := time.Now()
	c.Kill(leader)
	killed := time.Since(began)
	if _, err := adm.CreateTopic(ctx, 1, 2, nil, "after"); err != nil {
		t.Fatal(err)
	}
	t.Logf("active controller killed within %v; a topic is created %v after that", killed, time.Since(began)-killed)
	if killed > 500*time.Millisecond {
		t.Errorf("a controller that is killed goes on for %v", killed)
	}
	produce()
	for id := 1; id <= 2; id++ {
		c.Kill(id)
		began := time.Now()
		produce()
		if d := time.Since(began); d > 5*time.Second {
			t.Errorf("broker %d killed: partitions acknowledge after %v; its death was not noticed before its session ended", id, d)
		}
		if err := c.Restart(ctx, id); err != nil {
			t.Fatal(err)
		}
		partitions(t, ctx, cl, "t", func(p kadm.PartitionDetail) bool { return p.Leader > 0 && len(p.ISR) == 2 })
	}
	if err := c.Restart(ctx, leader); err != nil {
		t.Fatal(err)
	}
	c.Kill(quorumLeader(t, ctx, cl, 0))
	produce()
	checkInOrder(t, ctx, c, "t", parts, n)
}

// A node that is told to stop when the others have gone, so that nobody can let it go,
// does not wait for its limit.
func TestStopWithoutAMajority(t *testing.T) {
	ctx := clusterContext(t)
	c := startCluster(t, ctx)
	c.Kill(1)
	c.Kill(2)
	began := time.Now()
	if err := c.Stop(3); err != nil {
		t.Error(err)
	}
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("stopped after %v", d)
	}
}
