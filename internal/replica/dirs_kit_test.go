package replica

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/vfs"
)

// dirsKit is broker 1 with the directories /a and /b, and a controller that notes what it
// is told. Its disk outlives it.
type dirsKit struct {
	kit
	mem   *vfs.Mem
	fault *vfs.Fault
	ctl   dirsController
	props map[string]string
	live  bool // goroutines and clock are real
}

// dirsController takes AssignReplicasToDirs.
type dirsController struct {
	mu   sync.Mutex
	reqs []*kmsg.AssignReplicasToDirsRequest
	// refuse decides on a partition, nil takes all.
	refuse func(key partKey) *kafka.Code
}

func (c *dirsController) Do(_ context.Context, in kmsg.Request) (kmsg.Response, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	req := in.(*kmsg.AssignReplicasToDirsRequest)
	c.reqs = append(c.reqs, req)
	resp := kmsg.NewPtrAssignReplicasToDirsResponse()
	for _, d := range req.Directories {
		dir := kmsg.NewAssignReplicasToDirsResponseDirectory()
		dir.ID = d.ID
		for _, t := range d.Topics {
			topic := kmsg.NewAssignReplicasToDirsResponseDirectoryTopic()
			topic.TopicID = t.TopicID
			for _, p := range t.Partitions {
				part := kmsg.NewAssignReplicasToDirsResponseDirectoryTopicPartition()
				part.Partition = p.Partition
				if c.refuse != nil {
					if code := c.refuse(partKey{t.TopicID, p.Partition}); code != nil {
						part.ErrorCode = code.Num()
					}
				}
				topic.Partitions = append(topic.Partitions, part)
			}
			dir.Topics = append(dir.Topics, topic)
		}
		resp.Directories = append(resp.Directories, dir)
	}
	return resp, nil
}

// told lists the directories that the controller was told of for a partition, in order.
func (c *dirsController) told(key partKey) []kafka.UUID {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []kafka.UUID
	for _, r := range c.reqs {
		for _, d := range r.Directories {
			for _, t := range d.Topics {
				for _, p := range t.Partitions {
					if (partKey{t.TopicID, p.Partition}) == key {
						list = append(list, d.ID)
					}
				}
			}
		}
	}
	return list
}

func newDirsKit(t testing.TB, props map[string]string) *dirsKit {
	t.Helper()
	k := &dirsKit{mem: vfs.NewMem(), props: props}
	k.t, k.clock, k.img = t, clock.NewVirtual(time.UnixMilli(1_700_000_000_000)), metadata.Empty()
	k.start(k.mem)
	v := records.NewFeatureLevelRecord()
	v.Name, v.FeatureLevel = metadata.FeatureMetadataVersion, 30
	k.m.Apply(nil, k.img)
	k.apply(v)
	return k
}

// start opens the broker on a disk.
func (k *dirsKit) start(mem *vfs.Mem) {
	k.t.Helper()
	k.mem, k.fault = mem, vfs.NewFault(mem)
	k.fs = k.fault
	props := map[string]string{
		"process.roles": "broker", "node.id": "1", "controller.quorum.voters": "9@localhost:9999",
		"controller.listener.names": "CONTROLLER", "listeners": "PLAINTEXT://localhost:9092", "log.dirs": "/a,/b",
	}
	for key, value := range k.props {
		props[key] = value
	}
	cfg, _, err := config.Load(props)
	if err != nil {
		k.t.Fatal(err)
	}
	var now clock.Clock = k.clock
	if k.live {
		now = clock.Real()
	}
	quiet := slog.New(slog.NewTextHandler(testWriter{k.t, 1}, &slog.HandlerOptions{Level: slog.LevelError}))
	topic := func(string) config.Topic { c, _ := cfg.TopicConfig(nil); return c }
	var m *Manager
	k.logs, err = log.Open(context.Background(), log.Options{
		FS: k.fs, Clock: now, Logger: quiet, Dirs: cfg.LogDirs, NodeID: 1, ClusterID: "c", AllowUnformatted: true, Manual: !k.live,
		TopicConfig: topic,
		OnOffline: func(dir string, _ kafka.UUID, _ error) {
			if m != nil {
				m.DirFailed(dir)
			}
		},
	})
	if err != nil {
		k.t.Fatal(err)
	}
	w := clock.NewWheel(now)
	w.Start()
	m = New(Options{NodeID: 1, Logs: k.logs, Clock: now, Wheel: w, Config: cfg, Logger: quiet,
		Cluster: Cluster{Assignments: &k.ctl, BrokerEpoch: func() int64 { return 5 }}})
	m.manual = !k.live
	k.m = m
	logs := k.logs
	k.t.Cleanup(func() { m.Close(); w.Stop(); _ = logs.Close(1) })
}

// restart ends the broker without a word and starts it on what its disk has; the metadata is
// applied as a whole.
func (k *dirsKit) restart(break_ func(mem *vfs.Mem)) {
	k.t.Helper()
	after := k.mem.Crash(nil, vfs.ProcessKill)
	k.m.Close()
	k.logs.Abort()
	if break_ != nil {
		break_(after)
	}
	k.start(after)
	k.m.Apply(nil, k.img)
}

func (k *dirsKit) dir(path string) kafka.UUID {
	for _, d := range k.logs.Dirs() {
		if d.Path == path {
			return d.ID
		}
	}
	k.t.Fatalf("no directory %s", path)
	return kafka.ZeroUUID
}

// topicIn makes a topic of one partition with its replica in a directory.
func (k *dirsKit) topicIn(name string, dir kafka.UUID) *Partition {
	k.t.Helper()
	id := kafka.NewUUID()
	tr := records.NewTopicRecord()
	tr.Name, tr.TopicID = name, id
	pr := records.NewPartitionRecord()
	pr.PartitionID, pr.TopicID, pr.Replicas, pr.ISR, pr.Leader = 0, id, []int32{1}, []int32{1}, 1
	pr.LeaderEpoch, pr.PartitionEpoch, pr.Directories = 0, 0, []kafka.UUID{dir}
	k.apply(tr, pr)
	p := k.m.Get(name, 0)
	if p == nil {
		k.t.Fatalf("%s was not made", name)
	}
	return p
}

// assigned says in the metadata in which directory the partition is.
func (k *dirsKit) assigned(p *Partition, dir kafka.UUID) {
	r := records.NewPartitionChangeRecord()
	r.TopicID, r.PartitionID, r.Directories = p.topicID, p.tp.Partition, []kafka.UUID{dir}
	k.apply(r)
}

// elect begins another leader epoch.
func (k *dirsKit) elect(p *Partition, leader int32) {
	r := records.NewPartitionChangeRecord()
	r.TopicID, r.PartitionID, r.Leader = p.topicID, p.tp.Partition, leader
	k.apply(r)
}

// tell sends one request with assignments, and returns whether there was one.
func (k *dirsKit) tell() bool {
	a := &k.m.assigner
	req, sent := a.prepare()
	if req == nil {
		return false
	}
	resp, err := k.ctl.Do(k.m.ctx, req)
	a.finish(sent, resp, err)
	return true
}

// turns gives the mover turns until its queue is empty.
func (k *dirsKit) turns() (n int) {
	for ; n < 10_000 && len(k.m.mover.queue) > 0; n++ {
		k.m.mover.turn()
	}
	return n
}

// move moves the partition with everything that belongs to it.
func (k *dirsKit) move(p *Partition, path string) {
	k.t.Helper()
	if err := k.m.AlterLogDir(p.tp, path); err != nil {
		k.t.Fatal(err)
	}
	k.turns()
	k.tell()
	k.turns()
	if got := dirOf(p); got != path {
		k.t.Fatalf("%s is in %s, want %s", p.tp, got, path)
	}
}

func dirOf(p *Partition) string {
	l := p.Log()
	if l == nil {
		return ""
	}
	path, _ := l.Dir()
	return path
}

// wait waits until the manager's short-lived goroutines have done what cond asks for.
func (k *dirsKit) wait(what string, cond func() bool) {
	k.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			k.t.Fatalf("still waiting until %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func equalIDs(t testing.TB, got []kafka.UUID, want ...kafka.UUID) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("the controller was told %v, want %v", got, want)
	}
}
