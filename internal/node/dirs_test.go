package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/rpc"
	"github.com/gregorhq/gregor/internal/vfs"
)

// twoDirs is a machine with the directories /data and /more, and topics t0 to t3, two in
// each.
func twoDirs(t *testing.T, props map[string]string) (*machine, *vfs.Fault, *Node, *kgo.Client, context.Context) {
	t.Helper()
	all := map[string]string{"log.dirs": "/data,/more/", "metadata.log.dir": "/data", "broker.heartbeat.interval.ms": "50"}
	for k, v := range props {
		all[k] = v
	}
	m := newMachine(t, all)
	m.format()
	fault := vfs.NewFault(m.fsys)
	m.fsys = fault
	n := m.start()
	cl, err := kgo.NewClient(kgo.SeedBrokers("localhost:9092"), kgo.Dialer(m.net.Dial), kgo.MetadataMinAge(20*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	for i := range 4 {
		if _, err := kadm.NewClient(cl).CreateTopic(ctx, 1, 1, nil, fmt.Sprint("t", i)); err != nil {
			t.Fatal(err)
		}
	}
	return m, fault, n, cl, ctx
}

// until waits until cond holds.
func until(t *testing.T, ctx context.Context, what string, cond func() bool) {
	t.Helper()
	for !cond() {
		select {
		case <-ctx.Done():
			t.Fatalf("still waiting until %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// ended waits until the node has stopped by itself and returns why.
func ended(t *testing.T, m *machine, n *Node) error {
	t.Helper()
	select {
	case <-n.Done():
	case <-time.After(20 * time.Second):
		t.Fatalf("the node goes on\n%s", m.log)
	}
	err := n.Err()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_ = n.Close(ctx)
	return err
}

// breakDir lets writes of a partition fail, and writes to it until its directory is offline.
func breakDir(t *testing.T, ctx context.Context, n *Node, fault *vfs.Fault, cl *kgo.Client, dir, topic string) {
	t.Helper()
	fault.Add(vfs.Rule{Op: vfs.OpWrite, Path: dir + "/" + topic + "-0/*", Times: -1, Err: errors.New("broken")})
	until(t, ctx, dir+" is offline", func() bool {
		short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		_ = cl.ProduceSync(short, &kgo.Record{Topic: topic, Value: []byte("x")})
		return slices.ContainsFunc(n.logs.Dirs(), func(d log.DirInfo) bool { return d.Path == dir && d.Offline != nil })
	})
}

func TestDirectoriesOfReplicasAreKnownToTheController(t *testing.T) {
	m, fault, n, cl, ctx := twoDirs(t, nil)
	ids := n.directoryIDs()
	if len(ids) != 2 {
		t.Fatalf("registered %v", ids)
	}
	dirOf := func(topic string) kafka.UUID { return n.loader.Current().Partition(topic, 0).Directory(1) }
	for i := range 4 {
		until(t, ctx, "the controller knows the directory", func() bool { return dirOf(fmt.Sprint("t", i)) == ids[i%2] })
	}
	// One fails: what is in it has no leader, the rest is served, nothing is made anew.
	breakDir(t, ctx, n, fault, cl, "/more", "t1")
	for _, topic := range []string{"t1", "t3"} {
		until(t, ctx, topic+" has no leader", func() bool { return !n.loader.Current().Partition(topic, 0).HasLeader() })
	}
	until(t, ctx, "the registration has one directory", func() bool { return len(n.loader.Current().Broker(1).Directories) == 1 })
	if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "t0", Value: []byte("x")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if _, err := kadm.NewClient(cl).CreateTopic(ctx, 1, 1, nil, "new"); err != nil {
		t.Fatal(err)
	}
	until(t, ctx, "a new topic is in the directory that is left", func() bool { return dirOf("new") == ids[0] })
	// Healed, it comes back with the next start.
	fault.Clear()
	_ = n.Close(ctx) // the directory that failed is not flushed, it says
	n = m.start()
	for _, topic := range []string{"t1", "t3"} {
		until(t, ctx, topic+" is led again", func() bool { return n.loader.Current().Partition(topic, 0).Leader == 1 })
		if err := cl.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("x")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	m.stop(n)
}

// TestUntoldDirectoriesEndNoCleanRun: a clean stop says that this broker's replicas are as they
// were, which the controller can only check for those of which it knows the directory.
func TestUntoldDirectoriesEndNoCleanRun(t *testing.T) {
	m, _, n, cl, ctx := twoDirs(t, nil)
	for i := range 4 {
		until(t, ctx, "the controller knows the directory", func() bool { return n.replicas.DirectoriesTold() })
		if got := n.loader.Current().Partition(fmt.Sprint("t", i), 0).Directory(1); got == metadata.DirUnassigned {
			t.Fatalf("t%d is nowhere", i)
		}
	}
	m.stop(n)
	n = m.start()
	if n.logs.PreviousBrokerEpoch() < 0 {
		t.Error("the stop was not clean")
	}
	nobody := func() rpc.Leader { return rpc.Leader{ID: -1} }
	n.channels.assignments = rpc.NewControllers(n.rpcOptions("", "test"), n.static.NodeID, nil, nobody)
	if _, err := kadm.NewClient(cl).CreateTopic(ctx, 1, 1, nil, "untold"); err != nil {
		t.Fatal(err)
	}
	m.stop(n)
	n = m.start()
	if got := n.logs.PreviousBrokerEpoch(); got != -1 {
		t.Errorf("the stop was clean, in epoch %d", got)
	}
	until(t, ctx, "the controller knows the directory", func() bool { return n.replicas.DirectoriesTold() })
	m.stop(n)
}

func TestLastDirectoryFails(t *testing.T) {
	m, fault, n, cl, ctx := twoDirs(t, map[string]string{"log.dirs": "/a,/b", "metadata.log.dir": "/data"})
	breakDir(t, ctx, n, fault, cl, "/a", "t0")
	until(t, ctx, "the first is offline", func() bool { return len(n.directoryIDs()) == 1 })
	select {
	case <-n.Done():
		t.Fatalf("the node ends with its first directory: %v", n.Err())
	default:
	}
	breakDir(t, ctx, n, fault, cl, "/b", "t1")
	if err := ended(t, m, n); err == nil || !strings.Contains(err.Error(), "all log dirs in /a, /b have failed") {
		t.Errorf("the node ends for: %v", err)
	}
}

// TestDirectoryFailureThatNobodyHears: a broker whose failed directory the controller does not
// learn of stops.
func TestDirectoryFailureThatNobodyHears(t *testing.T) {
	m, fault, n, cl, ctx := twoDirs(t, map[string]string{"log.dir.failure.timeout.ms": "300"})
	// The controller hears: the node goes on.
	breakDir(t, ctx, n, fault, cl, "/more", "t1")
	until(t, ctx, "the controller knows", func() bool { return n.lifecycle.hasHeard(n.logs.Dirs()[1].ID) })
	// One that cannot be told of: as if every heartbeat got lost.
	id := kafka.NewUUID()
	n.lifecycle.mu.Lock()
	n.lifecycle.state = stateShuttingDown // no heartbeat is sent in this state
	n.lifecycle.mu.Unlock()
	n.lifecycle.dirFailed(offlineDir{path: "/elsewhere", id: id, err: errors.New("broken")})
	if err := ended(t, m, n); err == nil || !strings.Contains(err.Error(), "couldn't communicate offline log dir /elsewhere") {
		t.Errorf("the node ends for: %v", err)
	}
}

func TestCordonedDirectories(t *testing.T) {
	m, _, n, cl, ctx := twoDirs(t, nil)
	adm := kadm.NewClient(cl)
	set := func(value string) {
		t.Helper()
		req := kmsg.NewPtrIncrementalAlterConfigsRequest()
		res := kmsg.NewIncrementalAlterConfigsRequestResource()
		res.ResourceType, res.ResourceName = kmsg.ConfigResourceTypeBroker, "1"
		c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		c.Name, c.Value, c.Op = "cordoned.log.dirs", &value, kmsg.IncrementalAlterConfigOpSet
		res.Configs = append(res.Configs, c)
		req.Resources = append(req.Resources, res)
		resp, err := req.RequestWith(ctx, cl)
		if err != nil || resp.Resources[0].ErrorCode != 0 {
			t.Fatalf("%s: %v, %v", value, err, resp.Resources[0].ErrorMessage)
		}
	}
	cordoned := func(count int) {
		t.Helper()
		until(t, ctx, fmt.Sprintf("%d directories are cordoned", count), func() bool { return len(n.loader.Current().Broker(1).CordonedDirectories) == count })
	}
	place := func(topic string) string {
		t.Helper()
		if _, err := adm.CreateTopic(ctx, 1, 1, nil, topic); err != nil {
			t.Fatal(err)
		}
		path, _ := n.replicas.Get(topic, 0).Log().Dir()
		return path
	}
	described := func() (list []string) {
		resp := m.ask("localhost:9092", kmsg.NewPtrDescribeLogDirsRequest()).(*kmsg.DescribeLogDirsResponse)
		for _, d := range resp.Dirs {
			if d.IsCordoned {
				list = append(list, d.Dir)
			}
		}
		return list
	}
	cordoned(0)
	set("/data")
	cordoned(1)
	if got := described(); !slices.Equal(got, []string{"/data"}) {
		t.Errorf("described as cordoned: %v", got)
	}
	for i := range 3 {
		if dir := place(fmt.Sprint("c", i)); dir != "/more" {
			t.Errorf("a new topic is in %s", dir)
		}
	}
	alter := kmsg.NewPtrAlterReplicaLogDirsRequest()
	alter.Dirs = []kmsg.AlterReplicaLogDirsRequestDir{{Dir: "/data", Topics: []kmsg.AlterReplicaLogDirsRequestDirTopic{{Topic: "c0", Partitions: []int32{0}}}}}
	if resp := m.ask("localhost:9092", alter).(*kmsg.AlterReplicaLogDirsResponse); resp.Topics[0].Partitions[0].ErrorCode != kafka.InvalidReplicaAssignment.Num() {
		t.Errorf("a move into a cordoned directory: %+v", resp)
	}
	set("*")
	cordoned(2)
	if _, err := adm.CreateTopic(ctx, 1, 1, nil, "none"); !errors.Is(err, kafka.InvalidReplicationFactor) && (err == nil || !strings.Contains(err.Error(), "INVALID_REPLICATION_FACTOR")) {
		t.Errorf("a new topic with all cordoned: %v", err)
	}
	set("")
	cordoned(0)
	if dir := place("c9"); dir != "/data" {
		t.Errorf("a new topic is in %s", dir)
	}
	m.stop(n)
}
