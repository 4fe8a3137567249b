package controller

import (
	"math/rand"

	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Config is what a controller is told by its node. It never changes.
type Config struct {
	NodeID    int32
	ClusterID string
	// Static is the node's configuration; topic defaults come from it.
	Static *config.Broker
	// QuorumNodes are the ids of the controllers that the static configuration
	// names; nil with a dynamic quorum.
	QuorumNodes []int32
	// Bootstrap are the records that the first controller of a cluster writes: the
	// content of bootstrap.checkpoint. Nil means the defaults of
	// metadata.DefaultVersion.
	Bootstrap []records.Message
	// LocalIncarnation is the incarnation id of the broker in this very process,
	// zero when there is none. Whoever registers node NodeID with it replaces the
	// incarnation before at once, as that one cannot live any more.
	LocalIncarnation kafka.UUID
	// CreateTopicPolicy and AlterConfigPolicy may refuse what users ask for
	// (KIP-108, KIP-133); nil allows everything. Their error's text reaches the
	// user, with code PolicyViolation unless the error carries another.
	CreateTopicPolicy func(TopicPolicyRequest) error
	AlterConfigPolicy func(metadata.ConfigResource, map[string]*string) error
}

// TopicPolicyRequest is what a policy for new topics sees. With an Assignment the
// counts are not set.
type TopicPolicyRequest struct {
	Topic             string
	NumPartitions     *int32
	ReplicationFactor *int16
	Assignment        map[int32][]int32
	Configs           map[string]string
}

// Input is the situation that a decision is made in.
type Input struct {
	// Image is the speculative image: committed state and all that was proposed.
	Image *metadata.Image
	// NowMs is a clock in milliseconds that is never set, from any zero.
	NowMs int64
	// NextOffset is the offset that the first record of the result will get, or a
	// lower bound for it that is above every offset in Image. Broker epochs are
	// made from it.
	NextOffset kafka.Offset
	// KRaftVersion is the kraft.version that the quorum has finalised.
	KRaftVersion int16
}

// Result is the outcome of one decision.
type Result struct {
	// Records are to be appended to the metadata log, and applied to the
	// speculative image at once.
	Records []records.Message
	// Reply is to be sent when they are committed; nil for Tick and Activate.
	Reply kmsg.Response
	// Atomic says that the records must become visible together: they go into
	// one batch, or into a metadata transaction when one batch is too small.
	Atomic bool
	// UpgradeKRaftVersion, when above 0, is the kraft.version that the quorum must
	// finalise before Reply is sent; if it cannot, Reply is to be the quorum's error.
	UpgradeKRaftVersion int16
}

// Machine is the controller during one term of leadership.
type Machine struct {
	cfg      Config
	rng      *rand.Rand
	sessions sessions
	defaults topicDefaults // of the last decision that needed them

	nextBalanceMs int64 // when preferred leaders are looked after again
	nextUncleanMs int64 // when leaderless partitions are looked after again
}

// New returns a Machine that has not heard of any broker yet.
func New(cfg Config, rng *rand.Rand) *Machine {
	return &Machine{cfg: cfg, rng: rng, sessions: newSessions(cfg.Static.BrokerSessionTimeoutMs)}
}

// Handles says whether Handle knows the api key.
func Handles(apiKey int16) bool {
	switch kmsg.Key(apiKey) {
	case kmsg.CreateTopics, kmsg.DeleteTopics, kmsg.CreatePartitions,
		kmsg.AlterConfigs, kmsg.IncrementalAlterConfigs, kmsg.UpdateFeatures,
		kmsg.BrokerRegistration, kmsg.BrokerHeartbeat, kmsg.UnregisterBroker,
		kmsg.ControllerRegistration, kmsg.UnregisterController,
		kmsg.AllocateProducerIDs, kmsg.ElectLeaders, kmsg.AlterPartition, kmsg.AssignReplicasToDirs,
		kmsg.AlterPartitionAssignments, kmsg.ListPartitionReassignments:
		return true
	}
	return false
}

// Handle decides a request. Failures of what was asked are in the reply; the
// error is UnsupportedVersion for an api key that Handles denies.
func (m *Machine) Handle(in Input, req kmsg.Request) (Result, error) {
	d := m.decide(in)
	if !Handles(req.Key()) {
		return Result{}, kafka.UnsupportedVersion.Errorf("the controller does not know api key %d", req.Key())
	}
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	if d.version == 0 {
		return Result{Reply: fail(req, resp, errNoVersion())}, nil
	}
	switch r := req.(type) {
	case *kmsg.CreateTopicsRequest:
		return d.createTopics(r, resp.(*kmsg.CreateTopicsResponse)), nil
	case *kmsg.DeleteTopicsRequest:
		return d.deleteTopics(r, resp.(*kmsg.DeleteTopicsResponse)), nil
	case *kmsg.CreatePartitionsRequest:
		return d.createPartitions(r, resp.(*kmsg.CreatePartitionsResponse)), nil
	case *kmsg.AlterConfigsRequest:
		return d.alterConfigs(r, resp.(*kmsg.AlterConfigsResponse)), nil
	case *kmsg.IncrementalAlterConfigsRequest:
		return d.incrementalAlterConfigs(r, resp.(*kmsg.IncrementalAlterConfigsResponse)), nil
	case *kmsg.UpdateFeaturesRequest:
		return d.updateFeatures(r, resp.(*kmsg.UpdateFeaturesResponse)), nil
	case *kmsg.AllocateProducerIDsRequest:
		return d.allocateProducerIDs(r, resp.(*kmsg.AllocateProducerIDsResponse)), nil
	}
	return d.handleReplicas(req, resp), nil
}

// handleReplicas decides the requests about where replicas are and who leads.
func (d *decision) handleReplicas(req kmsg.Request, resp kmsg.Response) Result {
	switch r := req.(type) {
	case *kmsg.ElectLeadersRequest:
		return d.electLeaders(r, resp.(*kmsg.ElectLeadersResponse))
	case *kmsg.AlterPartitionRequest:
		return d.alterPartition(r, resp.(*kmsg.AlterPartitionResponse))
	case *kmsg.AlterPartitionAssignmentsRequest:
		return d.alterReassignments(r, resp.(*kmsg.AlterPartitionAssignmentsResponse))
	case *kmsg.ListPartitionReassignmentsRequest:
		return d.listReassignments(r, resp.(*kmsg.ListPartitionReassignmentsResponse))
	case *kmsg.AssignReplicasToDirsRequest:
		return d.assignReplicasToDirs(r, resp.(*kmsg.AssignReplicasToDirsResponse))
	}
	return d.handleNode(req, resp)
}

// handleNode decides the requests about brokers and controllers themselves.
func (d *decision) handleNode(req kmsg.Request, resp kmsg.Response) Result {
	switch r := req.(type) {
	case *kmsg.BrokerRegistrationRequest:
		return d.registerBroker(r, resp.(*kmsg.BrokerRegistrationResponse))
	case *kmsg.BrokerHeartbeatRequest:
		return d.heartbeat(r, resp.(*kmsg.BrokerHeartbeatResponse))
	case *kmsg.UnregisterBrokerRequest:
		return d.unregisterBroker(r, resp.(*kmsg.UnregisterBrokerResponse))
	case *kmsg.ControllerRegistrationRequest:
		return d.registerController(r, resp.(*kmsg.ControllerRegistrationResponse))
	case *kmsg.UnregisterControllerRequest:
		return d.unregisterController(r, resp.(*kmsg.UnregisterControllerResponse))
	}
	return Result{Reply: resp}
}
