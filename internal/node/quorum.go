package node

import (
	"fmt"
	"time"

	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/log"
	"github.com/gregorhq/gregor/internal/log4j"
	"github.com/gregorhq/gregor/internal/quorum/raft"
	"github.com/gregorhq/gregor/internal/storage"
)

// Pauses between attempts to reach another controller: an election must not wait for
// them.
const (
	quorumBackoff    = 20 * time.Millisecond
	maxQuorumBackoff = 200 * time.Millisecond
)

// openQuorum opens the metadata log and what keeps it: the engine of a voter on a node
// with the controller role, an observer on others.
func (n *Node) openQuorum() error {
	l, dir, err := n.openMetadataLog()
	if err != nil {
		return err
	}
	if n.is(roleController) {
		err = n.openEngine(l, dir)
	} else {
		err = n.openObserver(l, dir)
	}
	if err != nil {
		return fmt.Errorf("opening the metadata quorum in %s: %w", dir, err)
	}
	return nil
}

// openEngine makes this node a voter, or one that may become a voter.
func (n *Node) openEngine(l *log.Log, dir string) error {
	cfg := n.static
	own, err := n.endpoints(true)
	if err != nil {
		return err
	}
	election := millis(cfg.ControllerQuorumElectionTimeoutMs)
	// Messages are answered at once; requests may be held by the leader.
	n.newTransport(2*election, forwardingTimeout)
	n.engine, err = raft.Open(raft.Options{
		Transport: n.transport, ClusterID: n.logs.ClusterID(), Seed: seed(n.incarnation),
		BootstrapServers: bootstrapServers(cfg), AutoJoin: cfg.ControllerQuorumAutoJoinEnable,
		SnapshotMaxBytes: cfg.ControllerQuorumFetchSnapshotMaxBytes,
		NodeID:           cfg.NodeID, DirectoryID: n.metadataDirectoryID(),
		FS: n.deps.FS, Clock: n.deps.Clock,
		Logger: log4j.Named(n.log, "org.apache.kafka.raft.KafkaRaftClient", fmt.Sprintf("RaftManager id=%d", cfg.NodeID)),
		Log:    l, Dir: dir, StaticVoters: staticVoters(cfg), LocalEndpoints: voterEndpoints(own),
		ElectionTimeout:    election,
		ElectionBackoffMax: millis(cfg.ControllerQuorumElectionBackoffMaxMs),
		RetentionBytes:     cfg.MetadataMaxRetentionBytes,
		RetentionMs:        cfg.MetadataMaxRetentionMs,
	})
	n.meta, n.quorumStats = n.engine, n.engine
	return err
}

// openObserver makes this node one that follows the controllers' log.
func (n *Node) openObserver(l *log.Log, dir string) error {
	cfg := n.static
	fetch := millis(cfg.ControllerQuorumFetchTimeoutMs)
	// A leader that is silent for longer than it may hold a fetch has no connection to
	// this node any more.
	patience := fetch + raft.FetchMaxWait
	n.newTransport(patience, patience)
	ob, err := raft.OpenObserver(raft.ObserverOptions{
		NodeID: cfg.NodeID, DirectoryID: n.metadataDirectoryID(), ClusterID: n.logs.ClusterID(),
		FS: n.deps.FS, Clock: n.deps.Clock,
		Logger: log4j.Named(n.log, "org.apache.kafka.raft.KafkaRaftClient", fmt.Sprintf("RaftManager id=%d", cfg.NodeID)),
		Log:    l, Dir: dir, StaticVoters: staticVoters(cfg), BootstrapServers: bootstrapServers(cfg),
		ListenerName:   cfg.ControllerListenerNames[0],
		RetentionBytes: cfg.MetadataMaxRetentionBytes, RetentionMs: cfg.MetadataMaxRetentionMs,
		FetchTimeout: fetch, RetryBackoff: millis(cfg.ControllerQuorumRetryBackoffMs),
		FetchMaxBytes: cfg.ControllerQuorumFetchMaxBytes, SnapshotMaxBytes: cfg.ControllerQuorumFetchSnapshotMaxBytes,
		Do: n.transport.Do,
	})
	if err != nil {
		return err
	}
	n.meta, n.quorumStats = ob, ob
	return nil
}

// newTransport makes the way to the controllers. A peer that leaves messages or requests
// without an answer for that long is taken to have lost its connection.
func (n *Node) newTransport(messages, requests time.Duration) {
	o := n.rpcOptions("org.apache.kafka.raft.KafkaNetworkChannel", "raft")
	o.Traffic = &n.raftTraffic
	o.Backoff, o.MaxBackoff, o.ConnectTimeout, o.RequestTimeout = quorumBackoff, maxQuorumBackoff, messages, messages
	r := o
	r.RequestTimeout = requests
	n.transport = raft.NewRPC(o, r)
}

// staticVoters is controller.quorum.voters.
func staticVoters(cfg *config.Broker) storage.VoterSet {
	var out storage.VoterSet
	for _, v := range cfg.Voters {
		out = append(out, storage.Voter{ID: v.ID, Endpoints: []storage.Endpoint{
			{Listener: cfg.ControllerListenerNames[0], Host: v.Address.Host, Port: uint16(v.Address.Port)}}})
	}
	return out
}

// bootstrapServers is controller.quorum.bootstrap.servers.
func bootstrapServers(cfg *config.Broker) []storage.Endpoint {
	var out []storage.Endpoint
	for _, s := range cfg.BootstrapServers {
		out = append(out, storage.Endpoint{Listener: cfg.ControllerListenerNames[0], Host: s.Host, Port: uint16(s.Port)})
	}
	return out
}

// closeQuorum stops the engine or observer. A leader that is not aborted hands over
// first.
func (n *Node) closeQuorum(abort bool) error {
	if abort && n.engine != nil {
		return n.engine.Abort()
	}
	return n.meta.Close()
}

func millis(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond }
