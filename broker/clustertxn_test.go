package broker_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gregorhq/gregor/broker"
)

// leaderOf is the broker that leads partition 0 of a topic: with one partition, the
// coordinator of everything in it.
func leaderOf(t *testing.T, ctx context.Context, cl *kgo.Client, topic string) int {
	t.Helper()
	return int(partitions(t, ctx, cl, topic, func(p kadm.PartitionDetail) bool { return p.Leader > 0 })[0].Leader)
}

// Records go from one topic to another in transactions whose coordinators are killed,
// first that of the transactions, then that of the group; a reader of committed records
// sees each value once. The markers of a transaction go to all three brokers.
func TestTransactionsAcrossBrokersAndTheirDeath(t *testing.T) {
	ctx := clusterContext(t)
	c := startCluster(t, ctx)
	cl := clusterClient(t, c, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	adm := kadm.NewClient(cl)
	const parts, each = 6, 40
	for _, topic := range []string{"in", "out"} {
		if _, err := adm.CreateTopic(ctx, parts, 3, nil, topic); err != nil {
			t.Fatal(err)
		}
	}
	produceInOrder(t, ctx, cl, "in", parts, 0, each)
	copied := map[string]int{}
	for round := range 3 {
		copyUntil(t, ctx, c, (round+1)*parts*each/3, copied)
		switch round {
		case 0:
			replace(t, ctx, c, leaderOf(t, ctx, cl, "__transaction_state"))
		case 1:
			replace(t, ctx, c, leaderOf(t, ctx, cl, "__consumer_offsets"))
		}
	}
	r := clusterClient(t, c, kgo.ConsumeTopics("out"), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	seen := map[string]int{}
	for len(seen) < parts*each {
		f := r.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("%d of %d values", len(seen), parts*each)
		}
		f.EachRecord(func(r *kgo.Record) { seen[string(r.Value)]++ })
	}
	for v, n := range seen {
		if n != 1 {
			t.Errorf("%s is there %d times", v, n)
		}
	}
}

// replace kills a node and starts it again.
func replace(t *testing.T, ctx context.Context, c *broker.Cluster, id int) {
	t.Helper()
	c.Kill(id)
	if err := c.Restart(ctx, id); err != nil {
		t.Fatal(err)
	}
}

// copyUntil copies until so many values of topic in are in topic out; every third
// transaction is aborted and done again.
func copyUntil(t *testing.T, ctx context.Context, c *broker.Cluster, n int, copied map[string]int) {
	t.Helper()
	s, err := kgo.NewGroupTransactSession(kgo.SeedBrokers("node1:9092", "node2:9092", "node3:9092"), kgo.Dialer(c.Dial),
		kgo.TransactionalID("copier"), kgo.ConsumerGroup("copiers"), kgo.ConsumeTopics("in"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for round := 0; len(copied) < n; round++ {
		f := s.PollRecords(ctx, 30)
		if ctx.Err() != nil {
			t.Fatalf("%d of %d values copied", len(copied), n)
		}
		if err := s.Begin(); err != nil {
			t.Fatal(err)
		}
		var values []string
		f.EachRecord(func(r *kgo.Record) {
			v := fmt.Sprintf("%d/%s", r.Partition, r.Value)
			values = append(values, v)
			s.Produce(ctx, &kgo.Record{Topic: "out", Value: []byte(v)}, nil)
		})
		committed, err := s.End(ctx, kgo.TransactionEndTry(round%3 != 2))
		if err != nil {
			t.Fatal(err)
		}
		if committed {
			for _, v := range values {
				copied[v]++
			}
		}
	}
}
