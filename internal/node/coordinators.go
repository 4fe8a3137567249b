package node

import (
	"crypto/rand"
	"fmt"
	"time"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/brokerapi"
	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/group"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log4j"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/publish"
	"github.com/gregorhq/gregor/internal/replica"
	"github.com/gregorhq/gregor/internal/rsm"
	"github.com/gregorhq/gregor/internal/txn"
)

// groups hands images to the group coordinator, after the replica manager has acted on
// them; transactions does the same for the transaction coordinator.
type (
	groups struct {
		c *rsm.Coordinator[*group.Machine]
	}
	transactions struct {
		c *rsm.Coordinator[*txn.Machine]
	}
)

func (groups) Name() string       { return "GroupCoordinator" }
func (transactions) Name() string { return "TransactionCoordinator" }

func (p groups) Publish(u publish.Update)       { p.c.Apply(u.Delta, u.New) }
func (p transactions) Publish(u publish.Update) { p.c.Apply(u.Delta, u.New) }

// newPartitions makes what holds and coordinates partitions. It comes before the
// listeners, whose tables of handlers depend on which coordinators there are.
func (n *Node) newPartitions() {
	cfg := n.static
	n.replicas = replica.New(replica.Options{
		NodeID: cfg.NodeID, Logs: n.logs, Clock: n.deps.Clock, Wheel: n.wheel, Config: cfg, Cluster: n.cluster(),
		Logger: log4j.Named(n.log, "kafka.server.ReplicaManager", fmt.Sprintf("ReplicaManager broker=%d", cfg.NodeID)),
	})
	b := n.broker
	b.Replicas = n.replicas
	n.groups = n.newGroups()
	b.Groups, b.TxnGroups = n.groups, brokerapi.NewTxnGroups(n.groups)
	t := b.TransactionConfig()
	t.Logger = log4j.Named(n.log, "kafka.coordinator.transaction.TransactionCoordinator", fmt.Sprintf("TransactionCoordinator id=%d", cfg.NodeID))
	n.transactions = rsm.NewCoordinator(t)
	b.Transactions = n.transactions
	n.cleaner = n.newCleaner()
}

// newGroups makes the group coordinator. Its shards come with the first image.
func (n *Node) newGroups() *rsm.Coordinator[*group.Machine] {
	cfg := n.static
	return rsm.NewCoordinator(rsm.CoordinatorConfig[*group.Machine]{
		Topic: kafka.OffsetsTopic, NodeID: cfg.NodeID, Replicas: n.replicas, Clock: n.deps.Clock, Wheel: n.wheel,
		Logger:         log4j.Named(n.log, "org.apache.kafka.coordinator.group.GroupCoordinatorService", fmt.Sprintf("GroupCoordinator id=%d", cfg.NodeID)),
		Notes:          log4j.Named(n.log, "org.apache.kafka.coordinator.group.GroupMetadataManager", fmt.Sprintf("GroupCoordinator id=%d", cfg.NodeID)),
		New:            func(int32) *group.Machine { return group.New(n.groupConfig(n.config.Load())) },
		Image:          n.groupsImage,
		CommitTimeout:  time.Duration(cfg.OffsetsCommitTimeoutMs) * time.Millisecond,
		LoadBufferSize: cfg.OffsetsLoadBufferSize,
		Codec:          batch.Codec(cfg.OffsetsTopicCompressionCodec),
	})
}

// groupsImage tells a machine of a new image: the configuration may have changed, and the
// offsets of deleted topics are removed. Those that were deleted while nobody coordinated
// the partition are found once, in the first image that has this run of the broker: what
// the log holds was committed under images that are not newer.
func (n *Node) groupsImage(m *group.Machine, delta *metadata.Delta, img *metadata.Image, _ int64) coord.Outcome {
	m.Configure(n.groupConfig(n.config.Load()))
	var o coord.Outcome
	if b := img.Broker(int32(n.static.NodeID)); b != nil && b.IncarnationID == n.incarnation {
		o = m.RemoveOrphans(img)
	}
	if delta == nil {
		return o
	}
	var deleted map[string]kafka.TopicID
	for t := range delta.DeletedTopics() {
		if deleted == nil {
			deleted = map[string]kafka.TopicID{}
		}
		deleted[t.Name] = t.ID
	}
	if deleted == nil {
		return o
	}
	gone := m.TopicsDeleted(deleted)
	gone.Records = append(o.Records, gone.Records...) // what is in both is removed twice
	return gone
}

// groupConfig is what the machine of a partition works with.
func (n *Node) groupConfig(cfg *config.Broker) group.Config {
	c := group.Config{
		GroupMaxSize:            cfg.GroupMaxSize,
		InitialRebalanceDelayMs: cfg.GroupInitialRebalanceDelayMs,
		MinSessionTimeoutMs:     int32(cfg.GroupMinSessionTimeoutMs),
		MaxSessionTimeoutMs:     int32(cfg.GroupMaxSessionTimeoutMs),
		OffsetMetadataMaxBytes:  cfg.OffsetMetadataMaxBytes,
		OffsetsRetentionMs:      cfg.OffsetsRetentionMinutes * time.Minute.Milliseconds(),
		OffsetsRetentionCheckMs: cfg.OffsetsRetentionCheckIntervalMs,

		ConsumerGroupMaxSize:         cfg.GroupConsumerMaxSize,
		ConsumerAssignors:            cfg.GroupConsumerAssignors,
		ConsumerRegexRefreshMs:       cfg.GroupConsumerRegexRefreshIntervalMs,
		ConsumerSessionTimeoutMs:     int32(cfg.GroupConsumerSessionTimeoutMs),
		ConsumerHeartbeatIntervalMs:  int32(cfg.GroupConsumerHeartbeatIntervalMs),
		ConsumerAssignmentIntervalMs: int32(cfg.GroupConsumerAssignmentIntervalMs),

		ConsumerSessionTimeouts:     group.Range{Min: cfg.GroupConsumerMinSessionTimeoutMs, Max: cfg.GroupConsumerMaxSessionTimeoutMs},
		ConsumerHeartbeatIntervals:  group.Range{Min: cfg.GroupConsumerMinHeartbeatIntervalMs, Max: cfg.GroupConsumerMaxHeartbeatIntervalMs},
		ConsumerAssignmentIntervals: group.Range{Min: cfg.GroupConsumerMinAssignmentIntervalMs, Max: cfg.GroupConsumerMaxAssignmentIntervalMs},

		Image:  n.newestImage,
		Random: randomBytes,
		GroupConfig: func(id string) map[string]string {
			return n.newestImage().Config(metadata.ConfigResource{Type: metadata.ResourceGroup, Name: id})
		},
	}
	// The configuration was validated: the name is one of those that are known.
	c.ConsumerMigrationPolicy, _ = group.ParseMigrationPolicy(cfg.GroupConsumerMigrationPolicy)
	return c
}

// newestImage is the newest image that this broker's partitions follow. The group
// coordinator is told of a step of the metadata before the step is published: a commit
// that comes behind the deletion of a topic must not find the topic any more.
func (n *Node) newestImage() *metadata.Image {
	img := n.loader.Current()
	if newer := n.replicas.Image(); newer != nil && newer.Offset > img.Offset {
		return newer
	}
	return img
}

func randomBytes() (b [16]byte) {
	_, _ = rand.Read(b[:]) // crypto/rand does not fail
	return b
}
