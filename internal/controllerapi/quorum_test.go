package controllerapi

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/netx"
	"github.com/gregorhq/gregor/internal/quorum"
	"github.com/gregorhq/gregor/internal/quorum/raft"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/rpc"
	"github.com/gregorhq/gregor/internal/server"
	"github.com/gregorhq/gregor/internal/storage"
	"github.com/gregorhq/gregor/internal/vfs"
)

const dataDir = "/data"

// names is a listener that keeps the topics it is told of.
type names struct {
	mu    sync.Mutex
	got   []string
	snaps int
	lead  quorum.LeaderAndEpoch
	news  chan struct{}
}

func newNames() *names { return &names{news: make(chan struct{}, 1)} }

func (n *names) tell(f func()) {
	n.mu.Lock()
	f()
	n.mu.Unlock()
	select {
	case n.news <- struct{}{}:
	default:
	}
}

func (n *names) take(recs []records.Message) {
	for _, m := range recs {
		if r, ok := m.(*records.TopicRecord); ok {
			n.got = append(n.got, r.Name)
		}
	}
}

func (n *names) HandleCommit(b *quorum.Batch) error {
	n.tell(func() { n.take(b.Messages) })
	return nil
}

func (n *names) HandleSnapshot(s *storage.SnapshotReader) error {
	recs, err := s.ReadAll()
	n.tell(func() {
		n.got = nil
		n.snaps++
		n.take(recs)
	})
	return err
}

func (n *names) HandleLeaderChange(l quorum.LeaderAndEpoch) { n.tell(func() { n.lead = l }) }

// await waits until cond holds under mu.
func (n *names) await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	giveUp := time.After(20 * time.Second)
	for {
		n.mu.Lock()
		ok := cond()
		n.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-n.news:
		case <-giveUp:
			t.Fatalf("timed out waiting for %s", what)
		}
	}
}

// openLog formats the directory if need be and opens the metadata log in it.
func openLog(t *testing.T, fsys vfs.FS, id kafka.NodeID) (*log.Manager, *log.Log) {
	t.Helper()
	if _, err := storage.ReadMetaProperties(fsys, dataDir); err != nil {
		if _, err := storage.Format(fsys, storage.FormatOptions{NodeID: id, ClusterID: "c", Directories: []string{dataDir}, MetadataLogDir: dataDir,
			ControllerListenerName: "CONTROLLER", Now: time.UnixMilli(1)}); err != nil {
			t.Fatal(err)
		}
	}
	topic, err := config.Default(map[string]string{"log.dirs": dataDir}).TopicConfig(map[string]string{"retention.ms": "-1"})
	if err != nil {
		t.Fatal(err)
	}
	m, err := log.Open(context.Background(), log.Options{FS: fsys, Clock: clock.Real(), Logger: slog.New(slog.DiscardHandler), Dirs: []string{dataDir},
		MetadataDir: dataDir, NodeID: id, TopicConfig: func(string) config.Topic { return topic }, Manual: true})
	if err != nil {
		t.Fatal(err)
	}
	l, err := m.OpenMetadata(kafka.TopicPartition{Topic: kafka.MetadataTopic}, kafka.MetadataTopicID, topic, 0)
	if err != nil {
		t.Fatal(err)
	}
	return m, l
}

// kit is a controller with its doors on a network in memory.
type kit struct {
	t      *testing.T
	net    *netx.Mem
	engine *raft.Engine
	rec    *names
	at     storage.Endpoint
}

func newKit(t *testing.T) *kit {
	k := &kit{t: t, net: netx.NewMem(clock.Real()), rec: newNames(), at: storage.Endpoint{Listener: "CONTROLLER", Host: "ctl", Port: 9093}}
	fsys := vfs.NewMem()
	m, l := openLog(t, fsys, 1)
	quiet := slog.New(slog.DiscardHandler)
	var err error
	k.engine, err = raft.Open(raft.Options{NodeID: 1, DirectoryID: m.Dirs()[0].ID, FS: fsys, Clock: clock.Real(), Logger: quiet, Log: l,
		Dir: filepath.Join(dataDir, storage.MetadataLogDirName), ClusterID: "c", LocalEndpoints: []storage.Endpoint{k.at},
		StaticVoters: storage.VoterSet{{ID: 1, Endpoints: []storage.Endpoint{k.at}}}, ElectionTimeout: time.Second, RetentionBytes: -1, RetentionMs: -1})
	if err != nil {
		t.Fatal(err)
	}
	k.engine.Register(k.rec)
	if err := k.engine.Start(); err != nil {
		t.Fatal(err)
	}
	stopping, stop := context.WithCancel(context.Background())
	api := &API{NodeID: 1, ClusterID: "c", Quorum: k.engine, Stopping: stopping, RequestTimeout: time.Second, Log: quiet,
		Image: metadata.Empty, Leader: k.engine.Leader, KRaftVersion: k.engine.KRaftVersion}
	srv, err := server.New(server.Config{Net: k.net.Host("ctl"), Clock: clock.Real(), Log: quiet, Listeners: []server.ListenerConfig{
		{Name: "CONTROLLER", Protocol: server.PlainText, Addr: "ctl:9093", Table: api.Table(), Controller: true}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		_ = srv.Close()
		_ = k.engine.Close()
		m.Abort()
	})
	k.rec.await(t, "leadership", func() bool { return k.rec.lead.Leader == 1 })
	return k
}

func (k *kit) propose(name string) {
	k.t.Helper()
	r := records.NewTopicRecord()
	r.Name = name
	if _, err := k.engine.Propose(k.engine.Leader().Epoch, []records.Message{r}); err != nil {
		k.t.Fatal(err)
	}
	k.rec.await(k.t, name, func() bool { return len(k.rec.got) > 0 && k.rec.got[len(k.rec.got)-1] == name })
}

// observe starts an observer on files; stop ends it as a kill does.
func (k *kit) observe(fsys vfs.FS) (rec *names, ob *raft.Observer, stop func()) {
	k.t.Helper()
	m, l := openLog(k.t, fsys, 2)
	o := rpc.Options{Net: k.net.Host("brk"), Clock: clock.Real(), ClientID: "observer"}
	tr := raft.NewRPC(o, o)
	rec = newNames()
	ob, err := raft.OpenObserver(raft.ObserverOptions{NodeID: 2, DirectoryID: m.Dirs()[0].ID, FS: fsys, Clock: clock.Real(),
		Logger: slog.New(slog.DiscardHandler), Log: l, Dir: filepath.Join(dataDir, storage.MetadataLogDirName), ClusterID: "c",
		BootstrapServers: []storage.Endpoint{k.at}, ListenerName: "CONTROLLER", RetentionBytes: -1, RetentionMs: -1,
		FetchTimeout: 2 * time.Second, RetryBackoff: time.Millisecond, SnapshotMaxBytes: 100, Do: tr.Do})
	if err != nil {
		k.t.Fatal(err)
	}
	ob.Register(rec)
	if err := ob.Start(); err != nil {
		k.t.Fatal(err)
	}
	return rec, ob, func() {
		_ = ob.Close()
		_ = tr.Close()
		m.Abort()
	}
}

// A node without the controller role follows our doors, survives a kill, and loads a
// snapshot when it begins with nothing.
func TestObserverFollowsTheDoors(t *testing.T) {
	k := newKit(t)
	k.propose("a")
	files := vfs.NewMem()
	rec, _, stop := k.observe(files)
	rec.await(t, "a", func() bool { return fmt.Sprint(rec.got) == "[a]" })
	k.propose("b")
	rec.await(t, "b", func() bool { return fmt.Sprint(rec.got) == "[a b]" })
	if l := k.engine.Describe().Observers; len(l) != 1 || l[0].ID != 2 {
		t.Errorf("observers %+v", l)
	}
	stop()
	k.propose("c")
	rec, ob, stop := k.observe(files)
	rec.await(t, "c", func() bool { return fmt.Sprint(rec.got) == "[a b c]" })
	if ob.HighWatermark() != k.engine.HighWatermark() {
		t.Errorf("high watermarks %d and %d", ob.HighWatermark(), k.engine.HighWatermark())
	}
	stop()
	id := storage.SnapshotID{EndOffset: k.engine.HighWatermark(), Epoch: k.engine.Leader().Epoch}
	w, err := k.engine.CreateSnapshot(id, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"a", "b", "c"} {
		r := records.NewTopicRecord()
		r.Name = n
		if err := w.Append(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Freeze(); err != nil {
		t.Fatal(err)
	}
	k.engine.SnapshotDone(id)
	k.propose("d")
	rec, _, stop = k.observe(vfs.NewMem())
	defer stop()
	rec.await(t, "d", func() bool { return fmt.Sprint(rec.got) == "[a b c d]" && rec.snaps == 1 })
}

// What the doors answer to requests that are not for this leader's log.
func TestDoorsOfTheQuorumRefuse(t *testing.T) {
	k := newKit(t)
	k.propose("a")
	conn, err := rpc.Dial(context.Background(), rpc.Options{Net: k.net.Host("cli"), Clock: clock.Real()}, "ctl:9093")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	epoch := k.engine.Leader().Epoch
	other := "another"
	for name, c := range map[string]struct {
		change func(*kmsg.FetchRequest, *kmsg.FetchRequestTopicPartition)
		top    *kafka.Code
		part   *kafka.Code
	}{
		"another cluster": {func(r *kmsg.FetchRequest, _ *kmsg.FetchRequestTopicPartition) { r.ClusterID = &other }, kafka.InconsistentClusterID, nil},
		"another topic":   {func(r *kmsg.FetchRequest, _ *kmsg.FetchRequestTopicPartition) { r.Topics[0].TopicID = [16]byte{9} }, kafka.InvalidRequest, nil},
		"old epoch":       {func(_ *kmsg.FetchRequest, p *kmsg.FetchRequestTopicPartition) { p.CurrentLeaderEpoch = epoch - 1 }, nil, kafka.FencedLeaderEpoch},
		"new epoch":       {func(_ *kmsg.FetchRequest, p *kmsg.FetchRequestTopicPartition) { p.CurrentLeaderEpoch = epoch + 1 }, nil, kafka.UnknownLeaderEpoch},
		"future record":   {func(_ *kmsg.FetchRequest, p *kmsg.FetchRequestTopicPartition) { p.LastFetchedEpoch = epoch + 1 }, nil, kafka.InvalidRequest},
	} {
		req := kmsg.NewPtrFetchRequest()
		req.ReplicaState.ID = 5
		p := kmsg.NewFetchRequestTopicPartition()
		p.CurrentLeaderEpoch, p.LastFetchedEpoch = epoch, 0
		tp := kmsg.NewFetchRequestTopic()
		tp.Topic, tp.TopicID = kafka.MetadataTopic, kafka.MetadataTopicID
		req.Topics = append(req.Topics, tp)
		c.change(req, &p)
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, p)
		got, err := conn.Do(context.Background(), req)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		resp := got.(*kmsg.FetchResponse)
		if c.top != nil {
			if resp.ErrorCode != c.top.Num() {
				t.Errorf("%s: error %d", name, resp.ErrorCode)
			}
			continue
		}
		part := resp.Topics[0].Partitions[0]
		if part.ErrorCode != c.part.Num() || part.CurrentLeader.LeaderID != 1 || len(resp.Brokers) != 1 || resp.Brokers[0].Host != "ctl" {
			t.Errorf("%s: %+v of %+v", name, part, resp.Brokers)
		}
	}
	add := kmsg.NewPtrAddRaftVoterRequest()
	add.VoterID, add.VoterDirectoryID, add.TimeoutMillis = 4, [16]byte{1}, 100
	add.Listeners = append(add.Listeners, kmsg.AddRaftVoterRequestListener{Name: "CONTROLLER", Host: "h", Port: 1})
	got, err := conn.Do(context.Background(), add)
	if resp, ok := got.(*kmsg.AddRaftVoterResponse); err != nil || !ok || resp.ErrorCode != kafka.UnsupportedVersion.Num() {
		t.Errorf("adding a voter to a static quorum: %+v, %v", got, err)
	}
	remove := kmsg.NewPtrRemoveRaftVoterRequest()
	got, err = conn.Do(context.Background(), remove)
	if resp, ok := got.(*kmsg.RemoveRaftVoterResponse); err != nil || !ok || resp.ErrorCode != kafka.InvalidRequest.Num() {
		t.Errorf("removing nobody: %+v, %v", got, err)
	}
}
