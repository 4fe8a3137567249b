package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Rows 10a to 10c: three combined nodes on defaults, a topic of 100 partitions with
// three replicas. A round kills one node, measures, starts it again and waits until
// every partition is in sync and led by its preferred replica.
const (
	failoverTopic      = "failover"
	failoverPartitions = 100
	failoverLimit      = time.Minute
	// pollPause is between two questions of a client that waits for a leader: shorter
	// than any client's backoff, so that it does not hide the server's time.
	pollPause = 2 * time.Millisecond
)

var forFailover = setup{name: "failover", nodes: 3, cold: true}

type failoverRound func(ctx context.Context, c *cluster) (victim *server, m map[string]float64, err error)

// failovers runs b.rounds rounds on gregor and b.kRounds on Apache Kafka, each alone on
// the machine: three idle JVMs take a third of two cores, and an election is over in
// milliseconds. They take turns in the order A B B A, so that a machine that grows
// slower does so for both.
func (b *bench) failovers(ctx context.Context, r row, round failoverRound, metrics ...metric) error {
	const blocks = 2
	order := b.has(gregor, kafka)
	want := map[string]int{gregor: b.rounds, kafka: b.kRounds}
	got := map[string]map[string][]float64{}
	for block := range blocks {
		for _, kind := range order {
			from, to := block*want[kind]/blocks, (block+1)*want[kind]/blocks
			if from == to {
				continue
			}
			c, err := b.alone(ctx, kind)
			if err != nil {
				return err
			}
			if err := b.failoverBlock(ctx, c, round, from, to, got); err != nil {
				return err
			}
		}
		slices.Reverse(order)
	}
	b.report(r, r.workload, got, metrics...)
	return nil
}

// alone returns three nodes of a kind with the row's topic, and ends those of others.
func (b *bench) alone(ctx context.Context, kind string) (*cluster, error) {
	for other, c := range b.running {
		if other != kind {
			c.stop()
			delete(b.running, other)
		}
	}
	known := b.setup == forFailover.name && b.running[kind] != nil
	c, err := b.use(ctx, kind, forFailover)
	if err != nil || known {
		return c, err
	}
	return c, c.newTopic(ctx, failoverTopic, failoverPartitions, nil)
}

// failoverBlock runs rounds from..to of a kind and adds what they give to got.
func (b *bench) failoverBlock(ctx context.Context, c *cluster, round failoverRound, from, to int, got map[string]map[string][]float64) error {
	var longest time.Duration
	for i := from; i < to; i++ {
		began := time.Now()
		if began.Add(longest).After(b.end) {
			fmt.Fprintf(os.Stderr, "  %s, %d of %d: out of time\n", c.kind, i, to)
			return nil
		}
		m, err := b.failover(ctx, c, round)
		if err != nil {
			return fmt.Errorf("%s, round %d: %w", c.kind, i+1, err)
		}
		for name, v := range m {
			if got[name] == nil {
				got[name] = map[string][]float64{}
			}
			got[name][c.kind] = append(got[name][c.kind], v)
		}
		fmt.Fprintf(os.Stderr, "  %d/%d %-6s %v\n", i+1, to, c.kind, m)
		longest = max(longest, time.Since(began))
	}
	return nil
}

func (b *bench) failover(ctx context.Context, c *cluster, round failoverRound) (map[string]float64, error) {
	if err := c.settled(ctx); err != nil {
		return nil, err
	}
	victim, m, err := round(ctx, c)
	if err != nil {
		return nil, err
	}
	<-victim.done
	if err := b.launch(victim); err != nil {
		return nil, err
	}
	return m, victim.waitReady(ctx, len(c.nodes))
}

// settled waits until all partitions are in sync and led by their first replica.
func (c *cluster) settled(ctx context.Context) error {
	adm, err := c.admin()
	if err != nil {
		return err
	}
	defer adm.Close()
	for end := time.Now().Add(failoverLimit); time.Now().Before(end); {
		if err := c.inSync(ctx, failoverPartitions, failoverLimit, failoverTopic); err != nil {
			return err
		}
		p, err := dialPeer(c.nodes[0].addr, "bench")
		if err != nil {
			return err
		}
		parts, err := p.metadata(failoverTopic)
		p.close()
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(parts, func(m kmsg.MetadataResponseTopicPartition) bool { return m.Leader != m.Replicas[0] }) {
			return nil
		}
		if _, err := adm.ElectLeaders(ctx, kadm.ElectPreferredReplica, nil); err != nil {
			return fmt.Errorf("preferred leaders of %s: %w", c.kind, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("%s: preferred replicas do not lead within %v", c.kind, failoverLimit)
}

// pick finds the active controller, or a leader that is not, with the partitions that
// it leads and connections to the others.
func (c *cluster) pick(controller bool) (victim *server, led []int32, others map[int32]*peer, err error) {
	active, err := c.controller()
	if err != nil {
		return nil, nil, nil, err
	}
	victim = active
	if !controller {
		victim = c.nodes[int(active.id)%len(c.nodes)]
	}
	others = map[int32]*peer{}
	for _, s := range c.nodes {
		p, err := dialPeer(s.addr, "bench")
		if err != nil {
			return nil, nil, nil, err
		}
		if s != victim {
			others[s.id] = p
			continue
		}
		parts, err := p.metadata(failoverTopic)
		p.close()
		if err != nil {
			return nil, nil, nil, err
		}
		for _, part := range parts {
			if part.Leader == victim.id {
				led = append(led, part.Partition)
			}
		}
	}
	if len(led) == 0 {
		return nil, nil, nil, fmt.Errorf("node %d of %s leads nothing", victim.id, c.kind)
	}
	return victim, led, others, nil
}

func closePeers(m map[int32]*peer) {
	for _, p := range m {
		p.close()
	}
}

// produceOne sends one record with acks=all.
func (p *peer) produceOne(partition int32, batch []byte) error {
	req := kmsg.NewPtrProduceRequest()
	req.SetVersion(9)
	req.Acks, req.TimeoutMillis = -1, 30_000
	t := kmsg.NewProduceRequestTopic()
	t.Topic = failoverTopic
	rp := kmsg.NewProduceRequestTopicPartition()
	rp.Partition, rp.Records = partition, batch
	t.Partitions = append(t.Partitions, rp)
	req.Topics = append(req.Topics, t)
	kresp, err := p.do(req, failoverLimit)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(kresp.(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode)
}

// killLeader is row 10a: from kill -9 to the first acknowledgement on one of the
// partitions that the node led, and to the last of the first ones.
func killLeader(ctx context.Context, c *cluster) (*server, map[string]float64, error) {
	victim, led, others, err := c.pick(false)
	if err != nil {
		return nil, nil, err
	}
	defer closePeers(others)
	batch, err := buildBatch(newRNG(), 1, 100, codecNone)
	if err != nil {
		return nil, nil, err
	}
	var asked *peer
	for _, p := range others {
		asked = p
	}
	began := time.Now()
	victim.cmd.Process.Signal(syscall.SIGKILL)
	var first time.Duration
	for len(led) > 0 {
		if time.Since(began) > failoverLimit || ctx.Err() != nil {
			return nil, nil, fmt.Errorf("%d partitions without an acknowledgement after %v", len(led), time.Since(began))
		}
		parts, err := asked.metadata(failoverTopic)
		if err != nil {
			return nil, nil, err
		}
		before := len(led)
		for _, part := range parts {
			at := slices.Index(led, part.Partition)
			to := others[part.Leader]
			if at < 0 || to == nil {
				continue
			}
			err := to.produceOne(part.Partition, batch)
			if err == nil {
				if first == 0 {
					first = time.Since(began)
				}
				led = slices.Delete(led, at, at+1)
			} else if ke := (*kerr.Error)(nil); !errors.As(err, &ke) || !ke.Retriable {
				return nil, nil, err
			}
		}
		if len(led) == before {
			time.Sleep(pollPause)
		}
	}
	return victim, map[string]float64{"first ack ms": ms(first), "all of its partitions acked ms": ms(time.Since(began))}, nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// killController is row 10b: from kill -9 of the active controller to the answer that
// a topic was made.
func killController(ctx context.Context, c *cluster) (*server, map[string]float64, error) {
	victim, _, others, err := c.pick(true)
	if err != nil {
		return nil, nil, err
	}
	defer closePeers(others)
	req := kmsg.NewPtrCreateTopicsRequest()
	req.SetVersion(5)
	req.TimeoutMillis = int32(failoverLimit.Milliseconds())
	t := kmsg.NewCreateTopicsRequestTopic()
	// Two replicas: the dead node may be known to be dead already.
	t.Topic, t.NumPartitions, t.ReplicationFactor = fmt.Sprintf("after-%d", time.Now().UnixNano()), 1, 2
	req.Topics = append(req.Topics, t)
	var asked *peer
	for _, p := range others {
		asked = p
	}
	began := time.Now()
	victim.cmd.Process.Signal(syscall.SIGKILL)
	for {
		kresp, err := asked.do(req, failoverLimit)
		if err != nil {
			return nil, nil, err
		}
		code := kresp.(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode
		if code == 0 || code == kerr.TopicAlreadyExists.Code {
			break
		}
		if time.Since(began) > failoverLimit {
			return nil, nil, fmt.Errorf("no topic made within %v: %w", failoverLimit, kerr.ErrorForCode(code))
		}
		time.Sleep(pollPause)
	}
	m := map[string]float64{"next CreateTopics ms": ms(time.Since(began))}
	return victim, m, c.dropTopic(ctx, t.Topic)
}

func row10a(ctx context.Context, b *bench, r row) error {
	return b.failovers(ctx, r, killLeader, metric{"first ack ms", true, 1.0 / 30}, metric{"all of its partitions acked ms", true, 0})
}

func row10b(ctx context.Context, b *bench, r row) error {
	return b.failovers(ctx, r, killController, metric{"next CreateTopics ms", true, 1.0 / 10})
}

func row10c(ctx context.Context, b *bench, r row) error {
	return b.failovers(ctx, r, drainLeader, metric{"longest gap ms", true, 1.0 / 5}, metric{"shutdown ms", true, 0}, metric{"answers that were errors", true, 0})
}
