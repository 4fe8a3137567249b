package node

import (
	"errors"
	"fmt"
	"time"

	"github.com/gregorhq/gregor/internal/brokerapi"
	"github.com/gregorhq/gregor/internal/controller"
	"github.com/gregorhq/gregor/internal/controllerapi"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log4j"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/monitor"
	"github.com/gregorhq/gregor/internal/publish"
	"github.com/gregorhq/gregor/internal/rsm"
	"github.com/gregorhq/gregor/internal/storage"
)

// build connects the parts that own no files.
func (n *Node) build() {
	cfg := n.static
	n.snapshots = publish.NewSnapshots(n.meta, n.deps.Clock,
		log4j.Named(n.log, "org.apache.kafka.image.publisher.SnapshotGenerator", fmt.Sprintf("SnapshotGenerator id=%d", cfg.NodeID)),
		cfg.MetadataLogMaxRecordBytesBetweenSnapshots, time.Duration(cfg.MetadataLogMaxSnapshotIntervalMs)*time.Millisecond)
	publishers := []publish.Publisher{dynamicConfig{n}}
	if n.replicas != nil {
		publishers = append(publishers, &cordon{n: n})
		// Coordinators follow the partitions that they live in.
		publishers = append(publishers, replicas{n.replicas}, groups{n.groups}, transactions{n.transactions})
	}
	if n.is(roleController) {
		n.deaths = newDeathwatch(n)
		n.elections = monitor.NewElections(cfg.NodeID)
		publishers = append(publishers, n.deaths, n.elections, lateRegistration{n})
	}
	publishers = append(publishers, n.snapshots)
	n.loader = publish.New(
		log4j.Named(n.log, "org.apache.kafka.image.loader.MetadataLoader", fmt.Sprintf("MetadataLoader id=%d", cfg.NodeID)),
		n.fail, publishers...)
	if n.is(roleController) {
		n.controller = n.newController()
		// The controller comes first: when a broker sees a change in its image, the
		// controller has it in its own.
		n.meta.Register(n.controller)
	}
	n.meta.Register(n.loader)
	n.meta.Register(leaderNews{n})
	n.newChannels()
	if n.is(roleBroker) {
		n.lifecycle = newLifecycle(n)
		// An image from before this run may lack what others have decided since.
		n.loader.Gate = n.registeredIn
	}
	n.scheduler = newScheduler(n)
	n.connectDoors()
	n.mu.Lock()
	n.built = true
	offline := n.offline
	n.mu.Unlock()
	for _, d := range offline {
		n.handleOffline(d)
	}
}

// newController makes this node's controller, a stand-by until the quorum elects it.
func (n *Node) newController() *rsm.Controller {
	cfg := n.static
	return rsm.New(rsm.Config{
		Machine: n.machineConfig(), Engine: n.engine, Clock: n.deps.Clock,
		Logger:          log4j.Named(n.log, "org.apache.kafka.controller.QuorumController", fmt.Sprintf("QuorumController id=%d", cfg.NodeID)),
		Seed:            seed(n.incarnation),
		MaxIdleInterval: time.Duration(cfg.MetadataMaxIdleIntervalMs) * time.Millisecond,
		OnFatal:         n.fail,
	})
}

// registeredIn says whether an image has this run of the broker.
func (n *Node) registeredIn(img *metadata.Image) bool {
	b := img.Broker(int32(n.static.NodeID))
	return b != nil && b.IncarnationID == n.incarnation
}

// machineConfig is what the controller is told. The bootstrap records are read by
// checkBootstrap before.
func (n *Node) machineConfig() controller.Config {
	cfg := n.static
	m := controller.Config{NodeID: int32(cfg.NodeID), ClusterID: n.logs.ClusterID(), Static: cfg, Bootstrap: n.bootstrap}
	for _, v := range cfg.Voters {
		m.QuorumNodes = append(m.QuorumNodes, int32(v.ID))
	}
	if n.is(roleBroker) {
		m.LocalIncarnation = n.incarnation
	}
	return m
}

// readBootstrap reads the records that a new cluster begins with.
func (n *Node) readBootstrap() error {
	var err error
	n.bootstrap, err = storage.ReadBootstrap(n.deps.FS, n.static.MetadataLogDir)
	return err
}

// newDoors makes the handlers' surroundings, as far as the tables of handlers need
// them. connectDoors completes them before anything is served.
func (n *Node) newDoors() {
	cfg := n.static
	n.broker = &brokerapi.API{
		NodeID: cfg.NodeID, Clock: n.deps.Clock, Wheel: n.wheel, FS: n.deps.FS,
		Config: n.config.Load, LogLevel: n.deps.LogLevel,
		Log: log4j.Named(n.log, "kafka.server.KafkaApis", fmt.Sprintf("KafkaApi-%d", cfg.NodeID)),
	}
	n.ctlAPI = &controllerapi.API{
		NodeID: cfg.NodeID, Stopping: n.stopping, Config: n.config.Load,
		RequestTimeout: time.Duration(cfg.RequestTimeoutMs) * time.Millisecond,
		Log:            log4j.Named(n.log, "kafka.server.ControllerApis", fmt.Sprintf("ControllerApis nodeId=%d", cfg.NodeID)),
	}
}

// connectDoors gives the handlers what they work with.
func (n *Node) connectDoors() {
	b := n.broker
	b.ClusterID = n.logs.ClusterID()
	b.Image, b.WaitFor = n.loader.Current, n.loader.WaitFor
	b.Controller = n.channels.forwarding
	b.Quorum = n.meta
	n.peers.n = n
	b.Peers = n.peers.get
	c := n.ctlAPI
	c.ClusterID = n.logs.ClusterID()
	if n.is(roleController) {
		c.Controller, c.Quorum = n.controller, n.engine
	}
	c.Image, c.Leader, c.KRaftVersion = n.loader.Current, n.meta.Leader, n.meta.KRaftVersion
}

// seed makes a seed of an id that differs in every run.
func seed(id kafka.UUID) int64 {
	var s int64
	for _, b := range id[:8] {
		s = s<<8 | int64(b)
	}
	return s
}

var errStopping = errors.New("the node is stopping")
