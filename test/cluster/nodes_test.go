package cluster

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// host is one process of a cluster, with links of its own to the others.
type host struct {
	*node
	id                 int32
	number             int // of its place in the network, from 1
	broker, controller bool
	paused             bool
}

// fleet is a cluster of real processes.
type fleet struct {
	t     *testing.T
	dir   string
	links links
	hosts []*host
	spare *host // not one of hosts
	admin *kgo.Client
}

// Timeouts of the clusters. They are short, so that a fault has its consequences soon, and
// long enough for a busy machine.
const (
	sessionTimeout = 1500 * time.Millisecond
	lagTime        = 1500 * time.Millisecond
	offsetsParts   = 3
)

// settings are those of every node of a fleet.
func settings() []string {
	return []string{
		fmt.Sprintf("broker.session.timeout.ms=%d", sessionTimeout.Milliseconds()), "broker.heartbeat.interval.ms=300",
		"controller.quorum.election.timeout.ms=600", "controller.quorum.fetch.timeout.ms=1200", "controller.quorum.election.backoff.max.ms=200",
		fmt.Sprintf("replica.lag.time.max.ms=%d", lagTime.Milliseconds()), "replica.socket.timeout.ms=2000",
		"leader.imbalance.check.interval.seconds=2", "leader.imbalance.per.broker.percentage=0",
		"default.replication.factor=3", "min.insync.replicas=2", "auto.create.topics.enable=false", "log.cleaner.enable=false",
		fmt.Sprintf("offsets.topic.num.partitions=%d", offsetsParts), "offsets.topic.replication.factor=3",
		"transaction.state.log.num.partitions=3", "transaction.state.log.replication.factor=3", "transaction.state.log.min.isr=2",
		"offsets.commit.timeout.ms=1000", "request.timeout.ms=2000",
		"group.min.session.timeout.ms=200", "group.initial.rebalance.delay.ms=20",
		"group.consumer.min.heartbeat.interval.ms=20", "group.consumer.heartbeat.interval.ms=100",
		"group.consumer.min.session.timeout.ms=200", "group.consumer.session.timeout.ms=1000", "group.consumer.assignment.interval.ms=0",
		fmt.Sprintf("transaction.abort.timed.out.transaction.cleanup.interval.ms=%d", abortInterval.Milliseconds()),
	}
}

// shape says what a fleet consists of. There are three controllers: processes of their
// own, or the first three brokers.
type shape struct {
	brokers   int
	combined  bool
	overrides []string
	spare     bool // one more process with the id of the first broker, which is not started
}

// newFleet makes a cluster and starts it.
func newFleet(t *testing.T, s shape) *fleet {
	t.Helper()
	f := &fleet{t: t, dir: t.TempDir()}
	for i := range s.brokers {
		f.hosts = append(f.hosts, &host{id: int32(i + 1), number: i + 1, broker: true, controller: s.combined && i < 3})
	}
	if !s.combined {
		for i := range 3 {
			f.hosts = append(f.hosts, &host{id: int32(i + 101), number: s.brokers + i + 1, controller: true})
		}
	}
	numbers := map[int32]int{}
	for _, h := range f.hosts {
		numbers[h.id] = h.number
	}
	if s.spare {
		f.spare = &host{id: 1, number: len(f.hosts) + 1, broker: true}
		numbers[-1] = f.spare.number // no connection of its own needs to be told apart
	}
	f.links = newLinks(t, numbers)
	var voters []string
	for _, h := range f.hosts {
		if h.controller {
			voters = append(voters, fmt.Sprintf("%d@%s", h.id, f.links.address(h.number, true)))
		}
	}
	common := append(settings(), "controller.quorum.voters="+strings.Join(voters, ","), "controller.listener.names=CONTROLLER",
		"listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT")
	for _, h := range f.hosts {
		f.prepare(h, append(common, s.overrides...))
	}
	if s.spare {
		f.prepare(f.spare, append(common, "initial.broker.registration.timeout.ms=2000"))
	}
	t.Cleanup(f.end)
	for _, h := range f.hosts {
		h.launch()
		f.links.up(h.number)
	}
	for _, h := range f.hosts {
		h.serving()
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(f.seeds()...), kgo.MetadataMinAge(20*time.Millisecond), kgo.DisableClientMetrics(),
		kgo.RequestTimeoutOverhead(time.Second), kgo.RetryTimeout(5*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	f.admin = cl
	return f
}

// prepare writes the settings of a host and formats its directory.
func (f *fleet) prepare(h *host, lines []string) {
	f.t.Helper()
	var roles, listeners, advertised []string
	if h.broker {
		roles = append(roles, "broker")
		listeners = append(listeners, "PLAINTEXT://"+f.links.bound(h.number, false))
		advertised = append(advertised, "PLAINTEXT://"+f.links.address(h.number, false))
	}
	if h.controller {
		roles = append(roles, "controller")
		listeners = append(listeners, "CONTROLLER://"+f.links.bound(h.number, true))
		advertised = append(advertised, "CONTROLLER://"+f.links.address(h.number, true))
	}
	dir := filepath.Join(f.dir, fmt.Sprint(h.id))
	if h == f.spare {
		dir += "-spare"
	}
	h.node = &node{t: f.t, dir: dir, addr: f.links.address(h.number, false), prefix: f.links.command(h.number)}
	properties := filepath.Join(dir, "server.properties")
	h.args = []string{"kafka-server-start", properties}
	lines = append(lines, "process.roles="+strings.Join(roles, ","), fmt.Sprintf("node.id=%d", h.id), "listeners="+strings.Join(listeners, ","),
		"advertised.listeners="+strings.Join(advertised, ","), "log.dirs="+h.data())
	if err := os.MkdirAll(dir, 0o755); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(properties, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		f.t.Fatal(err)
	}
	out, err := exec.Command(gregor(f.t), "kafka-storage", "format", "-t", "A1b2C3d4E5f6G7h8I9j0Kw", "-c", properties).CombinedOutput()
	if err != nil {
		f.t.Fatalf("formatting: %v\n%s", err, out)
	}
}

func (h *host) data() string { return filepath.Join(h.dir, "data") }

// end ends what still runs.
func (f *fleet) end() {
	if f.admin != nil {
		f.admin.Close()
	}
	for _, h := range f.hosts {
		if h.node != nil && h.cmd != nil {
			f.kill(h)
		}
		if f.t.Failed() {
			f.t.Logf("node %d's last words:\n%s", h.id, h.tail())
		}
	}
	if f.t.Failed() {
		f.keep()
	}
}

// clientLog is a file for what clients log, if the directories are kept.
func (f *fleet) clientLog() io.Writer {
	if os.Getenv("GREGOR_KEEP") == "" {
		return nil
	}
	out, err := os.Create(filepath.Join(f.dir, "clients"))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { out.Close() })
	return out
}

// keep leaves the directories of a failed run where GREGOR_KEEP says.
func (f *fleet) keep() {
	if to := os.Getenv("GREGOR_KEEP"); to != "" {
		to = filepath.Join(to, fmt.Sprintf("%s-%d", strings.ReplaceAll(f.t.Name(), "/", "-"), os.Getpid()))
		if err := os.CopyFS(to, os.DirFS(f.dir)); err != nil {
			f.t.Logf("keeping the directories: %v", err)
			return
		}
		f.t.Logf("the directories are kept in %s", to)
	}
}

func (f *fleet) brokers() []*host     { return f.with(func(h *host) bool { return h.broker }) }
func (f *fleet) controllers() []*host { return f.with(func(h *host) bool { return h.controller }) }

func (f *fleet) with(is func(*host) bool) (out []*host) {
	for _, h := range f.hosts {
		if is(h) {
			out = append(out, h)
		}
	}
	return out
}

// seeds are the addresses that clients begin with.
func (f *fleet) seeds() (out []string) {
	for _, h := range f.brokers() {
		out = append(out, h.addr)
	}
	return out
}

func (f *fleet) kill(h *host) {
	f.links.down(h.number)
	h.node.kill()
	h.paused = false
}

// stop ends the process as SIGTERM does.
func (f *fleet) stop(h *host) {
	f.t.Helper()
	h.node.stop()
	f.links.down(h.number)
}

func (f *fleet) start(h *host) {
	f.t.Helper()
	h.launch()
	f.links.up(h.number)
	h.serving()
}

func (f *fleet) pause(h *host) {
	f.signal(h, syscall.SIGSTOP)
	h.paused = true
}

func (f *fleet) resume(h *host) {
	f.signal(h, syscall.SIGCONT)
	h.paused = false
}

func (f *fleet) signal(h *host, s syscall.Signal) {
	f.t.Helper()
	if err := h.cmd.Process.Signal(s); err != nil {
		f.t.Fatal(err)
	}
}

// create makes a topic with three replicas.
func (f *fleet) create(topic string, partitions int32, configs map[string]string) {
	f.t.Helper()
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = topic, partitions, 3
	for _, k := range sortedKeys(configs) {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = k, kmsg.StringPtr(configs[k])
		rt.Configs = append(rt.Configs, c)
	}
	f.createTopic(rt)
}

// place makes a topic whose partitions have these replicas.
func (f *fleet) place(topic string, replicas [][]int32) {
	f.t.Helper()
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = topic, -1, -1
	for p, r := range replicas {
		a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
		a.Partition, a.Replicas = int32(p), r
		rt.ReplicaAssignment = append(rt.ReplicaAssignment, a)
	}
	f.createTopic(rt)
}

func (f *fleet) createTopic(rt kmsg.CreateTopicsRequestTopic) {
	f.t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = 10000
	req.Topics = append(req.Topics, rt)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	resp, err := req.RequestWith(ctx, f.admin)
	if err == nil {
		err = kerr.ErrorForCode(resp.Topics[0].ErrorCode)
	}
	if err != nil {
		f.t.Fatalf("creating %s: %v", rt.Topic, err)
	}
	f.until(recovery, func() string {
		for _, h := range f.brokers() {
			if !f.knows(h, rt.Topic) {
				return fmt.Sprintf("broker %d does not know %s", h.id, rt.Topic)
			}
		}
		return ""
	})
}

// knows says whether a broker's metadata has a topic.
func (f *fleet) knows(h *host, topic string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	req := kmsg.NewPtrMetadataRequest()
	rt := kmsg.NewMetadataRequestTopic()
	rt.Topic = kmsg.StringPtr(topic)
	req.Topics = append(req.Topics, rt)
	resp, err := f.admin.Broker(int(h.id)).Request(ctx, req)
	return err == nil && resp.(*kmsg.MetadataResponse).Topics[0].ErrorCode == 0
}

// partition is one partition as the metadata has it.
type partition struct {
	topic         string
	number        int32
	leader, epoch int32
	replicas, isr []int32
}

// partitions returns those of all topics, internal ones too.
func (f *fleet) partitions() ([]partition, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	req := kmsg.NewPtrMetadataRequest() // no topics: all
	resp, err := req.RequestWith(ctx, f.admin)
	if err != nil {
		return nil, err
	}
	var out []partition
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			out = append(out, partition{*t.Topic, p.Partition, p.Leader, p.LeaderEpoch, p.Replicas, p.ISR})
		}
	}
	return out, nil
}

// until waits for a condition, which says what is missing.
func (f *fleet) until(limit time.Duration, missing func() string) {
	f.t.Helper()
	if what := within(limit, missing); what != "" {
		f.t.Fatalf("not within %v: %s", limit, what)
	}
}

// within waits for a condition and returns what is missing in the end.
func within(limit time.Duration, missing func() string) string {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for {
		what := missing()
		if what == "" || ctx.Err() != nil {
			return what
		}
		pause(ctx, 25*time.Millisecond)
	}
}

// leaderOf is the host that leads a partition, and its leader epoch; nil without one.
func (f *fleet) leaderOf(topic string, number int32) (*host, int32) {
	parts, err := f.partitions()
	if err != nil {
		return nil, -1
	}
	for _, p := range parts {
		for _, h := range f.hosts {
			if p.topic == topic && p.number == number && p.leader == h.id {
				return h, p.epoch
			}
		}
	}
	return nil, -1
}

// tool runs one of Kafka's commands and returns what it prints.
func (f *fleet) tool(name string, args ...string) string {
	f.t.Helper()
	args = append([]string{name, "--bootstrap-server", strings.Join(f.seeds(), ",")}, args...)
	out, err := exec.Command(gregor(f.t), args...).CombinedOutput()
	if err != nil {
		f.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// unhealthy says which partition has no leader or not all replicas in its ISR.
func (f *fleet) unhealthy() string {
	parts, err := f.partitions()
	if err != nil {
		return fmt.Sprintf("no metadata: %v", err)
	}
	for _, p := range parts {
		if p.leader < 0 || len(p.isr) != len(p.replicas) {
			return fmt.Sprintf("%s-%d has leader %d, replicas %v, ISR %v", p.topic, p.number, p.leader, p.replicas, p.isr)
		}
	}
	return ""
}

// active is the host of the active controller, nil if nobody says who it is.
func (f *fleet) active() *host {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	req := kmsg.NewPtrDescribeQuorumRequest()
	rt := kmsg.NewDescribeQuorumRequestTopic()
	rt.Topic = "__cluster_metadata"
	rt.Partitions = append(rt.Partitions, kmsg.NewDescribeQuorumRequestTopicPartition())
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(ctx, f.admin)
	if err != nil || len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return nil
	}
	i := slices.IndexFunc(f.hosts, func(h *host) bool { return h.id == resp.Topics[0].Partitions[0].LeaderID })
	if i < 0 {
		return nil
	}
	return f.hosts[i]
}
