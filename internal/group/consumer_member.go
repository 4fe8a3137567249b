package group

import (
	"bytes"
	"maps"
	"slices"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/records"
)

// memberState is where a member stands between its current and its target assignment.
// The numbers are those of the log.
type memberState int8

const (
	memberStable     memberState = 0   // it has what the target of its epoch says
	memberUnrevoked  memberState = 1   // it has to give up partitions before it may go on
	memberUnreleased memberState = 2   // it waits for partitions that others have not given up
	memberUnknown    memberState = 127 // written by a later version
)

// Member epochs with a meaning.
const (
	leaveEpoch       = -1 // the member leaves
	leaveStaticEpoch = -2 // a static member leaves and will be back
)

// partitions are the partitions of an assignment by topic; the slices are sorted.
type partitions map[kafka.TopicID][]int32

func (p partitions) has(id kafka.TopicID, partition int32) bool {
	_, found := slices.BinarySearch(p[id], partition)
	return found
}

func (p partitions) equal(q partitions) bool {
	return maps.EqualFunc(p, q, func(a, b []int32) bool { return slices.Equal(a, b) })
}

// topicIDs returns the topics in the order of their ids.
func (p partitions) topicIDs() []kafka.TopicID { return sortedIDs(p) }

func sortedIDs[V any](m map[kafka.TopicID]V) []kafka.TopicID {
	return slices.SortedFunc(maps.Keys(m), compareIDs)
}

func compareIDs(a, b kafka.TopicID) int { return bytes.Compare(a[:], b[:]) }

// owned are partitions by topic, with the epoch at which each was assigned: a commit from
// an older epoch is refused.
type owned map[kafka.TopicID]map[int32]int32

func (o owned) epoch(id kafka.TopicID, partition int32) (int32, bool) {
	e, ok := o[id][partition]
	return e, ok
}

func (o owned) put(id kafka.TopicID, partition, epoch int32) {
	if o[id] == nil {
		o[id] = map[int32]int32{}
	}
	o[id][partition] = epoch
}

func (o owned) equal(p owned) bool {
	return maps.EqualFunc(o, p, func(a, b map[int32]int32) bool { return maps.Equal(a, b) })
}

// partitions forgets the epochs.
func (o owned) partitions() partitions {
	p := make(partitions, len(o))
	for id, parts := range o {
		p[id] = slices.Sorted(maps.Keys(parts))
	}
	return p
}

// consumerMember is one member of a consumer group. It does not change: an update makes
// a new one.
type consumerMember struct {
	id                 string
	instanceID, rackID *string
	clientID           string
	clientHost         string
	topics             []string // subscribed names, sorted
	regex              string   // subscribed expression, "" for none
	rebalanceTimeoutMs int32
	assignor           *string
	// classic is set while the member uses the classic protocol.
	classic *records.ConsumerGroupClassicMember

	epoch, previousEpoch int32
	state                memberState
	assigned, revoking   owned
}

func newConsumerMember(id string) *consumerMember {
	return &consumerMember{id: id, rebalanceTimeoutMs: -1}
}

// held are the partitions that the member has, with those that it has yet to give up.
func (c *consumerMember) held() partitions {
	all := owned{}
	for _, o := range []owned{c.assigned, c.revoking} {
		for id, parts := range o {
			for p, epoch := range parts {
				all.put(id, p, epoch)
			}
		}
	}
	return all.partitions()
}

// reconciledTo says that the member has reached the target of the epoch.
func (c *consumerMember) reconciledTo(epoch int32) bool {
	return c.state == memberStable && c.epoch == epoch
}

// sameMetadata says that what the member says of itself is the same.
func (c *consumerMember) sameMetadata(d *consumerMember) bool {
	return c.id == d.id && equalStrings(c.instanceID, d.instanceID) && equalStrings(c.rackID, d.rackID) &&
		c.clientID == d.clientID && c.clientHost == d.clientHost && slices.Equal(c.topics, d.topics) &&
		c.regex == d.regex && c.rebalanceTimeoutMs == d.rebalanceTimeoutMs && equalStrings(c.assignor, d.assignor) &&
		sameClassic(c.classic, d.classic)
}

func (c *consumerMember) sameAssignment(d *consumerMember) bool {
	return c.epoch == d.epoch && c.previousEpoch == d.previousEpoch && c.state == d.state &&
		c.assigned.equal(d.assigned) && c.revoking.equal(d.revoking)
}

func sameClassic(a, b *records.ConsumerGroupClassicMember) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.SessionTimeoutMs == b.SessionTimeoutMs && slices.EqualFunc(a.SupportedProtocols, b.SupportedProtocols,
		func(x, y records.ConsumerGroupClassicProtocol) bool {
			return x.Name == y.Name && bytes.Equal(x.Metadata, y.Metadata)
		})
}

func equalStrings(a, b *string) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// withEpoch returns a copy that has moved to an epoch.
func (c *consumerMember) withEpoch(epoch int32) *consumerMember {
	d := *c
	d.previousEpoch, d.epoch = c.epoch, epoch
	return &d
}

// metadataRecord is the record of what the member says of itself.
func (c *consumerMember) metadataRecord(group string) coord.Record {
	v := &records.ConsumerGroupMemberMetadataValue{
		InstanceID: c.instanceID, RackID: c.rackID, ClientID: c.clientID, ClientHost: c.clientHost,
		SubscribedTopicNames: c.topics, SubscribedTopicRegex: &c.regex, RebalanceTimeoutMs: c.rebalanceTimeoutMs,
		ServerAssignor: c.assignor, ClassicMemberMetadata: c.classic,
	}
	return coord.Record{Key: memberKey(group, c.id), Value: records.EncodeCoordinatorValue(v)}
}

// currentRecord is the record of what the member owns.
func (c *consumerMember) currentRecord(group string) coord.Record {
	v := &records.ConsumerGroupCurrentMemberAssignmentValue{
		MemberEpoch: c.epoch, PreviousMemberEpoch: c.previousEpoch, State: int8(c.state),
		AssignedPartitions: ownedRecord(c.assigned), PartitionsPendingRevocation: ownedRecord(c.revoking),
	}
	return coord.Record{Key: currentKey(group, c.id), Value: records.EncodeCoordinatorValue(v)}
}

func ownedRecord(o owned) []records.ConsumerGroupCurrentPartitions {
	var all []records.ConsumerGroupCurrentPartitions
	for _, id := range sortedIDs(o) {
		r := records.ConsumerGroupCurrentPartitions{TopicID: id, Partitions: slices.Sorted(maps.Keys(o[id]))}
		for _, p := range r.Partitions {
			r.AssignmentEpochs = append(r.AssignmentEpochs, o[id][p])
		}
		all = append(all, r)
	}
	return all
}

// ownedFrom reads partitions. Records of brokers that did not note assignment epochs
// count from the epoch given.
func ownedFrom(all []records.ConsumerGroupCurrentPartitions, epoch int32) owned {
	o := owned{}
	for _, r := range all {
		for i, p := range r.Partitions {
			e := epoch
			if len(r.AssignmentEpochs) == len(r.Partitions) {
				e = r.AssignmentEpochs[i]
			}
			o.put(r.TopicID, p, e)
		}
	}
	return o
}

func targetRecord(group, member string, p partitions) coord.Record {
	v := &records.ConsumerGroupTargetAssignmentMemberValue{}
	for _, id := range p.topicIDs() {
		v.TopicPartitions = append(v.TopicPartitions, records.ConsumerGroupTargetPartitions{TopicID: id, Partitions: p[id]})
	}
	return coord.Record{Key: targetKey(group, member), Value: records.EncodeCoordinatorValue(v)}
}

func memberKey(group, member string) []byte {
	return records.EncodeCoordinatorKey(&records.ConsumerGroupMemberMetadataKey{GroupID: group, MemberID: member})
}

func currentKey(group, member string) []byte {
	return records.EncodeCoordinatorKey(&records.ConsumerGroupCurrentMemberAssignmentKey{GroupID: group, MemberID: member})
}

func targetKey(group, member string) []byte {
	return records.EncodeCoordinatorKey(&records.ConsumerGroupTargetAssignmentMemberKey{GroupID: group, MemberID: member})
}

func regexKey(group, regex string) []byte {
	return records.EncodeCoordinatorKey(&records.ConsumerGroupRegularExpressionKey{GroupID: group, RegularExpression: regex})
}

func epochKey(group string) []byte {
	return records.EncodeCoordinatorKey(&records.ConsumerGroupMetadataKey{GroupID: group})
}

func epochRecord(group string, epoch int32, hash int64) coord.Record {
	return coord.Record{Key: epochKey(group), Value: records.EncodeCoordinatorValue(&records.ConsumerGroupMetadataValue{Epoch: epoch, MetadataHash: hash})}
}

func targetEpochKey(group string) []byte {
	return records.EncodeCoordinatorKey(&records.ConsumerGroupTargetAssignmentMetadataKey{GroupID: group})
}

func targetMetadataRecord(group string, epoch int32, ms int64) coord.Record {
	return coord.Record{Key: targetEpochKey(group), Value: records.EncodeCoordinatorValue(
		&records.ConsumerGroupTargetAssignmentMetadataValue{AssignmentEpoch: epoch, AssignmentTimestamp: ms})}
}

func subscriptionKey(group string) []byte {
	return records.EncodeCoordinatorKey(&records.ConsumerGroupPartitionMetadataKey{GroupID: group})
}

// removalRecords are the tombstones of one member.
func removalRecords(group, member string) []coord.Record {
	return []coord.Record{{Key: currentKey(group, member)}, {Key: targetKey(group, member)}, {Key: memberKey(group, member)}}
}

// topicPartition is a partition by topic id.
type topicPartition struct {
	id        kafka.TopicID
	partition int32
}
