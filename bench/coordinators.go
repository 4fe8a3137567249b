package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// The group of row 12a.
const (
	groupMembers    = 1000
	groupTopics     = 200
	groupPartitions = 10
	waves           = 5
	settleLimit     = 3 * time.Minute
)

// forGroups lets a group of this size into __consumer_offsets: the subscriptions of its
// members make one record of some 4 MB (classic protocol), more than the default of
// message.max.bytes. Both servers get the same limit.
var forGroups = setup{name: "groups", nodes: 1, extra: map[string]string{"message.max.bytes": "33554432"}}

// row12a measures how long a large group takes to be stable again, and what it costs.
func row12a(consumer bool) func(ctx context.Context, b *bench, r row) error {
	return func(ctx context.Context, b *bench, r row) error { return b.groupRow(ctx, r, consumer) }
}

func (b *bench) groupRow(ctx context.Context, r row, consumer bool) error {
	kinds := b.has(gregor, kafka)
	members := max(waves+1, int(groupMembers*b.scale))
	var topics []string
	for i := range groupTopics {
		topics = append(topics, fmt.Sprintf("group-topic-%03d", i))
	}
	for _, kind := range kinds {
		c, err := b.use(ctx, kind, forGroups)
		if err != nil {
			return err
		}
		if err := c.newTopics(ctx, groupPartitions, nil, time.Minute, topics...); err != nil {
			return err
		}
		if err := c.nodes[0].coordinatorReady(ctx); err != nil {
			return err
		}
		// A JVM meets its first group here, not in the first measurement.
		if _, err := b.groupLife(ctx, c.nodes[0], b.groupSpec(c.nodes[0], topics, max(waves+1, members/5), consumer)); err != nil {
			return fmt.Errorf("warming %s: %w", kind, err)
		}
	}
	got, err := b.interleave(ctx, kinds, func(kind string) (map[string]float64, error) {
		c, err := b.use(ctx, kind, forGroups)
		if err != nil {
			return nil, err
		}
		return b.groupLife(ctx, c.nodes[0], b.groupSpec(c.nodes[0], topics, members, consumer))
	})
	if err != nil {
		return err
	}
	workload := fmt.Sprintf("%d members, %d topics x %d partitions, message.max.bytes 32 MiB", members, groupTopics, groupPartitions)
	b.report(r, workload, got,
		metric{"all join: s to stable", true, 1.0 / 5}, metric{"all join: broker CPU s", true, 1.0 / 10},
		metric{"one leaves: s to stable", true, 1.0 / 10}, metric{"one leaves: broker CPU s", true, 1.0 / 10},
		metric{"rolling restart: s to stable", true, 1.0 / 5}, metric{"rolling restart: broker CPU s", true, 1.0 / 10},
		metric{"client CPU s", true, 0})
	return nil
}

func (b *bench) groupSpec(s *server, topics []string, members int, consumer bool) groupSpec {
	return groupSpec{addr: s.addr, group: fmt.Sprintf("g%d", time.Now().UnixNano()), topics: topics, partitions: groupPartitions, members: members, consumer: consumer}
}

// groupLife is one group's: all join, one leaves, waves of members restart.
func (b *bench) groupLife(ctx context.Context, s *server, spec groupSpec) (map[string]float64, error) {
	c := newCrowd(ctx, spec)
	defer c.close()
	out := map[string]float64{}
	client, err := usageOf(os.Getpid())
	if err != nil {
		return nil, err
	}
	phase := func(name string, f func() error) error {
		before, err := usageOf(s.pid())
		if err != nil {
			return err
		}
		began := time.Now()
		if err := f(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		took := time.Since(began)
		after, err := usageOf(s.pid())
		out[name+": s to stable"] = took.Seconds()
		out[name+": broker CPU s"] = (after.cpu - before.cpu).Seconds()
		return err
	}
	err = phase("all join", func() error {
		c.join(0, spec.members)
		return c.settle(settleLimit)
	})
	if err == nil {
		err = phase("one leaves", func() error {
			c.part(spec.members-1, spec.members)
			return c.settle(settleLimit)
		})
	}
	if err == nil {
		err = phase("rolling restart", func() error {
			n := (spec.members - 1) / waves
			for w := range waves {
				c.part(w*n, (w+1)*n)
				c.join(w*n, (w+1)*n)
				if err := c.settle(settleLimit); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err != nil {
		return nil, err
	}
	after, err := usageOf(os.Getpid())
	out["client CPU s"] = (after.cpu - client.cpu).Seconds()
	return out, err
}

// row12b measures transactions a second, then commits at half of what Apache Kafka
// reached: producers that never pause fill a server of any speed, and then latency
// says how many of them there are.
func row12b(ctx context.Context, b *bench, r row) error {
	const topic = "transactions"
	kinds := b.has(gregor, kafka)
	for _, kind := range kinds {
		s, err := b.get(ctx, kind)
		if err != nil {
			return err
		}
		if err := s.newTopic(ctx, topic, 6, topicConfigs); err != nil {
			return err
		}
		if err := s.coordinatorReady(ctx); err != nil {
			return err
		}
	}
	for _, records := range []int{1, 100} {
		spec := txnSpec{partitions: 6, producers: 100, records: records, run: b.seconds(10)}
		measure := func(kind string) (map[string]float64, error) { return b.transactions(ctx, kind, topic, spec) }
		got, err := b.interleave(ctx, kinds, measure)
		if err != nil {
			return err
		}
		workload := fmt.Sprintf("100 producers, %d records a transaction", records)
		b.report(r, workload, got,
			metric{"transactions/s", false, 5}, metric{"commit p99 us", true, 1.0 / 5}, metric{"transaction p99 us", true, 0}, metric{"broker CPU us a transaction", true, 0})
		reference := got["transactions/s"][kafka]
		if len(reference) == 0 {
			reference = got["transactions/s"][gregor]
		}
		spec.rate = median(reference) / 2
		if got, err = b.interleave(ctx, kinds, measure); err != nil {
			return err
		}
		b.report(r, fmt.Sprintf("%s, half of Apache Kafka's maximum (%.0f/s)", workload, spec.rate), got,
			metric{"commit p50 us", true, 0}, metric{"commit p99 us", true, 1.0 / 5}, metric{"transaction p99 us", true, 0}, metric{"broker CPU us a transaction", true, 0})
	}
	return nil
}

// transactions runs a load of transactions on one server.
func (b *bench) transactions(ctx context.Context, kind, topic string, spec txnSpec) (map[string]float64, error) {
	s, err := b.get(ctx, kind)
	if err != nil {
		return nil, err
	}
	if spec.topicID, err = s.topicID(ctx, topic); err != nil {
		return nil, err
	}
	before, err := usageOf(s.pid())
	if err != nil {
		return nil, err
	}
	spec.addr = s.addr
	res, err := runTransactions(ctx, spec)
	if err != nil {
		return nil, err
	}
	after, err := usageOf(s.pid())
	if err != nil {
		return nil, err
	}
	return map[string]float64{
		"transactions/s": float64(res.committed) / res.elapsed.Seconds(),
		"commit p50 us":  float64(res.commit.quantile(0.5)), "commit p99 us": float64(res.commit.quantile(0.99)),
		"transaction p99 us":          float64(res.whole.quantile(0.99)),
		"broker CPU us a transaction": (after.cpu - before.cpu).Seconds() * 1e6 / float64(max(res.committed, 1)),
	}, nil
}

// coordinatorReady waits until groups and transactions find their coordinators.
func (s *server) coordinatorReady(ctx context.Context) error {
	adm, err := s.admin()
	if err != nil {
		return err
	}
	defer adm.Close()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		g := adm.FindGroupCoordinators(ctx, "any")
		t := adm.FindTxnCoordinators(ctx, "any")
		if err = errors.Join(g.Error(), t.Error()); err == nil {
			return nil
		}
	}
	return fmt.Errorf("%s has no coordinators after a minute: %w", s.kind, err)
}

func (s *server) topicID(ctx context.Context, topic string) (kadm.TopicID, error) {
	adm, err := s.admin()
	if err != nil {
		return kadm.TopicID{}, err
	}
	defer adm.Close()
	d, err := adm.ListTopics(ctx, topic)
	if err != nil {
		return kadm.TopicID{}, err
	}
	return d[topic].ID, d[topic].Err
}
