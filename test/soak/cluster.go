//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const nodes = 3

// The topics. Retention of the small ones is short, so that files do not get more for the
// better part of a run.
const (
	eventParts = 6
	tableParts = 3
	pairParts  = 4
	orderParts = 3

	eventSegment   = 16 << 20
	eventRetention = 48 << 20
	smallSegment   = 1 << 20
	smallRetention = 3 << 20
)

// settings are those of every node: Kafka's defaults but for sizes and intervals of files,
// so that all that happens in days happens in minutes.
var settings = []string{
	"default.replication.factor=3", "min.insync.replicas=2", "auto.create.topics.enable=false",
	"offsets.topic.num.partitions=3", "offsets.topic.replication.factor=3", fmt.Sprintf("offsets.topic.segment.bytes=%d", smallSegment),
	"transaction.state.log.num.partitions=3", "transaction.state.log.replication.factor=3", "transaction.state.log.min.isr=2",
	fmt.Sprintf("transaction.state.log.segment.bytes=%d", smallSegment),
	"log.retention.check.interval.ms=3000", "log.segment.delete.delay.ms=1000",
	"log.cleaner.backoff.ms=5000", "log.cleaner.min.cleanable.ratio=0.1",
	"leader.imbalance.check.interval.seconds=10", "leader.imbalance.per.broker.percentage=0",
	"group.initial.rebalance.delay.ms=500",
}

type topic struct {
	name    string
	parts   int32
	configs map[string]string
}

func topics() []topic {
	retention := func(segment, bytes int) map[string]string {
		return map[string]string{"segment.bytes": fmt.Sprint(segment), "retention.bytes": fmt.Sprint(bytes)}
	}
	return []topic{
		{"events", eventParts, retention(eventSegment, eventRetention)},
		{"table", tableParts, map[string]string{"cleanup.policy": "compact", "segment.bytes": fmt.Sprint(smallSegment),
			"min.cleanable.dirty.ratio": "0.1", "delete.retention.ms": "60000"}},
		{"pairs", pairParts, retention(smallSegment, smallRetention)},
		{"orders", orderParts, retention(smallSegment, smallRetention)},
		{"copies", orderParts, retention(smallSegment, smallRetention)},
	}
}

// cluster is the three nodes and a client to look at them.
type cluster struct {
	nodes []*process
	bad   *findings
	admin *kgo.Client
}

func newCluster(bin, dir string, bad *findings) (*cluster, error) {
	bin, err := exec.LookPath(bin)
	if err != nil {
		return nil, err
	}
	if bin, err = filepath.Abs(bin); err != nil {
		return nil, err
	}
	ports, err := freePorts(3 * nodes)
	if err != nil {
		return nil, err
	}
	c := &cluster{bad: bad}
	var voters []string
	for i := range nodes {
		p := &process{id: int32(i + 1), bin: bin, dir: filepath.Join(dir, fmt.Sprint(i+1)), addr: ports[3*i], ctrl: ports[3*i+1], http: ports[3*i+2]}
		c.nodes = append(c.nodes, p)
		voters = append(voters, fmt.Sprintf("%d@%s", p.id, p.ctrl))
	}
	common := append(settings[:len(settings):len(settings)], "controller.quorum.voters="+strings.Join(voters, ","),
		"controller.listener.names=CONTROLLER", "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT")
	for _, p := range c.nodes {
		if err := p.format(common[:len(common):len(common)]); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// start starts all nodes and makes the topics.
func (c *cluster) start(ctx context.Context) error {
	for _, p := range c.nodes {
		if err := p.start(c.ended); err != nil {
			return err
		}
	}
	cl, err := c.client(&line{})
	if err != nil {
		return err
	}
	c.admin = cl
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	adm := kadm.NewClient(cl)
	for _, t := range topics() {
		configs := map[string]*string{}
		for k, v := range t.configs {
			configs[k] = &v
		}
		for {
			_, err := adm.CreateTopic(ctx, t.parts, nodes, configs, t.name)
			if err == nil || errors.Is(err, kerr.TopicAlreadyExists) {
				break
			}
			if !pause(ctx, time.Second) { // brokers register one after the other
				return fmt.Errorf("creating %s: %w", t.name, err)
			}
		}
	}
	if _, what := c.settled(ctx, time.Minute, false); what != "" {
		return fmt.Errorf("the cluster does not begin: %s", what)
	}
	return nil
}

func (c *cluster) ended(err error) { c.bad.add("%v", err) }

// seeds are the addresses that clients begin with.
func (c *cluster) seeds() (out []string) {
	for _, p := range c.nodes {
		out = append(out, p.addr)
	}
	return out
}

// settled waits until every replica is in sync, and, if it is asked for, the preferred one
// leads. It says how long that took and what is missing.
func (c *cluster) settled(ctx context.Context, limit time.Duration, preferred bool) (time.Duration, string) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		what := c.missing(ctx, preferred)
		if what == "" || !pause(ctx, 200*time.Millisecond) {
			return time.Since(began), what
		}
	}
}

func (c *cluster) missing(ctx context.Context, preferred bool) string {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	m, err := kadm.NewClient(c.admin).Metadata(ctx)
	if err != nil {
		return fmt.Sprintf("no metadata: %v", err)
	}
	if len(m.Brokers) != nodes {
		return fmt.Sprintf("%d brokers are known", len(m.Brokers))
	}
	for _, t := range m.Topics.Sorted() {
		for _, p := range t.Partitions.Sorted() {
			switch {
			case p.Leader < 0 || len(p.ISR) != nodes:
				return fmt.Sprintf("%s-%d has leader %d, ISR %v", t.Topic, p.Partition, p.Leader, p.ISR)
			case preferred && p.Leader != p.Replicas[0]:
				return fmt.Sprintf("%s-%d is led by %d, not by %d", t.Topic, p.Partition, p.Leader, p.Replicas[0])
			}
		}
	}
	return ""
}

// stop ends all nodes in order.
func (c *cluster) stop() {
	if c.admin != nil {
		c.admin.Close()
	}
	for _, p := range c.nodes {
		p.stop(c.bad)
	}
}

// kill ends whatever runs yet.
func (c *cluster) kill() {
	for _, p := range c.nodes {
		p.kill()
	}
}

// doctor looks at the directories of stopped nodes.
func (c *cluster) doctor() {
	for _, p := range c.nodes {
		out, err := exec.Command(p.bin, "doctor", p.data()).CombinedOutput()
		if err != nil {
			c.bad.add("doctor of node %d: %v\n%s", p.id, err, out)
		}
	}
}

// lasting is a context that ends so long after ctx: what is under way then may end in its
// own time, but does end.
func lasting(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	out, cancel := context.WithCancel(context.Background())
	stop := context.AfterFunc(ctx, func() {
		pause(out, d)
		cancel()
	})
	return out, func() { stop(); cancel() }
}

// pause waits; false if ctx ends before.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
