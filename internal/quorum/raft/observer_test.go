package raft

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log"
	"github.com/gregorhq/gregor/internal/quorum"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/storage"
	"github.com/gregorhq/gregor/internal/vfs"
)

// simObserver is an observer of a sim, driven round by round.
type simObserver struct {
	node *simNode // its files and its recorder
	ob   *Observer
	told kafka.Offset // the high watermark that it was told last, -1 after a start
}

func (s *sim) newObserver(id int) *simObserver {
	n := &simNode{s: s, i: id, fs: vfs.NewMem(), last: map[int]time.Time{}, dirID: kafka.UUID{0: 9, 15: byte(id)}}
	n.format(false, nil)
	return &simObserver{node: n}
}

func (o *simObserver) start(voters int) {
	n, s := o.node, o.node.s
	o.told = -1
	cfg := config.Default(map[string]string{"log.dirs": testDir})
	topic, err := cfg.TopicConfig(map[string]string{"retention.ms": "-1", "retention.bytes": "-1", "segment.bytes": "1048576"})
	if err != nil {
		s.t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	if n.logs, err = log.Open(context.Background(), log.Options{
		FS: n.fs, Clock: s.clock, Logger: quiet, Dirs: []string{testDir}, MetadataDir: testDir, NodeID: n.id(),
		TopicConfig: func(string) config.Topic { return topic }, Manual: true}); err != nil {
		s.t.Fatalf("seed %d: %v", s.seed, err)
	}
	l, err := n.logs.OpenMetadata(kafka.TopicPartition{Topic: kafka.MetadataTopic}, kafka.MetadataTopicID, topic, 0)
	if err != nil {
		s.t.Fatalf("seed %d: %v", s.seed, err)
	}
	o.ob, err = OpenObserver(ObserverOptions{
		NodeID: n.id(), DirectoryID: n.dirID, FS: n.fs, Clock: s.clock, Logger: quiet, Log: l,
		Dir: filepath.Join(testDir, storage.MetadataLogDirName), ClusterID: "test", StaticVoters: staticSet(voters),
		ListenerName: "C", RetentionBytes: 3000, RetentionMs: -1, FetchTimeout: 2 * time.Second, RetryBackoff: time.Millisecond,
		FetchMaxBytes: 300, SnapshotMaxBytes: 100, Do: o.do,
	})
	if err != nil {
		s.t.Fatalf("seed %d: %v", s.seed, err)
	}
	n.rec = &simRecorder{n: n, leader: quorum.LeaderAndEpoch{Leader: kafka.NoNode}}
	o.ob.Register(n.rec)
	if err := o.ob.e.begin(); err != nil {
		s.t.Fatalf("seed %d: %v", s.seed, err)
	}
}

func (o *simObserver) kill(mode vfs.CrashMode) {
	o.node.fs = o.node.fs.Crash(o.node.s.rng, mode)
	o.node.logs.Abort()
	o.ob.e.end()
	o.ob = nil
}

// do is the network and the doors of the controllers.
// It reaches voters that are cut off from each other, and what they have not committed.
func (o *simObserver) do(ctx context.Context, p quorum.Peer, req kmsg.Request) (kmsg.Response, error) {
	s := o.node.s
	to := simTransport{o.node}.target(p)
	if to == nil || to.engine == nil || s.lossy && s.rng.Intn(4) == 0 {
		return nil, errors.New("unreachable")
	}
	if fr, ok := req.(*kmsg.FetchRequest); ok {
		done, cancel := context.WithCancel(ctx)
		cancel() // what would wait is answered at once
		return fetchOf(fr, func(a quorum.FetchArgs) quorum.FetchAnswer {
			ans := to.engine.Fetch(done, a)
			if ans.Err == nil && ans.HighWatermark >= 0 {
				// Apache Kafka's observers stop when it falls.
				if ans.HighWatermark < o.told {
					s.t.Errorf("seed %d: node %d tells the high watermark %d after %d was told", s.seed, to.i, ans.HighWatermark, o.told)
				}
				o.told = ans.HighWatermark
			}
			return ans
		}), nil
	}
	return simTransport{o.node}.Do(ctx, p, req)
}

// fetchOf answers a Fetch of the metadata log as the door does.
func fetchOf(fr *kmsg.FetchRequest, fetch func(quorum.FetchArgs) quorum.FetchAnswer) *kmsg.FetchResponse {
	rp := fr.Topics[0].Partitions[0]
	a := fetch(quorum.FetchArgs{
		Replica:            quorum.Replica{ID: kafka.NodeID(fr.ReplicaState.ID), DirectoryID: rp.ReplicaDirectoryID},
		CurrentLeaderEpoch: rp.CurrentLeaderEpoch, LastFetchedEpoch: rp.LastFetchedEpoch, FetchOffset: rp.FetchOffset,
		KnownHighWatermark: rp.HighWatermark, MaxBytes: int(fr.MaxBytes)})
	p := kmsg.NewFetchResponseTopicPartition()
	p.ErrorCode, p.HighWatermark, p.RecordBatches = kafka.NumOf(a.Err), a.HighWatermark, a.Records
	p.CurrentLeader.LeaderID, p.CurrentLeader.LeaderEpoch = int32(a.Leader.Leader), a.Leader.Epoch
	if a.Diverging != nil {
		p.DivergingEpoch.Epoch, p.DivergingEpoch.EndOffset = a.Diverging.Epoch, a.Diverging.EndOffset
	}
	if a.Snapshot != nil {
		p.SnapshotID.Epoch, p.SnapshotID.EndOffset = a.Snapshot.Epoch, a.Snapshot.EndOffset
	}
	resp := kmsg.NewPtrFetchResponse()
	resp.Topics = []kmsg.FetchResponseTopic{{Partitions: []kmsg.FetchResponseTopicPartition{p}}}
	return resp
}

func (o *simObserver) round() {
	if o.ob == nil {
		return
	}
	if _, err := o.ob.round(); err != nil {
		o.node.s.t.Fatalf("seed %d: the observer stops: %v", o.node.s.seed, err)
	}
}

// Whatever happens to the voters and to it, an observer is told the committed log, and
// its own log is that of the voters byte for byte.
func TestObserverFollowsWhateverHappens(t *testing.T) {
	for seed := range int64(25) {
		s := newSim(t, seed, 3, func(_ *simNode, o *Options) {
			o.StaticVoters, o.RetentionBytes = staticSet(3), 3000
		})
		for _, n := range s.nodes {
			n.format(false, nil)
			n.start()
		}
		o := s.newObserver(9)
		o.start(3)
		for range 150 {
			n := s.nodes[s.rng.Intn(3)]
			switch s.rng.Intn(14) {
			case 0:
				s.lossy = !s.lossy
			case 1:
				n.cut = !n.cut
			case 2:
				if n.engine == nil {
					n.start()
				} else if s.rng.Intn(3) == 0 {
					n.kill(vfs.PowerLoss)
				}
			case 3:
				if o.ob == nil {
					o.start(3)
				} else {
					o.kill([]vfs.CrashMode{vfs.ProcessKill, vfs.PowerLoss}[s.rng.Intn(2)])
				}
			case 4, 5:
				n.snapshot()
			case 6, 7, 8:
				for range s.rng.Intn(8) {
					o.round()
				}
			default:
				s.propose()
			}
			s.run(time.Duration(s.rng.Intn(300)) * time.Millisecond)
		}
		s.settle()
		if o.ob == nil {
			o.start(3)
		}
		for range 200 {
			o.round()
		}
		lead := s.awaitLeader()
		if got := o.ob.Leader(); got != lead.engine.Leader() || o.ob.HighWatermark() != s.end {
			t.Fatalf("seed %d: the observer is at %d of %d and follows %+v", seed, o.ob.HighWatermark(), s.end, got)
		}
		if got, want := strings.Join(o.node.rec.names, " "), strings.Join(lead.rec.names, " "); got != want {
			t.Fatalf("seed %d: the observer was told\n%s\nthe leader\n%s", seed, got, want)
		}
		from := max(o.ob.e.startOffset(), lead.engine.startOffset())
		if from < s.end {
			a, errA := readLog(o.ob.o.Log, from, 64<<20, s.end)
			b, errB := readLog(lead.engine.o.Log, from, 64<<20, s.end)
			if errA != nil || errB != nil || string(a) != string(b) {
				t.Fatalf("seed %d: the logs differ from %d on: %v, %v", seed, from, errA, errB)
			}
		}
		found := false
		for _, r := range lead.engine.Describe().Observers {
			found = found || r.ID == 9 && r.LogEndOffset == s.end && r.LastCaughtUpTimestampMs > 0
		}
		if !found {
			t.Errorf("seed %d: DescribeQuorum does not show the observer's progress: %+v", seed, lead.engine.Describe().Observers)
		}
		o.kill(vfs.ProcessKill)
		s.close()
	}
}

// A leader that has nothing of its own epoch committed gives what it has and names no
// high watermark: the others may know a higher one. Who waits hears of it then.
func TestNewLeaderDoesNotKnowTheHighWatermark(t *testing.T) {
	s, lead := staticSim(t, 4, -1)
	known, before := lead.engine.HighWatermark(), lead.engine.Leader().Epoch
	lead.engine.Resign(before)
	var fresh *simNode
	for tries := 0; fresh == nil && tries < 100_000; tries++ {
		s.run(100 * time.Microsecond)
		for _, n := range s.nodes {
			if l := n.engine.Leader(); l.Leader == n.id() && l.Epoch > before && n.engine.leading == kafka.NoEpoch {
				fresh = n
			}
		}
	}
	if fresh == nil {
		t.Fatal("nobody was elected")
	}
	args := quorum.FetchArgs{Replica: quorum.Replica{ID: 9}, CurrentLeaderEpoch: fresh.engine.Leader().Epoch, KnownHighWatermark: -1, MaxBytes: 1 << 20}
	if ans := fresh.engine.Fetch(context.Background(), args); ans.Err != nil || len(ans.Records) == 0 || ans.HighWatermark != -1 {
		t.Errorf("%d bytes, high watermark %d, %v", len(ans.Records), ans.HighWatermark, ans.Err)
	}
	args.FetchOffset, args.LastFetchedEpoch, args.KnownHighWatermark = known, fresh.engine.o.Log.EpochForOffset(known-1), known-1
	waits := make(chan quorum.FetchAnswer, 1)
	go func() { waits <- fresh.engine.Fetch(context.Background(), args) }()
	s.run(2 * time.Second)
	if ans := <-waits; ans.Err != nil || len(ans.Records) == 0 || ans.HighWatermark <= known {
		t.Errorf("who waited got %d bytes, high watermark %d, %v", len(ans.Records), ans.HighWatermark, ans.Err)
	}
	s.close()
}

// A leader of the other kind gives uncommitted records. When its successor does not
// have them, the observer cuts them off, and it never cuts what is committed.
func TestObserverTruncatesWhatDiverges(t *testing.T) {
	s := newSim(t, 1, 1, func(*simNode, *Options) {})
	o := s.newObserver(9)
	o.start(1)
	batchOf := func(base kafka.Offset, epoch kafka.LeaderEpoch, name string) []byte {
		r := records.NewTopicRecord()
		r.Name = name
		b, err := storage.AppendBatch(nil, base, epoch, 1, []records.Message{r})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	leader := quorum.LeaderAndEpoch{Leader: 1, Epoch: 1}
	var next func(quorum.FetchArgs) quorum.FetchAnswer
	o.ob.o.Do = func(_ context.Context, _ quorum.Peer, req kmsg.Request) (kmsg.Response, error) {
		return fetchOf(req.(*kmsg.FetchRequest), func(a quorum.FetchArgs) quorum.FetchAnswer {
			ans := next(a)
			ans.Leader = leader
			return ans
		}), nil
	}
	next = func(quorum.FetchArgs) quorum.FetchAnswer {
		return quorum.FetchAnswer{HighWatermark: 1, Records: append(batchOf(0, 1, "a"), batchOf(1, 1, "lost")...)}
	}
	o.round()
	if end := o.ob.o.Log.LogEndOffset(); end != 2 || o.ob.HighWatermark() != 1 {
		t.Fatalf("the log ends at %d, committed is %d", end, o.ob.HighWatermark())
	}
	leader.Epoch = 2
	next = func(a quorum.FetchArgs) quorum.FetchAnswer {
		if a.CurrentLeaderEpoch != 2 {
			return quorum.FetchAnswer{Err: kafka.FencedLeaderEpoch}
		}
		if a.FetchOffset == 2 && a.LastFetchedEpoch == 1 {
			return quorum.FetchAnswer{HighWatermark: -1, Diverging: &quorum.EpochEnd{Epoch: 1, EndOffset: 1}}
		}
		return quorum.FetchAnswer{HighWatermark: 2, Records: batchOf(1, 2, "b")}
	}
	o.round()
	o.round()
	o.round()
	if got := fmt.Sprint(o.node.rec.names); got != "[a b]" || o.ob.HighWatermark() != 2 {
		t.Fatalf("told %s, committed is %d", got, o.ob.HighWatermark())
	}
	next = func(quorum.FetchArgs) quorum.FetchAnswer {
		return quorum.FetchAnswer{HighWatermark: 2, Diverging: &quorum.EpochEnd{Epoch: 1, EndOffset: 1}}
	}
	if _, err := o.ob.round(); !errors.Is(err, kafka.CorruptMessage) {
		t.Errorf("a leader that does not have what is committed: %v", err)
	}
	o.kill(vfs.ProcessKill)
}
