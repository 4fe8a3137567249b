package node

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/features"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log4j"
	"github.com/gregorhq/gregor/internal/netx"
	"github.com/gregorhq/gregor/internal/storage"
	"github.com/gregorhq/gregor/internal/vfs"
)

// lines collects log output.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// machine is a computer: a disk, a network, and the log of what runs on it.
type machine struct {
	t    *testing.T
	fsys vfs.FS
	net  netx.Net
	log  *lines
	// props are what cfg was made of.
	props map[string]string
	cfg   *config.Broker
}

func newMachine(t *testing.T, overrides map[string]string) *machine {
	t.Helper()
	props := map[string]string{
		"process.roles": "broker,controller", "node.id": "1",
		"listeners":                 "PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093",
		"controller.listener.names": "CONTROLLER", "controller.quorum.voters": "1@localhost:9093",
		"log.dirs": "/data", "metadata.max.idle.interval.ms": "0",
	}
	for k, v := range overrides {
		props[k] = v
	}
	cfg, _, err := config.Load(props)
	if err != nil {
		t.Fatal(err)
	}
	return &machine{t: t, fsys: vfs.NewMem(), net: netx.NewMem(clock.Real()), log: &lines{}, props: props, cfg: cfg}
}

func (m *machine) format() { m.t.Helper(); m.formatWith(func(*storage.FormatOptions) {}) }

// formatWith formats with options that are not the usual ones.
func (m *machine) formatWith(change func(*storage.FormatOptions)) {
	m.t.Helper()
	o := storage.FormatOptions{NodeID: 1, ClusterID: "5L6g3nShT-eMCtK--X86sw", Directories: directories(m.cfg), MetadataLogDir: m.cfg.MetadataLogDir,
		ControllerListenerName: "CONTROLLER", Now: time.UnixMilli(1)}
	change(&o)
	if _, err := storage.Format(m.fsys, o); err != nil {
		m.t.Fatal(err)
	}
}

// dynamicQuorum is --initial-controllers with this node at a host.
func dynamicQuorum(host string) func(*storage.FormatOptions) {
	return func(o *storage.FormatOptions) {
		o.DynamicQuorum = true
		o.InitialControllers = storage.NewVoterSet(storage.NewVoter(1, kafka.NewUUID(), "CONTROLLER", host, 9093))
	}
}

func (m *machine) open() (*Node, error) {
	return Open(context.Background(), m.cfg, Deps{FS: m.fsys, Net: m.net, Clock: clock.Real(),
		Logger: slog.New(log4j.NewHandler(m.log, slog.LevelInfo))})
}

func (m *machine) start() *Node {
	m.t.Helper()
	n, err := m.open()
	if err != nil {
		m.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := n.Start(ctx); err != nil {
		m.t.Fatalf("%v\n%s", err, m.log)
	}
	return n
}

func (m *machine) stop(n *Node) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := n.Close(ctx); err != nil {
		m.t.Fatalf("%v\n%s", err, m.log)
	}
}

func (m *machine) client() *kgo.Client {
	m.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers("localhost:9092"), kgo.Dialer(m.net.Dial))
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(cl.Close)
	return cl
}

// The metadata log may have a directory that holds nothing else; a dynamic quorum knows
// its voters by the ids of these directories.
func TestDynamicVoterWithADirectoryForItsMetadata(t *testing.T) {
	m := newMachine(t, map[string]string{"metadata.log.dir": "/meta", "controller.quorum.bootstrap.servers": "localhost:9093"})
	delete(m.props, "controller.quorum.voters")
	var err error
	if m.cfg, _, err = config.Load(m.props); err != nil {
		t.Fatal(err)
	}
	m.formatWith(dynamicQuorum("localhost"))
	m.stop(m.start())
}

func TestStartServeStopRestart(t *testing.T) {
	m := newMachine(t, nil)
	m.format()
	n := m.start()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cl := m.client()
	create := kmsg.NewPtrCreateTopicsRequest()
	create.TimeoutMillis = 10_000
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "t", 2, 1
	create.Topics = append(create.Topics, topic)
	resp, err := create.RequestWith(ctx, cl)
	if err != nil || resp.Topics[0].ErrorCode != 0 {
		t.Fatalf("%+v, %v\n%s", resp, err, m.log)
	}
	rec := &kgo.Record{Topic: "t", Value: []byte("v")}
	if err := cl.ProduceSync(ctx, rec).FirstErr(); err != nil {
		t.Fatalf("%v\n%s", err, m.log)
	}
	epoch := n.engine.Leader().Epoch
	m.stop(n)
	if _, err := m.fsys.Stat("/data/.kafka_cleanshutdown"); err != nil {
		t.Error(err)
	}
	n = m.start()
	defer m.stop(n)
	if got := n.engine.Leader().Epoch; got <= epoch {
		t.Errorf("epoch %d after %d", got, epoch)
	}
	cl = m.client()
	cl.AddConsumePartitions(map[string]map[int32]kgo.Offset{"t": {rec.Partition: kgo.NewOffset().At(0)}})
	got := cl.PollFetches(ctx)
	if err := got.Err(); err != nil || got.NumRecords() != 1 || string(got.Records()[0].Value) != "v" {
		t.Fatalf("%d records, %v\n%s", got.NumRecords(), err, m.log)
	}
}

// Containers and tests all over the world wait for these lines.
func TestReadinessLines(t *testing.T) {
	m := newMachine(t, nil)
	m.format()
	n := m.start()
	defer m.stop(n)
	out := m.log.String()
	at := 0
	for _, want := range []string{
		"] INFO [BrokerLifecycleManager id=1] The broker has been unfenced. Transitioning from RECOVERY to RUNNING. (kafka.server.BrokerLifecycleManager)\n",
		"] INFO [KafkaRaftServer nodeId=1] Kafka Server started (kafka.server.KafkaRaftServer)\n",
		"] INFO [KafkaServer id=1] started (kafka.server.KafkaServer)\n",
	} {
		i := strings.Index(out[at:], want)
		if i < 0 {
			t.Fatalf("no line %q behind position %d of\n%s", want, at, out)
		}
		at += i + len(want)
	}
}

func TestUnformattedDirectoryIsRefused(t *testing.T) {
	m := newMachine(t, nil)
	if _, err := m.open(); err == nil || !strings.Contains(err.Error(), "have you run `kafka-storage.sh` to format the directory?") {
		t.Errorf("%v", err)
	}
}

func TestRolesThatCannotBeServedAreRefused(t *testing.T) {
	m := newMachine(t, nil)
	m.cfg.ProcessRoles, m.cfg.ZookeeperConnect = nil, "localhost:2181"
	if _, err := m.open(); err == nil || !strings.Contains(err.Error(), "set process.roles") {
		t.Errorf("%v", err)
	}
}

// TestAuthorizerIsRefused: who configures one relies on it.
// A broker has no listener of the controllers' kind itself, and yet speaks to theirs.
func TestControllersOfAnotherSecurityProtocolAreRefused(t *testing.T) {
	for _, protocol := range []string{"SSL", "SASL_PLAINTEXT", "SASL_SSL"} {
		m := newMachine(t, map[string]string{"process.roles": "broker", "listeners": "PLAINTEXT://localhost:9092", "controller.quorum.voters": "2@localhost:9093",
			"listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:" + protocol})
		m.format()
		n, err := m.open()
		if err == nil {
			m.stop(n)
		}
		if err == nil || !strings.Contains(err.Error(), "CONTROLLER has security protocol "+protocol) {
			t.Errorf("%s: %v", protocol, err)
		}
	}
}

func TestAuthorizerIsRefused(t *testing.T) {
	m := newMachine(t, map[string]string{"authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer"})
	m.format()
	if _, err := m.open(); err == nil || !strings.Contains(err.Error(), "authorizer.class.name") {
		t.Errorf("%v", err)
	}
}

func TestSecondProcessOnTheSameDirectoryIsRefused(t *testing.T) {
	m := newMachine(t, nil)
	m.format()
	n := m.start()
	defer m.stop(n)
	if _, err := m.open(); err == nil {
		t.Error("two nodes run on one directory")
	}
}

// A controller whose log cannot be written must not go on (KAFKA-10655).
func TestFailedMetadataSyncEndsTheNode(t *testing.T) {
	m := newMachine(t, nil)
	m.format()
	fault := vfs.NewFault(m.fsys)
	m.fsys = fault
	n := m.start()
	fault.Add(vfs.Rule{Op: vfs.OpSync, Path: "/data/__cluster_metadata-0/*.log", Times: 1, Err: errors.New("injected")})
	req := kmsg.NewPtrCreateTopicsRequest()
	req.SetVersion(7)
	req.TimeoutMillis = 10_000
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "t", 1, 1
	req.Topics = append(req.Topics, topic)
	if _, err := n.controller.Do(context.Background(), "User:test", req); !errors.Is(err, kafka.NotController) {
		t.Errorf("answer %v", err)
	}
	select {
	case <-n.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the node goes on")
	}
	if n.Err() == nil {
		t.Error("no reason is kept")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_ = n.Close(ctx) // what it could not write, it says
	if _, err := m.fsys.Stat("/data/.kafka_cleanshutdown"); err == nil {
		t.Error("the directory is marked as cleanly shut down")
	}
}

func TestControllerOnly(t *testing.T) {
	m := newMachine(t, map[string]string{"process.roles": "controller", "listeners": "CONTROLLER://localhost:9093"})
	m.format()
	n := m.start()
	defer m.stop(n)
	if c := n.loader.Current().Controller(1); c == nil || len(c.Endpoints) != 1 || c.Endpoints[0].Port != 9093 {
		t.Errorf("controller registration %+v", c)
	}
	if !strings.Contains(m.log.String(), "Kafka Server started") || strings.Contains(m.log.String(), "[KafkaServer id=1] started") {
		t.Errorf("log\n%s", m.log)
	}
}

// TestAdvertisedControllerListener: the quorum and the cluster know a controller by the
// address that it advertises, not by the one that it binds.
func TestAdvertisedControllerListener(t *testing.T) {
	m := newMachine(t, map[string]string{
		"process.roles": "controller", "listeners": "CONTROLLER://localhost:9093",
		"advertised.listeners": "CONTROLLER://controller.example:19093",
	})
	m.format()
	n := m.start()
	defer m.stop(n)
	c := n.loader.Current().Controller(1)
	if c == nil || len(c.Endpoints) != 1 || c.Endpoints[0].Host != "controller.example" || c.Endpoints[0].Port != 19093 {
		t.Errorf("controller registration %+v", c)
	}
}

// TestDynamicQuorumKeepsAdvertisedAddresses: what --initial-controllers said stands, and a
// leader does not write its bound address over it.
func TestDynamicQuorumKeepsAdvertisedAddresses(t *testing.T) {
	m := newMachine(t, map[string]string{
		"process.roles": "controller", "listeners": "CONTROLLER://localhost:9093",
		"advertised.listeners":                "CONTROLLER://controller.example:9093",
		"controller.quorum.bootstrap.servers": "localhost:9093",
	})
	delete(m.props, "controller.quorum.voters")
	var err error
	if m.cfg, _, err = config.Load(m.props); err != nil {
		t.Fatal(err)
	}
	m.formatWith(dynamicQuorum("controller.example"))
	n := m.start()
	defer m.stop(n)
	voters := n.meta.Describe().VoterSet
	if len(voters) != 1 || len(voters[0].Endpoints) != 1 || voters[0].Endpoints[0].Host != "controller.example" {
		t.Errorf("voters %+v", voters)
	}
}

// TestControllerRegistersWhenItMay: a controller that was started at a metadata.version
// without registrations registers when that is raised.
func TestControllerRegistersWhenItMay(t *testing.T) {
	m := newMachine(t, map[string]string{"process.roles": "controller", "listeners": "CONTROLLER://localhost:9093"})
	m.formatWith(func(o *storage.FormatOptions) { o.ReleaseVersion = features.V36IV2 })
	n := m.start()
	defer m.stop(n)
	if c := n.loader.Current().Controller(1); c != nil {
		t.Fatalf("registered at 3.6: %+v", c)
	}
	req := kmsg.NewPtrUpdateFeaturesRequest()
	req.TimeoutMillis = 10_000
	f := kmsg.NewUpdateFeaturesRequestFeatureUpdate()
	f.Feature, f.MaxVersionLevel, f.UpgradeType = "metadata.version", 25, 1
	req.FeatureUpdates = append(req.FeatureUpdates, f)
	if r := m.ask("localhost:9093", req).(*kmsg.UpdateFeaturesResponse); r.ErrorCode != 0 {
		t.Fatalf("UpdateFeatures: %+v", r)
	}
	for deadline := time.Now().Add(10 * time.Second); n.loader.Current().Controller(1) == nil; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("did not register\n%s", m.log)
		}
	}
}

// ask sends one request to one listener.
func (m *machine) ask(addr string, req kmsg.Request) kmsg.Response {
	m.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.Dialer(m.net.Dial))
	if err != nil {
		m.t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	resp, err := cl.SeedBrokers()[0].Request(ctx, req)
	if err != nil {
		m.t.Fatalf("%s: %v\n%s", kmsg.NameForKey(req.Key()), err, m.log)
	}
	return resp
}

func TestControllerListener(t *testing.T) {
	m := newMachine(t, nil)
	m.format()
	n := m.start()
	defer m.stop(n)
	const addr = "localhost:9093"

	av := kmsg.NewPtrApiVersionsRequest()
	if r := m.ask(addr, av).(*kmsg.ApiVersionsResponse); r.ErrorCode != kafka.InvalidRequest.Num() {
		t.Errorf("ApiVersions of software without a name: %+v", r)
	}
	av.ClientSoftwareName, av.ClientSoftwareVersion = "test", "1"
	versions := m.ask(addr, av).(*kmsg.ApiVersionsResponse)
	finalized := map[string]int16{}
	for _, f := range versions.FinalizedFeatures {
		finalized[f.Name] = f.MaxVersionLevel
	}
	if versions.ErrorCode != 0 || len(versions.ApiKeys) < 10 || finalized["metadata.version"] != 30 {
		t.Errorf("ApiVersions: %+v", versions)
	}
	for _, k := range versions.ApiKeys {
		if k.ApiKey == 0 || k.ApiKey == 3 {
			t.Errorf("key %d is announced to controllers", k.ApiKey)
		}
	}

	dc := kmsg.NewPtrDescribeClusterRequest()
	dc.EndpointType = 2
	cluster := m.ask(addr, dc).(*kmsg.DescribeClusterResponse)
	if cluster.ErrorCode != 0 || cluster.ControllerID != 1 || len(cluster.Brokers) != 1 || cluster.Brokers[0].Port != 9093 || cluster.EndpointType != 2 {
		t.Errorf("DescribeCluster: %+v", cluster)
	}
	if cluster.ClusterAuthorizedOperations != math.MinInt32 {
		t.Errorf("DescribeCluster tells operations unasked: %d", cluster.ClusterAuthorizedOperations)
	}
	dc.IncludeClusterAuthorizedOperations = true
	if r := m.ask(addr, dc).(*kmsg.DescribeClusterResponse); r.ClusterAuthorizedOperations != 8096 {
		t.Errorf("DescribeCluster with operations: %d", r.ClusterAuthorizedOperations)
	}
	for kind, want := range map[int8]*kafka.Code{1: kafka.MismatchedEndpointType, 9: kafka.UnsupportedEndpointType} {
		dc.EndpointType = kind
		if r := m.ask(addr, dc).(*kmsg.DescribeClusterResponse); r.ErrorCode != want.Num() {
			t.Errorf("DescribeCluster of kind %d: %+v", kind, r)
		}
	}

	describe := kmsg.NewPtrDescribeConfigsRequest()
	for _, name := range []string{"1", "2"} {
		res := kmsg.NewDescribeConfigsRequestResource()
		res.ResourceType, res.ResourceName = kmsg.ConfigResourceTypeBroker, name
		describe.Resources = append(describe.Resources, res)
	}
	configs := m.ask(addr, describe).(*kmsg.DescribeConfigsResponse)
	if r := configs.Resources; len(r) != 2 || r[0].ErrorCode != 0 || len(r[0].Configs) < 100 || r[1].ErrorCode != kafka.InvalidRequest.Num() {
		t.Errorf("DescribeConfigs: %+v", configs)
	}

	dq := kmsg.NewPtrDescribeQuorumRequest()
	topic := kmsg.NewDescribeQuorumRequestTopic()
	topic.Topic = kafka.MetadataTopic
	topic.Partitions = append(topic.Partitions, kmsg.NewDescribeQuorumRequestTopicPartition())
	dq.Topics = append(dq.Topics, topic)
	quorum := m.ask(addr, dq).(*kmsg.DescribeQuorumResponse)
	p := quorum.Topics[0].Partitions[0]
	if p.ErrorCode != 0 || p.LeaderID != 1 || len(p.CurrentVoters) != 1 || p.HighWatermark == 0 || p.CurrentVoters[0].LogEndOffset < p.HighWatermark {
		t.Errorf("DescribeQuorum: %+v", quorum)
	}

	ct := kmsg.NewPtrCreateTopicsRequest()
	ct.TimeoutMillis = 10_000
	ctt := kmsg.NewCreateTopicsRequestTopic()
	ctt.Topic, ctt.NumPartitions, ctt.ReplicationFactor = "direct", 1, 1
	ct.Topics = append(ct.Topics, ctt)
	if r := m.ask(addr, ct).(*kmsg.CreateTopicsResponse); r.Topics[0].ErrorCode != 0 {
		t.Errorf("CreateTopics: %+v", r)
	}
	if r := m.ask(addr, ct).(*kmsg.CreateTopicsResponse); r.Topics[0].ErrorCode != kafka.TopicAlreadyExists.Num() {
		t.Errorf("CreateTopics again: %+v", r)
	}
}
