package raft

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log"
	"github.com/gregorhq/gregor/internal/quorum"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/rpc"
	"github.com/gregorhq/gregor/internal/storage"
	"github.com/gregorhq/gregor/internal/vfs"
)

// liveQuorum is a static quorum of three whose loops run, for a test in a bubble of
// synctest.
type liveQuorum struct {
	t     *testing.T
	nodes []*liveNode
}

type liveNode struct {
	q      *liveQuorum
	id     int
	fault  *vfs.Fault
	engine *Engine
	rec    *recorder
	// sends are the messages to each node, in order.
	sends map[int]chan func()
}

// openLive formats a directory and opens its metadata log.
func openLive(t *testing.T, fsys vfs.FS, id kafka.NodeID) *log.Log {
	_, err := storage.Format(fsys, storage.FormatOptions{NodeID: id, ClusterID: "test", Directories: []string{testDir},
		MetadataLogDir: testDir, ControllerListenerName: "C", Now: time.UnixMilli(1)})
	if err != nil {
		t.Fatal(err)
	}
	topic, err := config.Default(map[string]string{"log.dirs": testDir}).TopicConfig(map[string]string{"retention.ms": "-1", "segment.bytes": "1048576"})
	if err != nil {
		t.Fatal(err)
	}
	logs, err := log.Open(context.Background(), log.Options{FS: fsys, Clock: clock.Real(), Logger: slog.New(slog.DiscardHandler),
		Dirs: []string{testDir}, MetadataDir: testDir, NodeID: id, TopicConfig: func(string) config.Topic { return topic }, Manual: true})
	if err != nil {
		t.Fatal(err)
	}
	l, err := logs.OpenMetadata(kafka.TopicPartition{Topic: kafka.MetadataTopic}, kafka.MetadataTopicID, topic, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(logs.Abort)
	return l
}

func newLiveQuorum(t *testing.T) *liveQuorum {
	q := &liveQuorum{t: t}
	for id := 1; id <= 3; id++ {
		n := &liveNode{q: q, id: id, fault: vfs.NewFault(vfs.NewMem()), rec: newRecorder(), sends: map[int]chan func(){}}
		for to := 1; to <= 3; to++ {
			line := make(chan func(), 10_000)
			n.sends[to] = line
			go func() {
				for f := range line {
					f()
				}
			}()
			t.Cleanup(func() { close(line) })
		}
		q.nodes = append(q.nodes, n)
		var err error
		if n.engine, err = Open(Options{NodeID: kafka.NodeID(id), FS: n.fault, Clock: clock.Real(), Logger: slog.New(slog.DiscardHandler),
			Log: openLive(t, n.fault, kafka.NodeID(id)), Dir: filepath.Join(testDir, storage.MetadataLogDirName), ClusterID: "test", Transport: n,
			StaticVoters: staticSet(3), LocalEndpoints: endpoint(id), ElectionTimeout: time.Second, RetentionBytes: -1, RetentionMs: -1, Seed: int64(id)}); err != nil {
			t.Fatal(err)
		}
		n.engine.Register(n.rec)
	}
	for _, n := range q.nodes {
		if err := n.engine.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = n.engine.Abort() })
	}
	return q
}

func (n *liveNode) OnDisconnect(func(kafka.NodeID)) {}

func (n *liveNode) Send(p Peer, body []byte, done func([]byte, error)) {
	to := n.q.nodes[p.Endpoint.Port-1]
	select {
	case n.sends[to.id] <- func() { done(to.engine.Receive(body)) }:
	default:
		done(nil, rpc.ErrNotSent)
	}
}

func (n *liveNode) Do(context.Context, Peer, kmsg.Request) (kmsg.Response, error) {
	return nil, errors.New("not in this test")
}

// do is the door for Fetch.
func (q *liveQuorum) do(ctx context.Context, p Peer, req kmsg.Request) (kmsg.Response, error) {
	fr := req.(*kmsg.FetchRequest)
	ctx, cancel := context.WithTimeout(ctx, time.Duration(fr.MaxWaitMillis)*time.Millisecond)
	defer cancel()
	to := q.nodes[p.Endpoint.Port-1]
	return fetchOf(fr, func(a quorum.FetchArgs) quorum.FetchAnswer { return to.engine.Fetch(ctx, a) }), nil
}

// leads waits until a node but that one leads by its own account.
func (q *liveQuorum) leads(not *liveNode) *liveNode {
	for range 200 {
		for _, n := range q.nodes {
			n.engine.mu.Lock()
			leads := n.engine.leading != kafka.NoEpoch
			n.engine.mu.Unlock()
			if leads && n != not {
				return n
			}
		}
		time.Sleep(50 * time.Millisecond) // of the bubble's time
	}
	q.t.Fatal("nobody leads")
	return nil
}

func (n *liveNode) propose(name string) error {
	r := records.NewTopicRecord()
	r.Name = name
	_, err := n.engine.Propose(n.engine.Leader().Epoch, []records.Message{r})
	return err
}

// TestStuckLeaderLetsItsObserversGo: a leader whose loop waits for room hears nothing of
// the leader that the others have elected. It must not go on telling observers, and those
// that ask for the leader, that it leads: a broker that stays with it is fenced.
func TestStuckLeaderLetsItsObserversGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newLiveQuorum(t)
		rec, mem := newRecorder(), vfs.NewMem()
		ob, err := OpenObserver(ObserverOptions{NodeID: 9, FS: mem, Clock: clock.Real(), Logger: slog.New(slog.DiscardHandler), Log: openLive(t, mem, 9),
			Dir: filepath.Join(testDir, storage.MetadataLogDirName), ClusterID: "test", StaticVoters: staticSet(3), ListenerName: "C",
			RetentionBytes: -1, RetentionMs: -1, FetchTimeout: 2 * time.Second, RetryBackoff: 20 * time.Millisecond, Do: q.do})
		if err != nil {
			t.Fatal(err)
		}
		ob.Register(rec)
		if err := ob.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = ob.Close() })
		has := func(name string) func() bool { return func() bool { return slices.Contains(rec.names, name) } }
		old := q.leads(nil)
		if err := old.propose("a"); err != nil {
			t.Fatal(err)
		}
		rec.await(t, "the first record", has("a"))
		epoch := old.engine.Leader().Epoch
		old.fault.Add(vfs.Rule{Op: vfs.OpWrite, Path: "*.log", Times: -1, Err: syscall.ENOSPC})
		if err := old.propose("never"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
		// One that waits longer than observers do is not kept either.
		waits := make(chan quorum.FetchAnswer, 1)
		go func() {
			waits <- old.engine.Fetch(context.Background(), quorum.FetchArgs{CurrentLeaderEpoch: epoch, LastFetchedEpoch: epoch,
				FetchOffset: old.engine.HighWatermark(), KnownHighWatermark: old.engine.HighWatermark(), MaxBytes: 1000})
		}()
		lead := q.leads(old)
		if err := lead.propose("b"); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		rec.await(t, "the record of the next leader", has("b"))
		if took := time.Since(begin); took > 3*time.Second {
			t.Errorf("the observer has it after %v", took)
		}
		if ans := <-waits; !errors.Is(ans.Err, kafka.NotLeaderOrFollower) || ans.Leader.Leader != kafka.NoNode {
			t.Errorf("who waited at the stuck leader was told %+v, %v", ans.Leader, ans.Err)
		}
		if l, at := old.engine.LeaderEndpoints(); l.Leader != kafka.NoNode || len(at) > 0 {
			t.Errorf("the stuck leader says that %d leads, at %v", l.Leader, at)
		}
		if err := old.propose("never"); !errors.Is(err, kafka.RequestTimedOut) {
			t.Errorf("a proposal at the stuck leader: %v", err)
		}
	})
}
