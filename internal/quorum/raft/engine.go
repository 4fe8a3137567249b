package raft

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	etcdraft "go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log"
	"github.com/gregorhq/gregor/internal/quorum"
	"github.com/gregorhq/gregor/internal/storage"
	"github.com/gregorhq/gregor/internal/vfs"
)

// Peer is another node of the quorum and where it is reached. ID is kafka.NoNode for
// an address of controller.quorum.bootstrap.servers.
type Peer = quorum.Peer

// Transport carries requests between nodes of the quorum. What cannot be delivered is
// lost: raft repeats it.
type Transport interface {
	// Send carries a private request whose body belongs to the transport from now on,
	// behind those sent to the peer before. It must not block. done is called at most
	// once, possibly before Send returns, with the answer or why there is none: an
	// error that is rpc.ErrRefused proves that no process listens there.
	Send(p Peer, body []byte, done func(answer []byte, err error))
	// Do sends one of Kafka's requests and waits for the answer.
	Do(ctx context.Context, p Peer, req kmsg.Request) (kmsg.Response, error)
	// OnDisconnect sets what is called, without blocking, when an established
	// connection has ended. It is set before anything is sent.
	OnDisconnect(f func(id kafka.NodeID))
}

// Options are what an Engine works with. All but Transport and LocalEndpoints are
// required.
type Options struct {
	NodeID kafka.NodeID
	// DirectoryID is the id of the directory that holds the metadata log.
	DirectoryID kafka.UUID
	FS          vfs.FS
	Clock       clock.Clock
	Logger      *slog.Logger
	// Log is the metadata log and Dir its folder. The log belongs to the caller, who
	// closes it after the engine.
	Log *log.Log
	Dir string
	// StaticVoters is controller.quorum.voters; it counts while kraft.version is 0.
	StaticVoters storage.VoterSet
	// LocalEndpoints are where this node's controller listeners are reached.
	LocalEndpoints []storage.Endpoint
	// ClusterID is in every message: members of different clusters do not listen to
	// each other.
	ClusterID string
	// BootstrapServers is controller.quorum.bootstrap.servers: whom to ask for the
	// leader while this node is no voter.
	BootstrapServers []storage.Endpoint
	// AutoJoin is controller.quorum.auto.join.enable: a node that is no voter asks to
	// become one.
	AutoJoin bool
	// Transport is needed when there is more than one voter, or when this node is none.
	// It belongs to the caller, who closes it after the engine.
	Transport Transport
	// Seed is for the spread of election timeouts.
	Seed int64
	// SnapshotMaxBytes is controller.quorum.fetch.snapshot.max.bytes; 0 takes 1 MiB.
	SnapshotMaxBytes int
	// ElectionTimeout is controller.quorum.election.timeout.ms.
	ElectionTimeout time.Duration
	// ElectionBackoffMax is controller.quorum.election.backoff.max.ms, by how much two
	// attempts to be elected are spread; 0 takes the election timeout.
	ElectionBackoffMax time.Duration
	// RetentionBytes and RetentionMs are metadata.max.retention.bytes and .ms.
	RetentionBytes int64
	RetentionMs    int64
}

// Limits of what raft may hold in memory.
const (
	// maxUncommittedBytes bounds proposals that wait for their commit.
	maxUncommittedBytes = 256 << 20
	// maxApplyBytes bounds what one pass delivers.
	maxApplyBytes = 8 << 20
	// electionTicks is the election timeout in ticks; a heartbeat is one tick.
	electionTicks = 10
)

// Engine is a voter of the embedded quorum. It implements quorum.Engine.
type Engine struct {
	o         Options
	store     *logStore
	listeners []quorum.Listener // fixed by Start

	mu sync.Mutex
	// rn is guarded by mu.
	rn *etcdraft.RawNode
	// nextOffset is the offset behind the last entry that raft knows, guarded by mu.
	nextOffset kafka.Offset
	// leading is the epoch in which this node has told its listeners that it leads,
	// or kafka.NoEpoch; guarded by mu.
	leading kafka.LeaderEpoch
	// leader is who leads; guarded by mu.
	leader quorum.LeaderAndEpoch
	// leaderAt is where the leader said it is reached, for a node that does not find it
	// among the voters; guarded by mu.
	leaderAt []storage.Endpoint
	// addresses are where those are reached that have sent messages; guarded by mu.
	addresses map[kafka.NodeID][]storage.Endpoint
	// history are the voter sets that snapshots and log hold, oldest first; the last
	// one is in force. Guarded by mu.
	history []voterSetAt
	// voters, votersOffset and kraftVersion are the last one's; guarded by mu.
	voters       storage.VoterSet
	votersOffset kafka.Offset // -1 when they stand only in the first checkpoint or in the configuration
	kraftVersion int16
	// learners are the nodes without a vote that this leader sends the log to, guarded
	// by mu; replicas is what the leader knows of anybody's progress.
	learners map[kafka.NodeID]*learner
	replicas replicaTable
	// snapshots are the complete ones, oldest first; guarded by mu.
	snapshots []storage.SnapshotID
	failure   error // guarded by mu
	// changed is closed and replaced whenever the high watermark moves or leadership
	// changes; guarded by mu.
	changed chan struct{}

	inbox inbox

	// The loop's own state.
	state       quorum.ElectionState // what quorum-state holds
	pendingSelf kafka.LeaderEpoch    // leads since this epoch, listeners not told yet; or kafka.NoEpoch
	partial     *pb.Entry            // a batch whose last index is not committed yet
	seen        view                 // of raft, as of the last pass
	timers      timers
	rng         *rand.Rand
	fetching    map[storage.SnapshotID]bool // snapshots on their way; guarded by mu
	fetched     storage.SnapshotID          // the last one that came; guarded by mu
	hint        answer                      // who leads, by another node's word; guarded by mu
	asked       int                         // counts the questions for the leader
	// handingTo is whom leadership is handed to, until that has failed; guarded by mu.
	handingTo kafka.NodeID
	// asking is whether a request about this node's own place among the voters is under
	// way; guarded by mu.
	asking bool
	// proposedVoters is the offset of the last voter set that this leader has proposed;
	// guarded by mu.
	proposedVoters kafka.Offset
	// spawn runs what must not hold up the loop; a test may run it in its own order.
	spawn func(func())
	tasks sync.WaitGroup
	ctx   context.Context // ends with Close
	end   context.CancelFunc

	highWatermark atomic.Int64
	// turned is when the loop last began a pass, in nanoseconds since born.
	turned  atomic.Int64
	born    time.Time
	wake    chan struct{}
	stop    chan struct{}
	done    chan struct{}
	failed  chan struct{}
	started bool // guarded by mu
	closed  bool // guarded by mu
}

var (
	_ quorum.Engine = (*Engine)(nil)
	_ quorum.Server = (*Engine)(nil)
)

// raftID is the library's id of a node; it takes 0 for "nobody".
func raftID(id kafka.NodeID) uint64 { return uint64(id) + 1 }

// nodeID is the inverse of raftID.
func nodeID(id uint64) kafka.NodeID {
	if id == etcdraft.None {
		return kafka.NoNode
	}
	return kafka.NodeID(id - 1)
}

// Open reads vote, snapshots and log, and prepares the node. Nothing runs and
// nobody is elected before Start.
func Open(o Options) (*Engine, error) {
	e := &Engine{
		proposedVoters: -1, hint: answer{Leader: kafka.NoNode},
		o: o, leading: kafka.NoEpoch, pendingSelf: kafka.NoEpoch, votersOffset: -1,
		wake: make(chan struct{}, 1), stop: make(chan struct{}),
		done: make(chan struct{}), failed: make(chan struct{}), changed: make(chan struct{}),
		learners: map[kafka.NodeID]*learner{}, addresses: map[kafka.NodeID][]storage.Endpoint{}, fetching: map[storage.SnapshotID]bool{},
		rng: rand.New(rand.NewSource(o.Seed)), born: o.Clock.Now(),
	}
	e.ctx, e.end = context.WithCancel(context.Background())
	e.spawn = func(f func()) {
		e.tasks.Add(1)
		go func() {
			defer e.tasks.Done()
			f()
		}()
	}
	if err := e.harden(); err != nil {
		return nil, err
	}
	var err error
	if e.state, err = quorum.ReadElectionState(o.FS, o.Dir); err != nil {
		return nil, err
	}
	if err := e.recoverSnapshots(); err != nil {
		return nil, err
	}
	if err := e.recoverVoters(); err != nil {
		return nil, err
	}
	if err := e.checkVoters(); err != nil {
		return nil, err
	}
	if latest := max(o.Log.LatestEpoch(), e.latestSnapshot().Epoch); latest > e.state.LeaderEpoch {
		// The vote file is older than log or snapshot: an epoch that was written is an
		// epoch that was voted in, and this node must not vote in it again.
		e.state = quorum.ElectionState{LeaderEpoch: latest, Leader: kafka.NoNode, VotedID: kafka.NoNode}
	}
	e.leader = quorum.LeaderAndEpoch{Leader: kafka.NoNode, Epoch: e.state.LeaderEpoch}
	e.nextOffset = o.Log.LogEndOffset()
	e.highWatermark.Store(e.latestSnapshot().EndOffset)
	if o.Transport != nil {
		o.Transport.OnDisconnect(e.disconnected)
	}
	if err := e.newRawNode(); err != nil {
		return nil, err
	}
	e.seen = e.look()
	return e, nil
}

// harden makes durable what is there. A process that was killed leaves what it had not
// synced yet, as visible as the rest; this one will vote and acknowledge by it.
func (e *Engine) harden() error {
	if err := e.o.Log.Flush(); err != nil {
		return fmt.Errorf("syncing the metadata log: %w", err)
	}
	for _, dir := range []string{e.o.Dir, filepath.Dir(e.o.Dir)} {
		if err := e.o.FS.SyncDir(dir); err != nil {
			return fmt.Errorf("syncing %s: %w", dir, err)
		}
	}
	return nil
}

// checkVoters refuses a configuration in which this node cannot take part. A node
// that is no voter follows the log and may become one while kraft.version is 1.
func (e *Engine) checkVoters() error {
	me, ok := e.voters.Find(e.o.NodeID)
	mine := ok && (e.kraftVersion == 0 || me.DirectoryID == e.o.DirectoryID)
	switch {
	case len(e.voters) == 0 && len(e.o.BootstrapServers) == 0:
		return errors.New("the quorum has no voters: set controller.quorum.voters, or format the metadata directory with --standalone")
	case !ok && e.kraftVersion == 0 && len(e.voters) > 0:
		return fmt.Errorf("node %d is not one of the voters of the metadata quorum", e.o.NodeID)
	case !mine && e.o.Transport == nil && ok:
		return fmt.Errorf("node %d is a voter with directory %s, but its metadata directory is %s", e.o.NodeID, me.DirectoryID, e.o.DirectoryID)
	case len(e.voters) > 1 && e.o.Transport == nil, !mine && e.o.Transport == nil:
		return fmt.Errorf("the metadata quorum has %d voters and no transport between them", len(e.voters))
	}
	return nil
}

func (e *Engine) newRawNode() error {
	e.store = &logStore{log: e.o.Log, snapshot: e.latestSnapshot, base: e.logBase(), state: e.state, voters: e.raftVoters()}
	cfg := &etcdraft.Config{
		ID:                        raftID(e.o.NodeID),
		ElectionTick:              electionTicks,
		HeartbeatTick:             1,
		Storage:                   e.store,
		Applied:                   uint64(e.latestSnapshot().EndOffset),
		MaxSizePerMsg:             math.MaxUint64, // a limit could cut inside a batch; Entries has its own
		MaxCommittedSizePerReady:  maxApplyBytes,
		MaxUncommittedEntriesSize: maxUncommittedBytes,
		MaxInflightMsgs:           256,
		CheckQuorum:               true,
		PreVote:                   true,
		DisableProposalForwarding: true,
		StepDownOnRemoval:         true,
		Logger:                    raftLogger{e.o.Logger},
	}
	return e.guard(func() error {
		rn, err := etcdraft.NewRawNode(cfg)
		e.rn = rn
		return err
	})
}

// guard runs f, in which the library panics when its storage fails, and makes the
// storage's error of such a panic. Other panics pass.
func (e *Engine) guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			if err = e.store.err(); err == nil {
				panic(p)
			}
		}
	}()
	return f()
}

// Register adds a listener before Start.
func (e *Engine) Register(l quorum.Listener) { e.listeners = append(e.listeners, l) }

// Start begins the loop. A sole voter elects itself at once.
func (e *Engine) Start() error {
	if err := e.prepare(); err != nil {
		return err
	}
	go e.run()
	return nil
}

// prepare is what Start does before the loop runs.
func (e *Engine) prepare() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.started || e.closed {
		return errors.New("the quorum engine was started or closed before")
	}
	e.started = true
	e.startTimers()
	if e.isSole() {
		if err := e.guard(e.rn.Campaign); err != nil {
			return fmt.Errorf("starting an election: %w", err)
		}
	}
	return nil
}

// Close hands leadership to another voter if there is one that is up to date, and
// stops the loop. Proposals that are not durable yet are lost.
func (e *Engine) Close() error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil
	}
	started := e.started && e.failure == nil
	e.mu.Unlock()
	if started {
		e.handOver(context.Background())
	}
	return e.Abort()
}

// Abort is Close without a farewell: the others find out by themselves.
func (e *Engine) Abort() error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil
	}
	e.closed = true
	started := e.started
	close(e.stop)
	e.mu.Unlock()
	e.end()
	if started {
		<-e.done
	}
	e.tasks.Wait()
	return nil
}

// Failed is closed when the engine stopped by itself.
func (e *Engine) Failed() <-chan struct{} { return e.failed }

// Err is why the engine stopped by itself, or nil.
func (e *Engine) Err() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.failure
}

// Leader says who leads.
func (e *Engine) Leader() quorum.LeaderAndEpoch {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.leader
}

// HighWatermark is the end of the committed log.
func (e *Engine) HighWatermark() kafka.Offset { return e.highWatermark.Load() }

// latestSnapshot is the newest complete snapshot, the zero id when there is none.
// The caller holds mu, or the loop does not run yet.
func (e *Engine) latestSnapshot() storage.SnapshotID {
	if n := len(e.snapshots); n > 0 {
		return e.snapshots[n-1]
	}
	return storage.SnapshotID{}
}
