package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// setup says what a row's servers are like. Servers of equal name are shared by rows.
type setup struct {
	name   string
	nodes  int
	onDisk bool              // log directories on a real file system, else on tmpfs
	extra  map[string]string // added to server.properties of both implementations
	cold   bool              // not warmed: the row restarts its servers anyway
}

var (
	single = setup{name: "single", nodes: 1}
	triple = setup{name: "triple", nodes: 3}
	// tripleOnDisk is for rows that wait for the disk.
	tripleOnDisk = setup{name: "triple on disk", nodes: 3, onDisk: true}
)

// cluster is the combined nodes of one implementation; often there is only one.
type cluster struct {
	kind  string
	nodes []*server
}

// prepareCluster makes directories and properties and formats every node. The same
// file serves both implementations.
func (w *where) prepareCluster(ctx context.Context, kind string, u setup) (*cluster, error) {
	c := &cluster{kind: kind}
	parent := w.dataDir
	if u.onDisk {
		parent = w.diskDir
	}
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return nil, err
	}
	var voters, controllers []string
	for i := range u.nodes {
		dir, err := os.MkdirTemp(parent, "bench-"+kind+"-")
		if err != nil {
			return nil, err
		}
		port, err1 := w.port()
		ctrl, err2 := w.port()
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		c.nodes = append(c.nodes, &server{kind: kind, id: int32(i + 1), dir: dir, addr: fmt.Sprintf("127.0.0.1:%d", port)})
		controllers = append(controllers, fmt.Sprintf("127.0.0.1:%d", ctrl))
		voters = append(voters, fmt.Sprintf("%d@127.0.0.1:%d", i+1, ctrl))
	}
	if kind == floor {
		return c, nil
	}
	copies := fmt.Sprint(min(u.nodes, 3))
	minISR := fmt.Sprint(max(1, min(u.nodes, 3)-1))
	for i, s := range c.nodes {
		props := map[string]string{
			"process.roles": "broker,controller", "node.id": fmt.Sprint(s.id),
			"listeners":                        "PLAINTEXT://" + s.addr + ",CONTROLLER://" + controllers[i],
			"advertised.listeners":             "PLAINTEXT://" + s.addr,
			"controller.listener.names":        "CONTROLLER",
			"controller.quorum.voters":         strings.Join(voters, ","),
			"listener.security.protocol.map":   "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
			"log.dirs":                         filepath.Join(s.dir, "data"),
			"min.insync.replicas":              minISR,
			"offsets.topic.replication.factor": copies, "transaction.state.log.replication.factor": copies, "transaction.state.log.min.isr": minISR,
			"log.segment.delete.delay.ms": "0", "group.initial.rebalance.delay.ms": "0",
		}
		for k, v := range u.extra {
			props[k] = v
		}
		var text strings.Builder
		for k, v := range props {
			fmt.Fprintf(&text, "%s=%s\n", k, v)
		}
		if err := os.WriteFile(s.propsFile(), []byte(text.String()), 0o644); err != nil {
			return nil, err
		}
		if err := w.format(ctx, s); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// startAll runs all nodes and waits until each knows of all.
func (w *where) startAll(ctx context.Context, c *cluster) error {
	if c.kind == floor {
		return w.start(ctx, c.nodes[0])
	}
	for _, s := range c.nodes {
		if err := w.launch(s); err != nil {
			return err
		}
	}
	for _, s := range c.nodes {
		if err := s.waitReady(ctx, len(c.nodes)); err != nil {
			return err
		}
	}
	return nil
}

// endAll ends all nodes in an orderly way, but keeps what they wrote.
func (c *cluster) endAll(limit time.Duration) error {
	for _, s := range c.nodes {
		if s.cmd != nil && s.cmd.Process != nil {
			s.cmd.Process.Signal(syscall.SIGTERM)
		}
	}
	var errs []error
	for _, s := range c.nodes {
		errs = append(errs, s.end(syscall.SIGTERM, limit))
	}
	return errors.Join(errs...)
}

// stop ends all nodes and removes what they wrote.
func (c *cluster) stop() error {
	c.endAll(20 * time.Second)
	var errs []error
	for _, s := range c.nodes {
		errs = append(errs, os.RemoveAll(s.dir))
	}
	return errors.Join(errs...)
}

func (c *cluster) alive() error {
	for _, s := range c.nodes {
		if err := s.alive(); err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) addrs() []string {
	var out []string
	for _, s := range c.nodes {
		out = append(out, s.addr)
	}
	return out
}

// usage is that of all nodes together.
func (c *cluster) usage() (usage, error) {
	var sum usage
	for _, s := range c.nodes {
		u, err := usageOf(s.pid())
		if err != nil {
			return sum, err
		}
		sum.cpu += u.cpu
		sum.rss += u.rss
	}
	return sum, nil
}

// pin sets the CPUs of all nodes.
func (c *cluster) pin(cpus ...int) {
	for _, s := range c.nodes {
		pin(s.pid(), cpus...)
	}
}

func (c *cluster) admin() (*kadm.Client, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.addrs()...), kgo.RequestRetries(20), kgo.RetryTimeout(time.Minute))
	if err != nil {
		return nil, err
	}
	return kadm.NewClient(cl), nil
}

// newTopic makes a topic with a replica on each of up to three nodes and waits until
// every leader leads with all of them in sync.
func (c *cluster) newTopic(ctx context.Context, name string, partitions int, configs map[string]string) error {
	if c.kind == floor {
		return c.nodes[0].newTopic(ctx, name, partitions, configs)
	}
	return c.newTopics(ctx, partitions, configs, 2*time.Minute, name)
}

func (c *cluster) newTopics(ctx context.Context, partitions int, configs map[string]string, limit time.Duration, names ...string) error {
	adm, err := c.admin()
	if err != nil {
		return err
	}
	defer adm.Close()
	adm.SetTimeoutMillis(int32(limit.Milliseconds()))
	cfg := map[string]*string{}
	for k, v := range configs {
		cfg[k] = &v
	}
	rs, err := adm.CreateTopics(ctx, int32(partitions), int16(min(len(c.nodes), 3)), cfg, names...)
	if err = errors.Join(err, rs.Error()); err != nil {
		return fmt.Errorf("creating %d topics on %s: %w", len(names), c.kind, err)
	}
	return c.inSync(ctx, partitions, limit, names...)
}

// inSync waits until all partitions have a leader that leads and all replicas in sync.
func (c *cluster) inSync(ctx context.Context, partitions int, limit time.Duration, names ...string) error {
	var last error
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if last = c.inSyncNow(partitions, names...); last == nil {
			return nil
		}
		if err := errors.Join(ctx.Err(), c.alive()); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s: %d topics not in sync within %v: %w", c.kind, len(names), limit, last)
}

func (c *cluster) inSyncNow(partitions int, names ...string) error {
	for _, s := range c.nodes {
		p, err := dialPeer(s.addr, "bench")
		if err != nil {
			return err
		}
		defer p.close()
		led := map[string][]int32{}
		for _, name := range names {
			m, err := p.metadata(name)
			if err != nil {
				return err
			}
			if len(m) != partitions {
				return fmt.Errorf("%s has %d partitions on node %d", name, len(m), s.id)
			}
			for _, part := range m {
				if c.node(part.Leader) == nil || len(part.ISR) < min(len(c.nodes), 3) {
					return fmt.Errorf("%s-%d: leader %d, in sync %v", name, part.Partition, part.Leader, part.ISR)
				}
				if part.Leader == s.id {
					led[name] = append(led[name], part.Partition)
				}
			}
		}
		// A leader that is announced may not lead yet: ask it.
		if err := p.leads(led); err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) dropTopic(ctx context.Context, names ...string) error {
	if c.kind == floor {
		return nil
	}
	adm, err := c.admin()
	if err != nil {
		return err
	}
	defer adm.Close()
	_, err = adm.DeleteTopics(ctx, names...)
	return err
}

// leaders returns the address of the leader of each partition.
func (c *cluster) leaders(topic string) ([]string, error) {
	if c.kind == floor {
		return []string{c.nodes[0].addr}, nil
	}
	p, err := dialPeer(c.nodes[0].addr, "bench")
	if err != nil {
		return nil, err
	}
	defer p.close()
	m, err := p.metadata(topic)
	if err != nil {
		return nil, err
	}
	out := make([]string, len(m))
	for _, part := range m {
		if s := c.node(part.Leader); s != nil && int(part.Partition) < len(out) {
			out[part.Partition] = s.addr
		} else {
			return nil, fmt.Errorf("%s-%d has leader %d", topic, part.Partition, part.Leader)
		}
	}
	return out, nil
}

func (c *cluster) node(id int32) *server {
	for _, s := range c.nodes {
		if s.id == id {
			return s
		}
	}
	return nil
}

// controller finds the active controller.
func (c *cluster) controller() (*server, error) {
	var last error
	for _, s := range c.nodes {
		p, err := dialPeer(s.addr, "bench")
		if err != nil {
			last = err
			continue
		}
		req := kmsg.NewPtrDescribeQuorumRequest()
		t := kmsg.NewDescribeQuorumRequestTopic()
		t.Topic = "__cluster_metadata"
		t.Partitions = append(t.Partitions, kmsg.NewDescribeQuorumRequestTopicPartition())
		req.Topics = append(req.Topics, t)
		kresp, err := p.do(req, 10*time.Second)
		p.close()
		if err != nil {
			last = err
			continue
		}
		r := kresp.(*kmsg.DescribeQuorumResponse)
		if len(r.Topics) == 1 && len(r.Topics[0].Partitions) == 1 {
			if n := c.node(r.Topics[0].Partitions[0].LeaderID); n != nil {
				return n, nil
			}
		}
		last = fmt.Errorf("%s: DescribeQuorum: error %d", c.kind, r.ErrorCode)
	}
	return nil, last
}
