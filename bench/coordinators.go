package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// The group of row 12a.
const (
	groupMembers    = 1000
	groupTopics     = 200
	groupPartitions = 10
	waves           = 10
	settleLimit     = 10 * time.Minute
)

// row12a measures how long a large group takes to be stable again, and what it costs.
func row12a(ctx context.Context, b *bench, r row) error {
	kinds := b.has(gregor, kafka)
	members := int(groupMembers * b.scale)
	var topics []string
	for i := range groupTopics {
		topics = append(topics, fmt.Sprintf("group-topic-%03d", i))
	}
	for _, kind := range kinds {
		s, err := b.get(ctx, kind)
		if err != nil {
			return err
		}
		if err := s.newTopics(ctx, groupPartitions, topics...); err != nil {
			return err
		}
	}
	for _, consumer := range []bool{false, true} {
		name := "classic"
		if consumer {
			name = "KIP-848"
		}
		got, err := b.interleave(ctx, kinds, func(kind string) (map[string]float64, error) {
			return b.groupLife(ctx, b.servers[kind], groupSpec{
				addr: b.servers[kind].addr, group: fmt.Sprintf("g%d", time.Now().UnixNano()),
				topics: topics, partitions: groupPartitions, members: members, consumer: consumer,
			})
		})
		if err != nil {
			return err
		}
		workload := fmt.Sprintf("%s group of %d members, %d topics x %d partitions", name, members, groupTopics, groupPartitions)
		b.report(r, workload, got,
			metric{"all join: s to stable", true, 1.0 / 5}, metric{"all join: broker CPU s", true, 1.0 / 10},
			metric{"one leaves: s to stable", true, 1.0 / 10}, metric{"one leaves: broker CPU s", true, 1.0 / 10},
			metric{"rolling restart: s to stable", true, 1.0 / 5}, metric{"rolling restart: broker CPU s", true, 1.0 / 10})
	}
	return nil
}

// groupLife is one group's: all join, one leaves, ten waves of members restart.
func (b *bench) groupLife(ctx context.Context, s *server, spec groupSpec) (map[string]float64, error) {
	c := newCrowd(ctx, spec)
	defer c.close()
	out := map[string]float64{}
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
	err := phase("all join", func() error {
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
	return out, err
}

// row12b measures transactions a second.
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
		got, err := b.interleave(ctx, kinds, func(kind string) (map[string]float64, error) {
			s := b.servers[kind]
			id, err := s.topicID(ctx, topic)
			if err != nil {
				return nil, err
			}
			before, err := usageOf(s.pid())
			if err != nil {
				return nil, err
			}
			res, err := runTransactions(ctx, txnSpec{addr: s.addr, topicID: id, partitions: 6, producers: 100, records: records, run: time.Duration(10 * b.scale * float64(time.Second))})
			if err != nil {
				return nil, err
			}
			after, err := usageOf(s.pid())
			if err != nil {
				return nil, err
			}
			return map[string]float64{
				"transactions/s": float64(res.committed) / res.elapsed.Seconds(), "commit p99 us": float64(res.commit.quantile(0.99)),
				"broker CPU us a transaction": (after.cpu - before.cpu).Seconds() * 1e6 / float64(max(res.committed, 1)),
			}, nil
		})
		if err != nil {
			return err
		}
		b.report(r, fmt.Sprintf("100 producers, %d records a transaction", records), got,
			metric{"transactions/s", false, 5}, metric{"commit p99 us", true, 1.0 / 5}, metric{"broker CPU us a transaction", true, 0})
	}
	return nil
}

// newTopics makes many topics in one request.
func (s *server) newTopics(ctx context.Context, partitions int, names ...string) error {
	adm, err := s.admin()
	if err != nil {
		return err
	}
	defer adm.Close()
	rs, err := adm.CreateTopics(ctx, int32(partitions), 1, nil, names...)
	if err = errors.Join(err, rs.Error()); err != nil {
		return fmt.Errorf("creating %d topics on %s: %w", len(names), s.kind, err)
	}
	return s.coordinatorReady(ctx)
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
