package raft

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	etcdraft "go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log"
	"github.com/gregorhq/gregor/internal/quorum"
	"github.com/gregorhq/gregor/internal/storage"
	"github.com/gregorhq/gregor/internal/vfs"
)

// Transport carries raft's messages between voters. Send must not block and must
// not keep msgs beyond the call unless it treats them as immutable: what cannot be
// delivered is dropped, raft repeats it. Received messages are handed to
// Engine.Step whole, in the order in which they were sent.
type Transport interface {
	Send(msgs []*pb.Message)
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
	// Transport is needed when there is more than one voter.
	Transport Transport
	// ElectionTimeout is controller.quorum.election.timeout.ms.
	ElectionTimeout time.Duration
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
	// voters and what belongs to them are guarded by mu.
	voters       storage.VoterSet
	votersOffset kafka.Offset // -1 when they stand only in the first checkpoint or in the configuration
	kraftVersion int16
	// snapshots are the complete ones, oldest first; guarded by mu.
	snapshots []storage.SnapshotID
	failure   error // guarded by mu

	// The loop's own state.
	state       quorum.ElectionState // what quorum-state holds
	pendingSelf kafka.LeaderEpoch    // leads since this epoch, listeners not told yet; or kafka.NoEpoch
	partial     *pb.Entry            // a batch whose last index is not committed yet

	highWatermark atomic.Int64
	wake          chan struct{}
	stop          chan struct{}
	done          chan struct{}
	failed        chan struct{}
	started       bool // guarded by mu
	closed        bool // guarded by mu
}

var _ quorum.Engine = (*Engine)(nil)

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
		o: o, leading: kafka.NoEpoch, pendingSelf: kafka.NoEpoch, votersOffset: -1,
		wake: make(chan struct{}, 1), stop: make(chan struct{}),
		done: make(chan struct{}), failed: make(chan struct{}),
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
	return e, e.newRawNode()
}

// checkVoters refuses a configuration in which this node cannot take part.
func (e *Engine) checkVoters() error {
	me, ok := e.voters.Find(e.o.NodeID)
	switch {
	case len(e.voters) == 0:
		return errors.New("the quorum has no voters: set controller.quorum.voters, or format the metadata directory with --standalone")
	case !ok:
		return fmt.Errorf("node %d is not one of the voters of the metadata quorum", e.o.NodeID)
	case e.kraftVersion > 0 && me.DirectoryID != e.o.DirectoryID:
		return fmt.Errorf("node %d is a voter with directory %s, but its metadata directory is %s", e.o.NodeID, me.DirectoryID, e.o.DirectoryID)
	case len(e.voters) > 1 && e.o.Transport == nil:
		return fmt.Errorf("the metadata quorum has %d voters and no transport between them", len(e.voters))
	}
	return nil
}

func (e *Engine) newRawNode() error {
	e.store = &logStore{log: e.o.Log, snapshot: e.latestSnapshot, base: e.logBase(), state: e.state, voters: e.voters}
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
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.started || e.closed {
		return errors.New("the quorum engine was started or closed before")
	}
	e.started = true
	if len(e.voters) == 1 {
		if err := e.guard(e.rn.Campaign); err != nil {
			return fmt.Errorf("starting an election: %w", err)
		}
	}
	go e.run()
	return nil
}

// Close stops the loop. Proposals that are not durable yet are lost.
func (e *Engine) Close() error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil
	}
	e.closed = true
	started := e.started
	close(e.stop)
	e.mu.Unlock()
	if started {
		<-e.done
	}
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

// Describe returns the data of DescribeQuorum.
func (e *Engine) Describe() quorum.Status {
	now := e.o.Clock.Now().UnixMilli()
	e.mu.Lock()
	defer e.mu.Unlock()
	s := quorum.Status{
		LeaderAndEpoch: e.leader,
		HighWatermark:  e.highWatermark.Load(),
		LogEndOffset:   e.o.Log.LogEndOffset(),
		VoterSet:       e.voters,
		KRaftVersion:   e.kraftVersion,
	}
	match := map[kafka.NodeID]kafka.Offset{}
	e.rn.WithProgress(func(id uint64, _ etcdraft.ProgressType, p progress) { match[nodeID(id)] = kafka.Offset(p.Match) })
	for _, v := range e.voters {
		r := quorum.ReplicaState{ID: v.ID, DirectoryID: v.DirectoryID, LogEndOffset: -1, LastFetchTimestampMs: -1, LastCaughtUpTimestampMs: -1}
		if end, ok := match[v.ID]; ok {
			r.LogEndOffset = end
		}
		if v.ID == e.o.NodeID {
			r.LogEndOffset = s.LogEndOffset
			if s.Leader == v.ID {
				r.LastFetchTimestampMs, r.LastCaughtUpTimestampMs = now, now
			}
		}
		s.Voters = append(s.Voters, r)
	}
	return s
}

// latestSnapshot is the newest complete snapshot, the zero id when there is none.
// The caller holds mu, or the loop does not run yet.
func (e *Engine) latestSnapshot() storage.SnapshotID {
	if n := len(e.snapshots); n > 0 {
		return e.snapshots[n-1]
	}
	return storage.SnapshotID{}
}
