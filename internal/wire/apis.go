package wire

import "github.com/twmb/franz-go/pkg/kmsg"

// API is one row of the protocol's table of requests.
type API struct {
	Key  int16
	Name string
	// Broker and Controller say on which kind of listener Apache Kafka serves it.
	Broker, Controller bool
	// Min and Max are the versions of Apache Kafka 4.4. Max < Min means that it was
	// removed there.
	Min, Max int16
	// OldestMin and NewestMax are the versions that a handler may register, which the
	// codec must have: they reach back to the ranges that Apache Kafka 4.0 removed (KIP-896) and to the
	// requests of the ZooKeeper mode.
	OldestMin, NewestMax int16
	// Flexible is the first version with compact lengths and tagged fields
	// (KIP-482), -1 when there is none.
	Flexible int16
	// LatestVersionUnstable says that Max is announced only when
	// unstable.api.versions.enable is set.
	LatestVersionUnstable bool
}

// NumKeys is one past the highest public key, for tables indexed by key.
const NumKeys = 95

// RaftMessage is the private key under which controllers exchange the messages of
// the embedded quorum, on controller listeners only. It is never announced. Its
// header is not flexible and its body is not of kmsg.
const RaftMessage int16 = 32001

// IsFlexible says whether this version uses compact lengths and tagged fields.
func (a *API) IsFlexible(version int16) bool {
	return a.Flexible >= 0 && version >= a.Flexible
}

// LatestStable is the highest version to announce without unstable versions.
func (a *API) LatestStable() int16 {
	if a.LatestVersionUnstable {
		return a.Max - 1
	}
	return a.Max
}

// Lookup returns the row of a key, nil when the protocol has none.
func Lookup(key int16) *API {
	if key >= 0 && int(key) < len(apis) {
		return &apis[key]
	}
	if key == RaftMessage {
		return &raftMessage
	}
	return nil
}

// APIs returns the public rows in the order of their keys. The caller must not
// change them.
func APIs() []API { return apis[:] }

// Name returns the name of a key, or "Unknown".
func Name(key int16) string {
	if a := Lookup(key); a != nil {
		return a.Name
	}
	return "Unknown"
}

// NewRequest returns an empty request of this key, nil when the key has none.
func NewRequest(key int16) kmsg.Request { return kmsg.RequestForKey(key) }

var raftMessage = API{Key: RaftMessage, Name: "RaftMessage", Controller: true, OldestMin: 0, NewestMax: 0, Flexible: -1}

var apis = [NumKeys]API{
	0:  {Key: 0, Name: "Produce", Broker: true, Min: 3, Max: 13, OldestMin: 0, NewestMax: 13, Flexible: 9},
	1:  {Key: 1, Name: "Fetch", Broker: true, Controller: true, Min: 4, Max: 18, OldestMin: 0, NewestMax: 18, Flexible: 12},
	2:  {Key: 2, Name: "ListOffsets", Broker: true, Min: 1, Max: 11, OldestMin: 0, NewestMax: 11, Flexible: 6},
	3:  {Key: 3, Name: "Metadata", Broker: true, Min: 0, Max: 13, OldestMin: 0, NewestMax: 13, Flexible: 9},
	4:  {Key: 4, Name: "LeaderAndIsr", Broker: true, Min: 0, Max: -1, OldestMin: 0, NewestMax: 7, Flexible: 4},
	5:  {Key: 5, Name: "StopReplica", Broker: true, Min: 0, Max: -1, OldestMin: 0, NewestMax: 4, Flexible: 2},
	6:  {Key: 6, Name: "UpdateMetadata", Broker: true, Min: 0, Max: -1, OldestMin: 0, NewestMax: 8, Flexible: 6},
	7:  {Key: 7, Name: "ControlledShutdown", Broker: true, Min: 0, Max: -1, OldestMin: 0, NewestMax: 3, Flexible: 3},
	8:  {Key: 8, Name: "OffsetCommit", Broker: true, Min: 2, Max: 10, OldestMin: 0, NewestMax: 10, Flexible: 8},
	9:  {Key: 9, Name: "OffsetFetch", Broker: true, Min: 1, Max: 10, OldestMin: 0, NewestMax: 10, Flexible: 6},
	10: {Key: 10, Name: "FindCoordinator", Broker: true, Min: 0, Max: 6, OldestMin: 0, NewestMax: 6, Flexible: 3},
	11: {Key: 11, Name: "JoinGroup", Broker: true, Min: 0, Max: 9, OldestMin: 0, NewestMax: 9, Flexible: 6},
	12: {Key: 12, Name: "Heartbeat", Broker: true, Min: 0, Max: 4, OldestMin: 0, NewestMax: 4, Flexible: 4},
	13: {Key: 13, Name: "LeaveGroup", Broker: true, Min: 0, Max: 5, OldestMin: 0, NewestMax: 5, Flexible: 4},
	14: {Key: 14, Name: "SyncGroup", Broker: true, Min: 0, Max: 5, OldestMin: 0, NewestMax: 5, Flexible: 4},
	15: {Key: 15, Name: "DescribeGroups", Broker: true, Min: 0, Max: 6, OldestMin: 0, NewestMax: 6, Flexible: 5},
	16: {Key: 16, Name: "ListGroups", Broker: true, Min: 0, Max: 5, OldestMin: 0, NewestMax: 5, Flexible: 3},
	17: {Key: 17, Name: "SaslHandshake", Broker: true, Controller: true, Min: 0, Max: 1, OldestMin: 0, NewestMax: 1, Flexible: -1},
	18: {Key: 18, Name: "ApiVersions", Broker: true, Controller: true, Min: 0, Max: 5, OldestMin: 0, NewestMax: 5, Flexible: 3},
	19: {Key: 19, Name: "CreateTopics", Broker: true, Controller: true, Min: 2, Max: 7, OldestMin: 0, NewestMax: 7, Flexible: 5},
	20: {Key: 20, Name: "DeleteTopics", Broker: true, Controller: true, Min: 1, Max: 6, OldestMin: 0, NewestMax: 6, Flexible: 4},
	21: {Key: 21, Name: "DeleteRecords", Broker: true, Min: 0, Max: 2, OldestMin: 0, NewestMax: 2, Flexible: 2},
	22: {Key: 22, Name: "InitProducerId", Broker: true, Min: 0, Max: 6, OldestMin: 0, NewestMax: 5, Flexible: 2, LatestVersionUnstable: true},
	23: {Key: 23, Name: "OffsetForLeaderEpoch", Broker: true, Min: 2, Max: 4, OldestMin: 0, NewestMax: 4, Flexible: 4},
	24: {Key: 24, Name: "AddPartitionsToTxn", Broker: true, Min: 0, Max: 5, OldestMin: 0, NewestMax: 5, Flexible: 3},
	25: {Key: 25, Name: "AddOffsetsToTxn", Broker: true, Min: 0, Max: 4, OldestMin: 0, NewestMax: 4, Flexible: 3},
	26: {Key: 26, Name: "EndTxn", Broker: true, Min: 0, Max: 5, OldestMin: 0, NewestMax: 5, Flexible: 3},
	27: {Key: 27, Name: "WriteTxnMarkers", Broker: true, Min: 1, Max: 2, OldestMin: 0, NewestMax: 2, Flexible: 1},
	28: {Key: 28, Name: "TxnOffsetCommit", Broker: true, Min: 0, Max: 6, OldestMin: 0, NewestMax: 6, Flexible: 3},
	29: {Key: 29, Name: "DescribeAcls", Broker: true, Controller: true, Min: 1, Max: 3, OldestMin: 0, NewestMax: 3, Flexible: 2},
	30: {Key: 30, Name: "CreateAcls", Broker: true, Controller: true, Min: 1, Max: 3, OldestMin: 0, NewestMax: 3, Flexible: 2},
	31: {Key: 31, Name: "DeleteAcls", Broker: true, Controller: true, Min: 1, Max: 3, OldestMin: 0, NewestMax: 3, Flexible: 2},
	32: {Key: 32, Name: "DescribeConfigs", Broker: true, Controller: true, Min: 1, Max: 4, OldestMin: 0, NewestMax: 4, Flexible: 4},
	33: {Key: 33, Name: "AlterConfigs", Broker: true, Controller: true, Min: 0, Max: 2, OldestMin: 0, NewestMax: 2, Flexible: 2},
	34: {Key: 34, Name: "AlterReplicaLogDirs", Broker: true, Min: 1, Max: 2, OldestMin: 0, NewestMax: 2, Flexible: 2},
	35: {Key: 35, Name: "DescribeLogDirs", Broker: true, Min: 1, Max: 5, OldestMin: 0, NewestMax: 5, Flexible: 2},
	36: {Key: 36, Name: "SaslAuthenticate", Broker: true, Controller: true, Min: 0, Max: 2, OldestMin: 0, NewestMax: 2, Flexible: 2},
	37: {Key: 37, Name: "CreatePartitions", Broker: true, Controller: true, Min: 0, Max: 3, OldestMin: 0, NewestMax: 3, Flexible: 2},
	38: {Key: 38, Name: "CreateDelegationToken", Broker: true, Controller: true, Min: 1, Max: 3, OldestMin: 0, NewestMax: 3, Flexible: 2},
	39: {Key: 39, Name: "RenewDelegationToken", Broker: true, Controller: true, Min: 1, Max: 2, OldestMin: 0, NewestMax: 2, Flexible: 2},
	40: {Key: 40, Name: "ExpireDelegationToken", Broker: true, Controller: true, Min: 1, Max: 2, OldestMin: 0, NewestMax: 2, Flexible: 2},
	41: {Key: 41, Name: "DescribeDelegationToken", Broker: true, Controller: true, Min: 1, Max: 3, OldestMin: 0, NewestMax: 3, Flexible: 2},
	42: {Key: 42, Name: "DeleteGroups", Broker: true, Min: 0, Max: 3, OldestMin: 0, NewestMax: 3, Flexible: 2},
	43: {Key: 43, Name: "ElectLeaders", Broker: true, Controller: true, Min: 0, Max: 2, OldestMin: 0, NewestMax: 2, Flexible: 2},
	44: {Key: 44, Name: "IncrementalAlterConfigs", Broker: true, Controller: true, Min: 0, Max: 1, OldestMin: 0, NewestMax: 1, Flexible: 1},
	45: {Key: 45, Name: "AlterPartitionReassignments", Broker: true, Controller: true, Min: 0, Max: 1, OldestMin: 0, NewestMax: 1, Flexible: 0},
	46: {Key: 46, Name: "ListPartitionReassignments", Broker: true, Controller: true, Min: 0, Max: 0, OldestMin: 0, NewestMax: 0, Flexible: 0},
	47: {Key: 47, Name: "OffsetDelete", Broker: true, Min: 0, Max: 0, OldestMin: 0, NewestMax: 0, Flexible: -1},
	48: {Key: 48, Name: "DescribeClientQuotas", Broker: true, Min: 0, Max: 1, OldestMin: 0, NewestMax: 1, Flexible: 1},
	49: {Key: 49, Name: "AlterClientQuotas", Broker: true, Controller: true, Min: 0, Max: 1, OldestMin: 0, NewestMax: 1, Flexible: 1},
	50: {Key: 50, Name: "DescribeUserScramCredentials", Broker: true, Controller: true, Min: 0, Max: 0, OldestMin: 0, NewestMax: 0, Flexible: 0},
	51: {Key: 51, Name: "AlterUserScramCredentials", Broker: true, Controller: true, Min: 0, Max: 0, OldestMin: 0, NewestMax: 0, Flexible: 0},
	52: {Key: 52, Name: "Vote", Controller: true, Min: 0, Max: 2, OldestMin: 0, NewestMax: 2, Flexible: 0},
	53: {Key: 53, Name: "BeginQuorumEpoch", Controller: true, Min: 0, Max: 1, OldestMin: 0, NewestMax: 1, Flexible: 1},
	54: {Key: 54, Name: "EndQuorumEpoch", Controller: true, Min: 0, Max: 1, OldestMin: 0, NewestMax: 1, Flexible: 1},
	55: {Key: 55, Name: "DescribeQuorum", Broker: true, Controller: true, Min: 0, Max: 2, OldestMin: 0, NewestMax: 2, Flexible: 0},
	56: {Key: 56, Name: "AlterPartition", Controller: true, Min: 2, Max: 3, OldestMin: 2, NewestMax: 3, Flexible: 0},
	57: {Key: 57, Name: "UpdateFeatures", Broker: true, Controller: true, Min: 0, Max: 2, OldestMin: 0, NewestMax: 2, Flexible: 0},
	58: {Key: 58, Name: "Envelope", Controller: true, Min: 0, Max: 0, OldestMin: 0, NewestMax: 0, Flexible: 0},
	59: {Key: 59, Name: "FetchSnapshot", Controller: true, Min: 0, Max: 1, OldestMin: 0, NewestMax: 1, Flexible: 0},
	60: {Key: 60, Name: "DescribeCluster", Broker: true, Controller: true, Min: 0, Max: 2, OldestMin: 0, NewestMax: 2, Flexible: 0},
	61: {Key: 61, Name: "DescribeProducers", Broker: true, Min: 0, Max: 0, OldestMin: 0, NewestMax: 0, Flexible: 0},
	62: {Key: 62, Name: "BrokerRegistration", Controller: true, Min: 0, Max: 4, OldestMin: 0, NewestMax: 4, Flexible: 0},
	63: {Key: 63, Name: "BrokerHeartbeat", Controller: true, Min: 0, Max: 2, OldestMin: 0, NewestMax: 2, Flexible: 0},
	64: {Key: 64, Name: "UnregisterBroker", Broker: true, Controller: true, Min: 0, Max: 0, OldestMin: 0, NewestMax: 0, Flexible: 0},
	65: {Key: 65, Name: "DescribeTransactions", Broker: true, Min: 0, Max: 0, OldestMin: 0, NewestMax: 0, Flexible: 0},
	66: {Key: 66, Name: "ListTransactions", Broker: true, Min: 0, Max: 2, OldestMin: 0, NewestMax: 2, Flexible: 0},
	67: {Key: 67, Name: "AllocateProducerIds", Controller: true, Min: 0, Max: 0, OldestMin: 0, NewestMax: 0, Flexible: 0},
	68: {Key: 68, Name: "ConsumerGroupHeartbeat", Broker: true, Min: 0, Max: 1, OldestMin: 0, NewestMax: 1, Flexible: 0},
	69: {Key: 69, Name: "ConsumerGroupDescribe", Broker: true, Min: 0, Max: 1, OldestMin: 0, NewestMax: 1, Flexible: 0},
	70: {Key: 70, Name: "ControllerRegistration", Controller: true, Min: 0, Max: 0, OldestMin: 0, NewestMax: 0, Flexible: 0},
	71: {Key: 71, Name: "GetTelemetrySubscriptions", Broker: true, Min: 0, Max: 0, OldestMin: 0, NewestMax: 0, Flexible: 0},
	72: {Key: 72, Name: "PushTelemetry", Broker: true, Min: 0, Max: 0, OldestMin: 0, NewestMax: 0, Flexible: 0},
	73: {Key: 73, Name: "AssignReplicasToDirs", Controller: true, Min: 0, Max: 0, OldestMin: 0, NewestMax: 0, Flexible: 0},
	74: {Key: 74, Name: "ListConfigResources", Broker: true, Min: 0, Max: 1, OldestMin: 0, NewestMax: 1, Flexible: 0},
	75: {Key: 75, Name: "DescribeTopicPartitions", Broker: true, Min: 0, Max: 0, OldestMin: 0, NewestMax: 0, Flexible: 0},
	76: {Key: 76, Name: "ShareGroupHeartbeat", Broker: true, Min: 1, Max: 1, OldestMin: 1, NewestMax: 1, Flexible: 0},
	77: {Key: 77, Name: "ShareGroupDescribe", Broker: true, Min: 1, Max: 1, OldestMin: 1, NewestMax: 1, Flexible: 0},
	78: {Key: 78, Name: "ShareFetch", Broker: true, Min: 1, Max: 2, OldestMin: 1, NewestMax: 2, Flexible: 0},
	79: {Key: 79, Name: "ShareAcknowledge", Broker: true, Min: 1, Max: 2, OldestMin: 1, NewestMax: 2, Flexible: 0},
	80: {Key: 80, Name: "AddRaftVoter", Broker: true, Controller: true, Min: 0, Max: 1, OldestMin: 0, NewestMax: 1, Flexible: 0},
	81: {Key: 81, Name: "RemoveRaftVoter", Broker: true, Controller: true, Min: 0, Max: 0, OldestMin: 0, NewestMax: 0, Flexible: 0},
	82: {Key: 82, Name: "UpdateRaftVoter", Controller: true, Min: 0, Max: 0, OldestMin: 0, NewestMax: 0, Flexible: 0},
	83: {Key: 83, Name: "InitializeShareGroupState", Broker: true, Min: 0, Max: 0, OldestMin: 0, NewestMax: 0, Flexible: 0},
	84: {Key: 84, Name: "ReadShareGroupState", Broker: true, Min: 0, Max: 0, OldestMin: 0, NewestMax: 0, Flexible: 0},
	85: {Key: 85, Name: "WriteShareGroupState", Broker: true, Min: 0, Max: 1, OldestMin: 0, NewestMax: 1, Flexible: 0},
	86: {Key: 86, Name: "DeleteShareGroupState", Broker: true, Min: 0, Max: 0, OldestMin: 0, NewestMax: 0, Flexible: 0},
	87: {Key: 87, Name: "ReadShareGroupStateSummary", Broker: true, Min: 0, Max: 1, OldestMin: 0, NewestMax: 1, Flexible: 0},
	88: {Key: 88, Name: "StreamsGroupHeartbeat", Broker: true, Min: 0, Max: 1, OldestMin: 0, NewestMax: 1, Flexible: 0},
	89: {Key: 89, Name: "StreamsGroupDescribe", Broker: true, Min: 0, Max: 1, OldestMin: 0, NewestMax: 1, Flexible: 0},
	90: {Key: 90, Name: "DescribeShareGroupOffsets", Broker: true, Min: 0, Max: 1, OldestMin: 0, NewestMax: 1, Flexible: 0},
	91: {Key: 91, Name: "AlterShareGroupOffsets", Broker: true, Min: 0, Max: 0, OldestMin: 0, NewestMax: 0, Flexible: 0},
	92: {Key: 92, Name: "DeleteShareGroupOffsets", Broker: true, Min: 0, Max: 0, OldestMin: 0, NewestMax: 0, Flexible: 0},
	93: {Key: 93, Name: "StreamsGroupTopologyDescriptionUpdate", Broker: true, Min: 0, Max: 0, OldestMin: 0, NewestMax: 0, Flexible: 0},
	94: {Key: 94, Name: "UnregisterController", Broker: true, Controller: true, Min: 0, Max: 0, OldestMin: 0, NewestMax: 0, Flexible: 0},
}
