package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/gregorhq/gregor/internal/brokerapi"
	"github.com/gregorhq/gregor/internal/cleaner"
	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/controllerapi"
	"github.com/gregorhq/gregor/internal/group"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log"
	"github.com/gregorhq/gregor/internal/monitor"
	"github.com/gregorhq/gregor/internal/netx"
	"github.com/gregorhq/gregor/internal/publish"
	"github.com/gregorhq/gregor/internal/quorum"
	"github.com/gregorhq/gregor/internal/quorum/raft"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/replica"
	"github.com/gregorhq/gregor/internal/rpc"
	"github.com/gregorhq/gregor/internal/rsm"
	"github.com/gregorhq/gregor/internal/server"
	"github.com/gregorhq/gregor/internal/txn"
	"github.com/gregorhq/gregor/internal/vfs"
)

// Deps are what a node takes from the outside world.
type Deps struct {
	FS     vfs.FS
	Net    netx.Net
	Clock  clock.Clock
	Logger *slog.Logger
	// LogLevel is the level that Logger obeys, so that it can be changed from outside;
	// nil if it cannot.
	LogLevel *slog.LevelVar
}

// Node is one process of a cluster.
type Node struct {
	deps   Deps
	static *config.Broker
	// config is the static configuration with the dynamic one on top.
	config atomic.Pointer[config.Broker]
	log    *slog.Logger

	wheel *clock.Wheel
	logs  *log.Manager
	// meta is the metadata log as this node has it; with the controller role it is
	// engine.
	meta       quorum.Log
	engine     *raft.Engine    // nil without the controller role
	controller *rsm.Controller // nil without the controller role
	transport  *raft.RPC
	channels   channels
	deaths     *deathwatch // nil without the controller role
	peers      peers
	loader     *publish.Loader
	snapshots  *publish.Snapshots
	replicas   *replica.Manager // nil without the broker role
	// The coordinators, nil without the broker role.
	groups       *rsm.Coordinator[*group.Machine]
	transactions *rsm.Coordinator[*txn.Machine]
	server       *server.Server
	broker       *brokerapi.API
	ctlAPI       *controllerapi.API
	lifecycle    *lifecycle       // nil without the broker role
	cleaner      *cleaner.Cleaner // nil without the broker role
	scrubbing    *scrubbing       // nil until the broker starts; n.mu guards the field
	scheduler    *scheduler
	// monitor serves metrics and health, nil without gregor.http.listener. What it counts
	// that nobody else does follows.
	monitor     *monitor.Server
	quorumStats interface{ Stats() raft.Stats }
	raftTraffic rpc.Traffic
	elections   *monitor.Elections // nil without the controller role

	// bootstrap are the records of bootstrap.checkpoint.
	bootstrap []records.Message
	// incarnation tells this run of the process from the one before.
	incarnation kafka.UUID
	// stopping ends when the node begins to stop.
	stopping context.Context
	cancel   context.CancelCauseFunc

	mu      sync.Mutex
	offline []offlineDir // directories that failed before build; guarded by mu
	built   bool         // guarded by mu
	started bool         // guarded by mu
	drained bool         // guarded by mu
	closed  bool         // guarded by mu
	failure error        // guarded by mu
	done    chan struct{}
}

// Open prepares a node whose directories are formatted. It takes their locks and
// binds the listeners; after an error nothing is left open.
func Open(ctx context.Context, cfg *config.Broker, d Deps) (*Node, error) {
	n := &Node{deps: d, static: cfg, log: d.Logger, incarnation: kafka.NewUUID(), done: make(chan struct{})}
	n.config.Store(cfg)
	n.stopping, n.cancel = context.WithCancelCause(context.Background())
	if err := n.checkRoles(); err != nil {
		return nil, err
	}
	if err := n.prepare(ctx); err != nil {
		n.abandon()
		return nil, err
	}
	return n, nil
}

// prepare takes directories and listeners and builds the rest.
func (n *Node) prepare(ctx context.Context) error {
	n.wheel = clock.NewWheel(n.deps.Clock)
	n.newDoors()
	if err := n.openLogs(ctx); err != nil {
		return err
	}
	if n.is(roleBroker) {
		n.newPartitions()
	}
	if err := n.listen(ctx); err != nil {
		return err
	}
	if err := n.openQuorum(); err != nil {
		return err
	}
	if err := n.readBootstrap(); err != nil {
		return err
	}
	n.build()
	return n.openMonitor(ctx)
}

// abandon gives up what Open took, as if the process had died.
func (n *Node) abandon() {
	if n.monitor != nil {
		n.monitor.Close()
	}
	if n.server != nil {
		_ = n.server.Close() // nothing was served
	}
	if n.logs != nil {
		n.logs.Abort()
	}
}

// Log is the log of a partition on this node, nil when it has none: for those who
// compare what replicas hold.
func (n *Node) Log(tp kafka.TopicPartition) *log.Log { return n.logs.Get(tp) }

// Start runs the node and returns once it is ready: clients of a broker can connect
// and find its partitions led.
func (n *Node) Start(ctx context.Context) error {
	n.mu.Lock()
	if n.started || n.closed {
		n.mu.Unlock()
		return errors.New("the node was started or closed before")
	}
	n.started = true
	n.mu.Unlock()
	ctx, cancel := n.until(ctx)
	defer cancel()
	n.logStarting()
	if n.monitor != nil {
		n.monitor.Serve()
	}
	n.wheel.Start()
	n.loader.Start()
	if n.controller != nil {
		n.controller.Start()
	}
	if err := n.meta.Start(); err != nil {
		return err
	}
	go n.watch()
	if n.is(roleController) {
		if err := n.server.Serve(n.listenerNames(true)...); err != nil {
			return fmt.Errorf("serving the controller listeners: %w", err)
		}
	}
	n.scheduler.start()
	if n.is(roleBroker) {
		if err := n.startBroker(ctx); err != nil {
			return n.orFailure(err)
		}
	}
	if n.is(roleController) {
		if err := n.registerController(ctx); err != nil {
			return n.orFailure(err)
		}
	}
	n.logStarted()
	return nil
}

// startBroker registers the broker, serves its listeners, and has it unfenced.
func (n *Node) startBroker(ctx context.Context) error {
	n.lifecycle.start()
	if err := n.lifecycle.waitCaughtUp(ctx); err != nil {
		return err
	}
	n.cleaner.Start()
	n.startScrubbing()
	if err := n.server.Serve(n.listenerNames(false)...); err != nil {
		return fmt.Errorf("serving the listeners: %w", err)
	}
	return n.lifecycle.unfence(ctx)
}

// until is ctx that ends with the node too.
func (n *Node) until(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(n.stopping, func() { cancel(context.Cause(n.stopping)) })
	return ctx, func() { stop(); cancel(nil) }
}

// orFailure is why the node stopped by itself, if it did, else err.
func (n *Node) orFailure(err error) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.failure != nil {
		return n.failure
	}
	return err
}

// watch ends the node when the quorum cannot go on.
func (n *Node) watch() {
	select {
	case <-n.meta.Failed():
		n.fail(fmt.Errorf("the metadata log failed: %w", n.meta.Err()))
	case <-n.stopping.Done():
	}
}

// fail notes why the node cannot go on; who owns it sees Done and closes it.
func (n *Node) fail(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.failure != nil || n.closed {
		return
	}
	n.failure = err
	n.log.Error("the node cannot go on", "error", err)
	close(n.done)
	n.cancel(err)
}

// Done is closed when the node has failed by itself and must be closed.
func (n *Node) Done() <-chan struct{} { return n.done }

// Err is why the node failed by itself, or nil.
func (n *Node) Err() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.failure
}

// ClusterID is the id of the cluster that the directories belong to.
func (n *Node) ClusterID() string { return n.logs.ClusterID() }

// Addr is the address that a listener is bound to, "" for an unknown one.
func (n *Node) Addr(listener string) string {
	if l := n.server.Listener(listener); l != nil && l.BoundAddr() != nil {
		return l.BoundAddr().String()
	}
	return ""
}
