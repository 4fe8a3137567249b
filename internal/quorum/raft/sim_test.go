package raft

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand"
	"path/filepath"
	"testing"
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

// sim is a quorum in one goroutine on a virtual clock: messages are lost, delayed and
// cut off by its random numbers, nodes crash and lose what they had not synced. A seed
// replays.
type sim struct {
	t     *testing.T
	seed  int64
	rng   *rand.Rand
	clock *clock.Virtual
	nodes []*simNode
	net   []packet
	// lossy makes the network lose and delay.
	lossy bool

	leaders map[kafka.LeaderEpoch]kafka.NodeID
	// ledger is what was delivered anywhere, by base offset.
	ledger map[kafka.Offset]string
	end    kafka.Offset
	count  int
}

type packet struct {
	at       time.Time
	from, to int
	deliver  func()
}

type simNode struct {
	s      *sim
	i      int
	dirID  kafka.UUID
	fs     *vfs.Mem
	opts   func(*Options)
	engine *Engine // nil while the process is dead
	logs   *log.Manager
	rec    *simRecorder
	tasks  []func()
	cut    bool
	// port is where the node listens.
	port uint16
	// crashIn counts the file operations down to a power loss in the middle of things;
	// left is what the disk holds after it.
	crashIn int
	left    *vfs.Mem
	// fault makes file operations fail; a node that is failing may stop for it, which
	// ends its process.
	fault   *vfs.Fault
	failing bool
	last    map[int]time.Time // when the last packet to a node arrives
}

func (n *simNode) id() kafka.NodeID { return kafka.NodeID(n.i) }

// simRecorder checks what a node is told.
type simRecorder struct {
	n      *simNode
	names  []string
	next   kafka.Offset
	leader quorum.LeaderAndEpoch
}

func (r *simRecorder) HandleCommit(b *quorum.Batch) error {
	s := r.n.s
	if r.n.left != nil {
		return nil // told to nobody: the power is gone
	}
	if b.BaseOffset != r.next {
		s.t.Fatalf("seed %d: node %d got offset %d instead of %d", s.seed, r.n.i, b.BaseOffset, r.next)
	}
	r.next = b.LastOffset + 1
	what := fmt.Sprint(b.Epoch, b.LastOffset)
	for _, m := range b.Messages {
		name := m.(*records.TopicRecord).Name
		r.names, what = append(r.names, name), what+" "+name
	}
	if had, ok := s.ledger[b.BaseOffset]; ok && had != what {
		s.t.Fatalf("seed %d: node %d delivers %q at offset %d, another delivered %q", s.seed, r.n.i, what, b.BaseOffset, had)
	}
	s.ledger[b.BaseOffset], s.end = what, max(s.end, r.next)
	return nil
}

func (r *simRecorder) HandleSnapshot(sr *storage.SnapshotReader) error {
	recs, err := sr.ReadAll()
	r.names, r.next = nil, sr.ID.EndOffset
	for _, m := range recs {
		r.names = append(r.names, m.(*records.TopicRecord).Name)
	}
	return err
}

func (r *simRecorder) HandleLeaderChange(l quorum.LeaderAndEpoch) {
	s := r.n.s
	if r.n.left != nil {
		return
	}
	if l.Epoch < r.leader.Epoch {
		s.t.Fatalf("seed %d: node %d goes back from epoch %d to %d", s.seed, r.n.i, r.leader.Epoch, l.Epoch)
	}
	r.leader = l
	if l.Leader == kafka.NoNode {
		return
	}
	if had, ok := s.leaders[l.Epoch]; ok && had != l.Leader {
		s.t.Fatalf("seed %d: nodes %d and %d lead in epoch %d", s.seed, had, l.Leader, l.Epoch)
	}
	s.leaders[l.Epoch] = l.Leader
}

// simTransport is a node's side of the network.
type simTransport struct{ n *simNode }

func (simTransport) OnDisconnect(func(kafka.NodeID)) {}

func (tr simTransport) target(p Peer) *simNode {
	for _, n := range tr.n.s.nodes {
		if n.port == p.Endpoint.Port {
			return n
		}
	}
	return nil
}

func (tr simTransport) Send(p Peer, body []byte, done func([]byte, error)) {
	to := tr.target(p)
	if to == nil || tr.n.left != nil {
		return
	}
	me, process := tr.n, tr.n.engine
	me.s.post(me, to, func() {
		var got []byte
		err := error(rpc.ErrRefused)
		if to.engine != nil {
			got, err = to.engine.Receive(body)
		}
		me.s.post(to, me, func() {
			if me.engine == process && process != nil {
				done(got, err)
			}
		})
	})
}

func (tr simTransport) Do(_ context.Context, p Peer, req kmsg.Request) (kmsg.Response, error) {
	to := tr.target(p)
	if to == nil || to.engine == nil || to.cut || tr.n.cut {
		return nil, errors.New("unreachable")
	}
	switch req := req.(type) {
	case *kmsg.FetchSnapshotRequest:
		rp := req.Topics[0].Partitions[0]
		a := to.engine.FetchSnapshot(quorum.SnapshotArgs{
			CurrentLeaderEpoch: rp.CurrentLeaderEpoch, Position: rp.Position, MaxBytes: int(req.MaxBytes),
			Snapshot: storage.SnapshotID{EndOffset: rp.SnapshotID.EndOffset, Epoch: rp.SnapshotID.Epoch}})
		resp := kmsg.NewPtrFetchSnapshotResponse()
		out := kmsg.NewFetchSnapshotResponseTopicPartition()
		out.ErrorCode, out.Size, out.Position, out.Bytes = kafka.NumOf(a.Err), a.Size, rp.Position, a.Bytes
		resp.Topics = []kmsg.FetchSnapshotResponseTopic{{Partitions: []kmsg.FetchSnapshotResponseTopicPartition{out}}}
		return resp, nil
	case *kmsg.AddRaftVoterRequest:
		v := storage.Voter{ID: kafka.NodeID(req.VoterID), DirectoryID: req.VoterDirectoryID, MaxKRaftVersion: 1}
		for _, l := range req.Listeners {
			v.Endpoints = append(v.Endpoints, storage.Endpoint{Listener: l.Name, Host: l.Host, Port: l.Port})
		}
		return nil, to.engine.AddVoter(expired(), v, false)
	case *kmsg.UpdateRaftVoterRequest:
		v := storage.Voter{ID: kafka.NodeID(req.VoterID), DirectoryID: req.VoterDirectoryID,
			MinKRaftVersion: req.KRaftVersionFeature.MinSupportedVersion, MaxKRaftVersion: req.KRaftVersionFeature.MaxSupportedVersion}
		for _, l := range req.Listeners {
			v.Endpoints = append(v.Endpoints, storage.Endpoint{Listener: l.Name, Host: l.Host, Port: l.Port})
		}
		resp := kmsg.NewPtrUpdateRaftVoterResponse()
		resp.ErrorCode = kafka.NumOf(to.engine.UpdateVoter(expired(), req.CurrentLeaderEpoch, v))
		to.pump()
		return resp, nil
	}
	return nil, errors.New("unexpected request")
}

// post sends a packet; those between two nodes keep their order.
func (s *sim) post(from, to *simNode, deliver func()) {
	if from.cut || to.cut || s.lossy && s.rng.Intn(20) == 0 {
		return
	}
	at := s.clock.Now().Add(time.Duration(s.rng.Intn(2000)) * time.Microsecond)
	if s.lossy && s.rng.Intn(30) == 0 {
		at = at.Add(time.Duration(s.rng.Intn(300)) * time.Millisecond)
	}
	if last := from.last[to.i]; at.Before(last) {
		at = last
	}
	from.last[to.i] = at
	s.net = append(s.net, packet{at, from.i, to.i, deliver})
}

func newSim(t *testing.T, seed int64, n int, opts func(*simNode, *Options)) *sim {
	s := &sim{t: t, seed: seed, rng: rand.New(rand.NewSource(seed)), clock: clock.NewVirtual(time.UnixMilli(1_000_000)),
		leaders: map[kafka.LeaderEpoch]kafka.NodeID{}, ledger: map[kafka.Offset]string{}}
	for i := 1; i <= n; i++ {
		node := &simNode{s: s, i: i, port: uint16(i), fs: vfs.NewMem(), last: map[int]time.Time{}}
		node.opts = func(o *Options) { opts(node, o) }
		node.dirID = kafka.UUID{0: 9, 15: byte(i)}
		s.nodes = append(s.nodes, node)
	}
	return s
}

// endpoint is where node i listens.
func endpoint(i int) []storage.Endpoint {
	return []storage.Endpoint{{Listener: "C", Host: "h", Port: uint16(i)}}
}

func staticSet(n int) storage.VoterSet {
	var set storage.VoterSet
	for i := 1; i <= n; i++ {
		set = append(set, storage.Voter{ID: kafka.NodeID(i), Endpoints: endpoint(i)})
	}
	return set
}

// format formats the node's directory; with voters for a dynamic quorum.
func (n *simNode) format(dynamic bool, voters storage.VoterSet) {
	o := storage.FormatOptions{NodeID: n.id(), ClusterID: "test", Directories: []string{testDir}, MetadataLogDir: testDir,
		ControllerListenerName: "C", Now: time.UnixMilli(1), DynamicQuorum: dynamic, InitialControllers: voters}
	if len(voters) == 0 {
		o.NewUUID = func() kafka.UUID { return n.dirID }
	}
	if _, err := storage.Format(n.fs, o); err != nil {
		n.s.t.Fatal(err)
	}
}

// start begins a process on the node's files.
func (n *simNode) start() {
	s := n.s
	cfg := config.Default(map[string]string{"log.dirs": testDir})
	topic, err := cfg.TopicConfig(map[string]string{"retention.ms": "-1", "retention.bytes": "-1", "segment.bytes": "1048576"})
	if err != nil {
		s.t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	mem := n.fs
	n.fault = vfs.NewFault(vfs.NewTrace(mem, func(string) {
		if n.crashIn > 0 {
			if n.crashIn--; n.crashIn == 0 {
				n.left = mem.Crash(s.rng, vfs.PowerLoss)
			}
		}
	}))
	fsys := n.fault
	if n.logs, err = log.Open(context.Background(), log.Options{
		FS: fsys, Clock: s.clock, Logger: quiet, Dirs: []string{testDir}, MetadataDir: testDir, NodeID: n.id(),
		TopicConfig: func(string) config.Topic { return topic }, Manual: true}); err != nil {
		s.t.Fatalf("seed %d: %v", s.seed, err)
	}
	dir := filepath.Join(testDir, storage.MetadataLogDirName)
	n.crashIn = 0
	l, err := n.logs.OpenMetadata(kafka.TopicPartition{Topic: kafka.MetadataTopic}, kafka.MetadataTopicID, topic, 0)
	if err != nil {
		s.t.Fatalf("seed %d: %v", s.seed, err)
	}
	o := Options{NodeID: n.id(), DirectoryID: n.logs.Dirs()[0].ID, FS: fsys, Clock: s.clock, Logger: quiet, Log: l, Dir: dir,
		ClusterID: "test", Transport: simTransport{n}, LocalEndpoints: endpoint(int(n.port)),
		ElectionTimeout: time.Second, RetentionBytes: -1, RetentionMs: -1, Seed: s.rng.Int63(), SnapshotMaxBytes: 100}
	n.opts(&o)
	e, err := Open(o)
	if err != nil {
		s.t.Fatalf("seed %d: node %d: %v", s.seed, n.i, err)
	}
	n.rec = &simRecorder{n: n, leader: quorum.LeaderAndEpoch{Leader: kafka.NoNode}}
	n.tasks = nil
	e.spawn = func(f func()) { n.tasks = append(n.tasks, f) }
	e.Register(n.rec)
	n.engine = e
	if err := errors.Join(e.prepare(), e.begin()); err != nil {
		s.t.Fatalf("seed %d: node %d: %v", s.seed, n.i, err)
	}
	n.pump()
}

// kill ends the process; with a power loss what was not synced is lost.
func (n *simNode) kill(mode vfs.CrashMode) {
	n.fs = n.fs.Crash(n.s.rng, mode)
	n.logs.Abort()
	n.engine.end()
	n.engine, n.logs, n.tasks, n.left = nil, nil, nil, nil
}

func (n *simNode) pump() {
	if n.engine == nil {
		return
	}
	if !n.engine.pump() {
		if n.failing {
			n.kill(vfs.ProcessKill)
			return
		}
		n.s.t.Fatalf("seed %d: node %d stopped: %v", n.s.seed, n.i, n.engine.Err())
	}
	for len(n.tasks) > 0 {
		f := n.tasks[0]
		n.tasks = n.tasks[1:]
		f()
	}
	if n.left != nil {
		left := n.left
		n.kill(vfs.ProcessKill)
		n.fs, n.left = left, nil
	}
}

// run lets d pass.
func (s *sim) run(d time.Duration) {
	end := s.clock.Now().Add(d)
	for {
		next, first := end, -1
		for i, p := range s.net {
			if p.at.Before(next) {
				next, first = p.at, i
			}
		}
		for _, n := range s.nodes {
			if n.engine == nil {
				continue
			}
			if d, ok := n.engine.untilTimer(); ok {
				if at := s.clock.Now().Add(d); at.Before(next) {
					next, first = at, -1
				}
			}
		}
		s.clock.AdvanceTo(next)
		if !next.Before(end) {
			return
		}
		if first >= 0 {
			p := s.net[first]
			s.net = append(s.net[:first:first], s.net[first+1:]...)
			if from, to := s.nodes[p.from-1], s.nodes[p.to-1]; !from.cut && !to.cut {
				p.deliver()
			}
		}
		for _, n := range s.nodes {
			n.pump()
		}
	}
}

// propose lets whoever leads, by its own account, propose a batch.
func (s *sim) propose() bool {
	did := false
	for _, n := range s.nodes {
		if n.engine == nil || n.rec.leader.Leader != n.id() {
			continue
		}
		var recs []records.Message
		for range 1 + s.rng.Intn(4) {
			r := records.NewTopicRecord()
			r.Name = fmt.Sprint("t", s.count)
			s.count++
			recs = append(recs, r)
		}
		if _, err := n.engine.Propose(n.rec.leader.Epoch, recs); err == nil {
			did = true
		} else if !errors.Is(err, kafka.NotController) && !errors.Is(err, kafka.RequestTimedOut) {
			s.t.Fatalf("seed %d: %v", s.seed, err)
		}
		n.pump()
	}
	return did
}

// snapshot lets a node write a snapshot of what was delivered to it.
func (n *simNode) snapshot() {
	if n.engine == nil || n.rec.next == 0 {
		return
	}
	id := storage.SnapshotID{EndOffset: n.rec.next, Epoch: n.engine.o.Log.EpochForOffset(n.rec.next - 1)}
	w, err := n.engine.CreateSnapshot(id, 1)
	if err != nil {
		n.s.t.Fatalf("seed %d: %v", n.s.seed, err)
	}
	if w == nil {
		return
	}
	for _, name := range n.rec.names {
		r := records.NewTopicRecord()
		r.Name = name
		if err := w.Append(r); err != nil {
			n.s.t.Fatal(err)
		}
	}
	if err := w.Freeze(); err != nil {
		n.s.t.Fatal(err)
	}
	n.engine.SnapshotDone(id)
}

// settle heals everything, waits until a new record is everywhere, and compares the
// logs byte for byte.
func (s *sim) settle(which ...*simNode) {
	if len(which) == 0 {
		which = s.nodes
	}
	s.lossy = false
	for _, n := range which {
		n.cut, n.crashIn = false, 0
		n.pump() // a crash inside of a snapshot waits for it
		if n.engine == nil {
			n.start()
		}
	}
	for tries := 0; ; tries++ {
		s.run(time.Second)
		proposed := s.propose()
		s.run(time.Second)
		same := proposed
		for _, n := range which {
			same = same && n.engine.HighWatermark() == s.end && n.engine.o.Log.LogEndOffset() == s.end && n.rec.next == s.end
		}
		if same {
			break
		}
		if tries == 60 {
			for _, n := range which {
				s.t.Logf("node %d: high watermark %d, end %d, leader %+v, snapshots %v", n.i, n.engine.HighWatermark(), n.engine.o.Log.LogEndOffset(), n.engine.Leader(), n.engine.snapshots)
				s.t.Logf("voters %s at %d, epochs %v, %+v", n.engine.voters, n.engine.votersOffset, n.engine.o.Log.EpochEntries(), n.engine.rn.Status().Config)
			}
			s.t.Fatalf("seed %d: the quorum does not come to rest at %d", s.seed, s.end)
		}
	}
	start := kafka.Offset(0)
	for _, n := range which {
		start = max(start, n.engine.startOffset())
	}
	var first []byte
	for i, n := range which {
		if start >= s.end {
			break
		}
		data, err := readLog(n.engine.o.Log, start, 64<<20, s.end)
		if err != nil {
			s.t.Fatalf("seed %d: %v", s.seed, err)
		}
		if i == 0 {
			first = data
		} else if !bytes.Equal(first, data) {
			s.t.Fatalf("seed %d: the logs of nodes %d and %d differ from offset %d on", s.seed, which[0].i, n.i, start)
		}
		if got, want := fmt.Sprint(n.rec.names), fmt.Sprint(which[0].rec.names); got != want {
			s.t.Fatalf("seed %d: nodes %d and %d were told different topics", s.seed, which[0].i, n.i)
		}
	}
}

func (s *sim) close() {
	for _, n := range s.nodes {
		if n.engine != nil {
			n.kill(vfs.ProcessKill)
		}
	}
}

// leader is the node that leads and has told so, nil when there is none.
func (s *sim) leader() *simNode {
	for _, n := range s.nodes {
		if n.engine != nil && n.engine.leading != kafka.NoEpoch && n.rec.leader.Leader == n.id() {
			return n
		}
	}
	return nil
}

// awaitLeader runs until somebody leads.
func (s *sim) awaitLeader() *simNode {
	s.t.Helper()
	for range 2000 {
		if n := s.leader(); n != nil {
			return n
		}
		s.run(10 * time.Millisecond)
	}
	s.t.Fatalf("seed %d: nobody leads", s.seed)
	return nil
}

func TestVotersAgreeWhateverHappens(t *testing.T) {
	for seed := range int64(40) {
		runSeed(t, seed)
	}
}

// runSeed runs a static quorum of three or five through random faults.
func runSeed(t *testing.T, seed int64) {
	size := 3 + 2*int(seed%2)
	s := newSim(t, seed, size, func(_ *simNode, o *Options) {
		o.StaticVoters = staticSet(size)
		o.RetentionBytes = 3000
	})
	for _, n := range s.nodes {
		n.format(false, nil)
		n.start()
	}
	for range 150 {
		n := s.nodes[s.rng.Intn(size)]
		switch s.rng.Intn(12) {
		case 0:
			s.lossy = !s.lossy
		case 1:
			n.cut = !n.cut
		case 2, 3:
			if n.engine == nil {
				n.start()
			} else if s.rng.Intn(2) == 0 {
				n.kill([]vfs.CrashMode{vfs.ProcessKill, vfs.PowerLoss}[s.rng.Intn(2)])
			}
		case 4:
			n.snapshot()
		case 5:
			n.crashIn = 1 + s.rng.Intn(30)
		default:
			s.propose()
		}
		s.run(time.Duration(s.rng.Intn(400)) * time.Millisecond)
	}
	s.settle()
	s.close()
}
