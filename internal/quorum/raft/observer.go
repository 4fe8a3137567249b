package raft

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/quorum"
	"github.com/gregorhq/gregor/internal/storage"
	"github.com/gregorhq/gregor/internal/vfs"
)

// ObserverOptions are what an Observer works with. Fields of the same name mean the
// same as in Options.
type ObserverOptions struct {
	NodeID           kafka.NodeID
	DirectoryID      kafka.UUID
	FS               vfs.FS
	Clock            clock.Clock
	Logger           *slog.Logger
	Log              *log.Log
	Dir              string
	ClusterID        string
	StaticVoters     storage.VoterSet
	BootstrapServers []storage.Endpoint
	// ListenerName is the controller listener that this node uses, the first of
	// controller.listener.names.
	ListenerName   string
	RetentionBytes int64
	RetentionMs    int64
	// FetchTimeout is controller.quorum.fetch.timeout.ms: after that long without an
	// answer the leader counts as unknown. RetryBackoff is
	// controller.quorum.retry.backoff.ms.
	FetchTimeout time.Duration
	RetryBackoff time.Duration
	// FetchMaxBytes and SnapshotMaxBytes are controller.quorum.fetch.max.bytes and
	// controller.quorum.fetch.snapshot.max.bytes; 0 takes 1 MiB.
	FetchMaxBytes    int
	SnapshotMaxBytes int
	// Do sends a request to a controller, of either kind.
	Do func(context.Context, quorum.Peer, kmsg.Request) (kmsg.Response, error)
}

// FetchMaxWait is how long the leader may hold a fetch that has nothing to tell.
const FetchMaxWait = 500 * time.Millisecond

// Observer follows the metadata log on a node without the controller role, by Kafka's
// own Fetch and FetchSnapshot (KIP-595, KIP-630), so that the controllers may be of
// either kind. It implements quorum.Log.
//
// It has what a voter keeps on disk and nothing of its elections: the Engine inside
// runs no raft. Its goroutine fetches, writes and delivers, one after the other.
type Observer struct {
	e *Engine
	o ObserverOptions

	// The goroutine's own.
	asked    int
	answered time.Time // when the leader last answered
	missing  bool      // the last attempt failed: ask the others too
}

var _ quorum.Log = (*Observer)(nil)

// OpenObserver reads epoch, snapshots and log. Nothing runs before Start.
func OpenObserver(o ObserverOptions) (*Observer, error) {
	e := &Engine{
		proposedVoters: -1, leading: kafka.NoEpoch, pendingSelf: kafka.NoEpoch, votersOffset: -1,
		stop: make(chan struct{}), done: make(chan struct{}), failed: make(chan struct{}), changed: make(chan struct{}),
		o: Options{NodeID: o.NodeID, DirectoryID: o.DirectoryID, FS: o.FS, Clock: o.Clock, Logger: o.Logger, Log: o.Log, Dir: o.Dir,
			ClusterID: o.ClusterID, StaticVoters: o.StaticVoters, RetentionBytes: o.RetentionBytes, RetentionMs: o.RetentionMs},
	}
	e.ctx, e.end = context.WithCancel(context.Background())
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
	if latest := max(o.Log.LatestEpoch(), e.latestSnapshot().Epoch); latest > e.state.LeaderEpoch {
		e.state = quorum.ElectionState{LeaderEpoch: latest, Leader: kafka.NoNode, VotedID: kafka.NoNode}
	}
	e.leader = quorum.LeaderAndEpoch{Leader: kafka.NoNode, Epoch: e.state.LeaderEpoch}
	e.store = &logStore{log: o.Log, snapshot: e.latestSnapshot, base: e.logBase()}
	e.highWatermark.Store(e.latestSnapshot().EndOffset)
	if len(e.voters) == 0 && len(o.BootstrapServers) == 0 {
		return nil, errors.New("no controller is known: set controller.quorum.voters or controller.quorum.bootstrap.servers")
	}
	return &Observer{e: e, o: o, answered: o.Clock.Now()}, nil
}

// Register, and what follows, are quorum.Log's.
func (ob *Observer) Register(l quorum.Listener) { ob.e.Register(l) }

// CreateSnapshot begins the snapshot of everything below id.EndOffset.
func (ob *Observer) CreateSnapshot(id storage.SnapshotID, lastAppendTimeMs int64) (*storage.SnapshotWriter, error) {
	return ob.e.CreateSnapshot(id, lastAppendTimeMs)
}

// SnapshotDone takes a complete snapshot into account.
func (ob *Observer) SnapshotDone(id storage.SnapshotID) { ob.e.SnapshotDone(id) }

// Leader says who leads.
func (ob *Observer) Leader() quorum.LeaderAndEpoch { return ob.e.Leader() }

// LeaderEndpoints says who leads and where its controller listeners are.
func (ob *Observer) LeaderEndpoints() (quorum.LeaderAndEpoch, []storage.Endpoint) {
	return ob.e.LeaderEndpoints()
}

// HighWatermark is the end of the committed log as far as this node has it.
func (ob *Observer) HighWatermark() kafka.Offset { return ob.e.HighWatermark() }

// KRaftVersion is the kraft.version in force.
func (ob *Observer) KRaftVersion() int16 { return ob.e.KRaftVersion() }

// Describe returns what this node knows of the quorum.
func (ob *Observer) Describe() quorum.Status { return ob.e.Describe() }

// Failed is closed when the observer stopped by itself.
func (ob *Observer) Failed() <-chan struct{} { return ob.e.Failed() }

// Err is why the observer stopped by itself, or nil.
func (ob *Observer) Err() error { return ob.e.Err() }

// Start begins to follow.
func (ob *Observer) Start() error {
	e := ob.e
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.started || e.closed {
		return errors.New("the observer was started or closed before")
	}
	e.started = true
	go ob.run()
	return nil
}

// Close stops the goroutine and ends the request that it waits for.
func (ob *Observer) Close() error {
	e := ob.e
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil
	}
	e.closed = true
	started := e.started
	e.mu.Unlock()
	e.end()
	if started {
		<-e.done
	}
	return nil
}

func (ob *Observer) run() {
	e := ob.e
	defer close(e.done)
	if err := e.begin(); err != nil {
		e.fail(err)
		return
	}
	for e.ctx.Err() == nil {
		pause, err := ob.round()
		if err != nil {
			e.fail(err)
			return
		}
		if pause > 0 && e.o.Clock.Sleep(e.ctx, pause) != nil {
			return
		}
	}
}

// round is one request and what follows from its answer. The error is one that this
// node cannot go on with; pause is how long to wait before the next round.
func (ob *Observer) round() (pause time.Duration, err error) {
	e := ob.e
	p, ok := ob.whom()
	if !ok {
		return ob.o.RetryBackoff, nil
	}
	req := ob.request()
	ctx, cancel := context.WithCancel(e.ctx)
	limit := e.o.Clock.AfterFunc(FetchMaxWait+ob.o.FetchTimeout, cancel)
	got, err := ob.o.Do(ctx, p, req)
	limit.Stop()
	cancel()
	if e.ctx.Err() != nil {
		return 0, nil
	}
	if err != nil {
		e.o.Logger.Debug("fetching the metadata log", "node", p.ID, "endpoint", fmt.Sprint(p.Endpoint), "error", err)
		ob.missing = true
		ob.lostLeader()
		return ob.o.RetryBackoff, nil
	}
	resp, ok := got.(*kmsg.FetchResponse)
	if !ok || resp.ErrorCode != 0 || len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		if ok && resp.ErrorCode != 0 {
			e.o.Logger.Warn("a controller refuses to serve the metadata log", "node", p.ID, "error", kafka.CodeForNum(resp.ErrorCode))
		}
		ob.missing = true
		ob.lostLeader()
		return ob.o.RetryBackoff, nil
	}
	return ob.handle(p, resp)
}

// lostLeader forgets the leader when it has not answered for long.
func (ob *Observer) lostLeader() {
	e := ob.e
	l := e.Leader()
	if l.Leader == kafka.NoNode || e.o.Clock.Since(ob.answered) < ob.o.FetchTimeout {
		return
	}
	l.Leader = kafka.NoNode
	ob.announce(l, nil)
}

// announce tells the listeners who leads.
func (ob *Observer) announce(l quorum.LeaderAndEpoch, endpoints []storage.Endpoint) {
	e := ob.e
	e.mu.Lock()
	same := e.leader == l
	e.leader, e.leaderAt = l, endpoints
	e.notify()
	e.mu.Unlock()
	if same {
		return
	}
	for _, li := range e.listeners {
		li.HandleLeaderChange(l)
	}
}

// whom says whom to ask: the leader, or after a failure each controller in turn.
func (ob *Observer) whom() (quorum.Peer, bool) {
	l, endpoints := ob.e.LeaderEndpoints()
	if at, ok := ob.endpoint(endpoints); ok && l.Leader != kafka.NoNode && !ob.missing {
		return quorum.Peer{ID: l.Leader, Endpoint: at}, true
	}
	ob.missing = false
	var all []quorum.Peer
	for _, v := range ob.e.Describe().VoterSet {
		if at, ok := ob.endpoint(v.Endpoints); ok {
			all = append(all, quorum.Peer{ID: v.ID, Endpoint: at})
		}
	}
	for _, at := range ob.o.BootstrapServers {
		all = append(all, quorum.Peer{ID: kafka.NoNode, Endpoint: at})
	}
	if len(all) == 0 {
		return quorum.Peer{}, false
	}
	ob.asked++
	return all[ob.asked%len(all)], true
}

// endpoint is the one of this node's controller listener.
func (ob *Observer) endpoint(all []storage.Endpoint) (storage.Endpoint, bool) {
	for _, at := range all {
		if at.Listener == ob.o.ListenerName {
			return at, true
		}
	}
	if len(all) > 0 {
		return all[0], true
	}
	return storage.Endpoint{}, false
}

// request asks for what follows the log's end.
func (ob *Observer) request() *kmsg.FetchRequest {
	e := ob.e
	req := kmsg.NewPtrFetchRequest()
	req.ClusterID = &ob.o.ClusterID
	req.ReplicaID, req.ReplicaState.ID = int32(ob.o.NodeID), int32(ob.o.NodeID)
	req.MaxWaitMillis = int32(FetchMaxWait / time.Millisecond)
	req.MaxBytes = int32(ob.o.FetchMaxBytes)
	if req.MaxBytes <= 0 {
		req.MaxBytes = 1 << 20
	}
	p := kmsg.NewFetchRequestTopicPartition()
	p.CurrentLeaderEpoch = e.Leader().Epoch
	p.FetchOffset = e.o.Log.LogEndOffset()
	p.LastFetchedEpoch = ob.lastEpoch()
	p.ReplicaDirectoryID = ob.o.DirectoryID
	p.HighWatermark = e.HighWatermark()
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID, t.Partitions = kafka.MetadataTopic, kafka.MetadataTopicID, []kmsg.FetchRequestTopicPartition{p}
	req.Topics = []kmsg.FetchRequestTopic{t}
	return req
}

// lastEpoch is the epoch of the last record that this node has.
func (ob *Observer) lastEpoch() kafka.LeaderEpoch {
	e := ob.e
	e.mu.Lock()
	defer e.mu.Unlock()
	return max(e.o.Log.LatestEpoch(), e.store.base.Epoch, 0)
}

// handle acts on an answer.
func (ob *Observer) handle(p quorum.Peer, resp *kmsg.FetchResponse) (time.Duration, error) {
	e := ob.e
	part := &resp.Topics[0].Partitions[0]
	said := quorum.LeaderAndEpoch{Leader: kafka.NodeID(part.CurrentLeader.LeaderID), Epoch: part.CurrentLeader.LeaderEpoch}
	var endpoints []storage.Endpoint
	for _, b := range resp.Brokers {
		if b.NodeID == part.CurrentLeader.LeaderID && b.Port > 0 && b.Port <= math.MaxUint16 {
			endpoints = append(endpoints, storage.Endpoint{Listener: ob.o.ListenerName, Host: b.Host, Port: uint16(b.Port)})
		}
	}
	if err := ob.learn(said, endpoints); err != nil {
		return 0, err
	}
	l := e.Leader()
	switch code := kafka.CodeForNum(part.ErrorCode); {
	case part.ErrorCode != 0:
		if !errors.Is(code, kafka.FencedLeaderEpoch) && !errors.Is(code, kafka.UnknownLeaderEpoch) && !errors.Is(code, kafka.NotLeaderOrFollower) {
			e.o.Logger.Warn("fetching the metadata log", "node", p.ID, "error", code)
		}
		ob.missing = l.Leader == kafka.NoNode || p.ID == l.Leader
		if ob.missing {
			ob.lostLeader()
		}
		return ob.o.RetryBackoff, nil
	case said != l || l.Leader == kafka.NoNode:
		return ob.o.RetryBackoff, nil // an answer of an earlier epoch
	}
	ob.answered, ob.missing = e.o.Clock.Now(), false
	switch {
	case part.DivergingEpoch.EndOffset >= 0 && part.DivergingEpoch.Epoch >= 0:
		return 0, ob.truncate(quorum.EpochEnd{Epoch: part.DivergingEpoch.Epoch, EndOffset: part.DivergingEpoch.EndOffset})
	case part.SnapshotID.EndOffset >= 0 && part.SnapshotID.Epoch >= 0:
		return ob.fetchSnapshot(p, storage.SnapshotID{EndOffset: part.SnapshotID.EndOffset, Epoch: part.SnapshotID.Epoch}, l.Epoch)
	}
	if err := ob.append(part.RecordBatches); err != nil {
		return 0, err
	}
	return 0, ob.advance(part.HighWatermark)
}

// learn takes over who leads, durably, unless it is older than what is known.
func (ob *Observer) learn(said quorum.LeaderAndEpoch, endpoints []storage.Endpoint) error {
	e := ob.e
	now := e.Leader()
	if said.Epoch < now.Epoch || said.Epoch == now.Epoch && (said.Leader == kafka.NoNode || said.Leader == now.Leader) {
		return nil
	}
	if said.Epoch != e.state.LeaderEpoch || said.Leader != e.state.Leader {
		if err := e.writeState(quorum.ElectionState{LeaderEpoch: said.Epoch, Leader: said.Leader, VotedID: kafka.NoNode}); err != nil {
			return err
		}
	}
	ob.answered = e.o.Clock.Now()
	ob.announce(said, endpoints)
	return nil
}

// truncate cuts off what the leader does not have (KIP-595): up to where the leader's
// log and this one last agree for all that is known here.
func (ob *Observer) truncate(d quorum.EpochEnd) error {
	e := ob.e
	to := min(d.EndOffset, e.o.Log.LogEndOffset())
	if epoch, end := e.o.Log.EndOffsetForEpoch(d.Epoch); epoch == d.Epoch {
		to = min(to, end)
	} else if epoch != kafka.NoEpoch {
		to = min(to, end)
	}
	if hw := e.HighWatermark(); to < hw {
		return kafka.CorruptMessage.Errorf("the leader's metadata log ends at %d in epoch %d; here it is committed up to %d", d.EndOffset, d.Epoch, hw)
	}
	e.o.Logger.Info("truncating the metadata log", "offset", to, "divergingEpoch", d.Epoch, "divergingEndOffset", d.EndOffset)
	if err := e.truncateTo(to); err != nil {
		return fmt.Errorf("truncating the metadata log to %d: %w", to, err)
	}
	return e.forgetVoters(to)
}

// fetchSnapshot fetches a snapshot and begins the log again behind it.
func (ob *Observer) fetchSnapshot(p quorum.Peer, id storage.SnapshotID, epoch kafka.LeaderEpoch) (time.Duration, error) {
	e := ob.e
	if id.EndOffset <= e.HighWatermark() {
		// This node has more than the leader offers: it is not the leader that it was.
		ob.missing = true
		return ob.o.RetryBackoff, nil
	}
	err := quorum.DownloadSnapshot(e.ctx, quorum.Download{
		FS: e.o.FS, Dir: e.o.Dir, Snapshot: id, LeaderEpoch: epoch, ClusterID: ob.o.ClusterID,
		Replica: quorum.Replica{ID: ob.o.NodeID, DirectoryID: ob.o.DirectoryID}, MaxBytes: ob.o.SnapshotMaxBytes,
		Do: func(ctx context.Context, req kmsg.Request) (kmsg.Response, error) { return ob.o.Do(ctx, p, req) },
	})
	if err != nil {
		e.o.Logger.Warn("a metadata snapshot could not be fetched", "snapshot", id.String(), "node", p.ID, "error", err)
		return ob.o.RetryBackoff, nil
	}
	return 0, e.installAt(id)
}

// append writes what came and syncs it.
func (ob *Observer) append(data []byte) error {
	e := ob.e
	infos, err := batch.Infos(data)
	if err != nil {
		e.o.Logger.Warn("damaged batches from the leader are fetched again", "error", err)
		return nil
	}
	end := e.o.Log.LogEndOffset()
	for i := range infos {
		if infos[i].BaseOffset != end || infos[i].LastOffset < end {
			e.o.Logger.Warn("batches that do not follow the log's end are fetched again", "offset", infos[i].BaseOffset, "logEndOffset", end)
			return nil
		}
		end = infos[i].LastOffset + 1
	}
	if len(infos) == 0 {
		return nil
	}
	data = data[:infos[len(infos)-1].End()] // the last batch may be cut off
	if err := e.appendVerbatim(data, infos, e.o.Clock.Now().UnixMilli()); err != nil {
		return fmt.Errorf("appending to the metadata log: %w", err)
	}
	if err := e.o.Log.FlushTo(end); err != nil {
		return fmt.Errorf("syncing the metadata log: %w", err)
	}
	return e.learnVoters(data, infos)
}

// advance delivers what is committed by the leader's word.
func (ob *Observer) advance(committed kafka.Offset) error {
	e := ob.e
	for upTo := min(committed, e.o.Log.LogEndOffset()); e.HighWatermark() < upTo; {
		data, err := readLog(e.o.Log, e.HighWatermark(), maxApplyBytes, upTo)
		if err != nil {
			return err
		}
		infos, err := batch.Infos(data)
		if err != nil {
			return fmt.Errorf("metadata log at offset %d: %w", e.HighWatermark(), err)
		}
		if len(infos) == 0 {
			return nil // the high watermark lies inside a batch
		}
		for _, info := range infos {
			decoded, err := storage.DecodeBatch(data[info.Pos:info.End()], info)
			if err != nil {
				return err
			}
			b := &quorum.Batch{SizeBytes: info.Size, Batch: metadata.Batch{
				BaseOffset: info.BaseOffset, LastOffset: info.LastOffset, Epoch: info.LeaderEpoch,
				TimestampMs: info.MaxTimestamp, Messages: decoded.Records}}
			if err := e.deliverBatch(b); err != nil {
				return err
			}
		}
	}
	return nil
}
