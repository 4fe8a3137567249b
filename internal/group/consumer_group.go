package group

import (
	"maps"
	"slices"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/records"
)

// consumerGroup is one group of the consumer protocol (KIP-848). Only Replay changes it,
// but for the deadline of its view of the topics.
//
// Invariants: owner holds exactly the partitions that members have assigned or have yet
// to revoke, and no partition twice; topicCounts and regexCounts count the members'
// subscriptions.
type consumerGroup struct {
	id      string
	epoch   int32
	hash    int64 // of the subscribed topics at that epoch
	members map[string]*consumerMember
	static  map[string]string // instance id to member id

	target      map[string]partitions // by member id
	targetEpoch int32
	targetMs    int64

	owner       map[topicPartition]string
	topicCounts map[string]int // members that subscribe to a topic by name
	regexCounts map[string]int
	resolved    map[string]*resolvedRegex

	// hasTopicsRecord says that the log holds the topics in the form of brokers before
	// KIP-1101; the record is removed when the hash is written.
	hasTopicsRecord bool

	// refreshMs is when the topics are looked at again; refreshEpoch is the epoch that it
	// was set with: a group that did not get there looks again at once.
	refreshMs    int64
	refreshEpoch int32
	// seen and regexSeen are the metadata offsets of the images that the topics, and the
	// expressions, were last compared with. The images themselves would stay in memory for
	// as long as a group that nobody is in keeps its offsets.
	seen, regexSeen kafka.Offset
	// rebalanceEpoch is the epoch that a member's rebalance timer was set in.
	rebalanceEpoch map[string]int32
	// joinTimers are the epochs in which classic members were told to join again.
	joinTimers map[string]int32
}

// resolvedRegex is what an expression stood for when it was resolved.
type resolvedRegex struct {
	topics  []string // sorted
	version int64    // metadata offset
	ms      int64
}

// firstEpoch is that of a group that nobody has joined yet, as of its target assignment.
// It is one that a member may have, so a member that joins before there is a new target
// assignment can be told the epoch of the one that is.
const firstEpoch int32 = 1

// noImage is below the offset of every image, the empty one included.
const noImage kafka.Offset = -2

func newConsumerGroup(id string) *consumerGroup {
	return &consumerGroup{
		id: id, epoch: firstEpoch, targetEpoch: firstEpoch,
		members:     map[string]*consumerMember{},
		static:      map[string]string{},
		target:      map[string]partitions{},
		owner:       map[topicPartition]string{},
		topicCounts: map[string]int{},
		regexCounts: map[string]int{},
		resolved:    map[string]*resolvedRegex{},
		seen:        noImage, regexSeen: noImage,

		rebalanceEpoch: map[string]int32{},
		joinTimers:     map[string]int32{},
	}
}

func (g *consumerGroup) groupID() string  { return g.id }
func (g *consumerGroup) kind() string     { return "consumer" }
func (g *consumerGroup) protocol() string { return consumerProtocol }
func (g *consumerGroup) isEmpty() bool    { return len(g.members) == 0 }

func (g *consumerGroup) stateName() string {
	switch {
	case len(g.members) == 0:
		return "Empty"
	case g.epoch > g.targetEpoch:
		return "Assigning"
	}
	for _, c := range g.members {
		if !c.reconciledTo(g.targetEpoch) {
			return "Reconciling"
		}
	}
	return "Stable"
}

func (g *consumerGroup) memberIDs() []string { return slices.Sorted(maps.Keys(g.members)) }

// member returns a member of the group.
func (g *consumerGroup) member(id string) (*consumerMember, error) {
	if c := g.members[id]; c != nil {
		return c, nil
	}
	return nil, kafka.UnknownMemberID.Errorf("Member %s is not a member of group %s.", id, g.id)
}

// staticMember returns the member that has the instance id, or nil.
func (g *consumerGroup) staticMember(instanceID *string) *consumerMember {
	if instanceID == nil {
		return nil
	}
	return g.members[g.static[*instanceID]]
}

// targetOf is the target of a member, or of the member whose instance id it takes over.
func (g *consumerGroup) targetOf(c *consumerMember) partitions {
	if t, ok := g.target[c.id]; ok {
		return t
	}
	if old := g.staticMember(c.instanceID); old != nil {
		return g.target[old.id]
	}
	return nil
}

func (g *consumerGroup) validateCommit(c commitSource) (partitionCheck, error) {
	if c.epoch < 0 && len(g.members) == 0 {
		return nil, nil
	}
	if c.txn && c.epoch == noGeneration && c.memberID == "" && c.instanceID == nil {
		return nil, nil
	}
	member, err := g.member(c.memberID)
	if err != nil {
		return nil, err
	}
	if !c.txn && member.classic == nil && c.version < 9 {
		return nil, kafka.UnsupportedVersion.Errorf("members of the consumer protocol commit with version 9 or above, not %d", c.version)
	}
	if c.epoch == member.epoch {
		return nil, nil
	}
	if c.epoch > member.epoch {
		return nil, member.stale("commit of epoch %d, member %s has %d", c.epoch, member.id, member.epoch)
	}
	// An older epoch may commit what it has owned since then (KIP-1251).
	return func(topic string, id kafka.TopicID, partition int32) error {
		since, ok := member.assigned.epoch(id, partition)
		if !ok {
			since, ok = member.revoking.epoch(id, partition)
		}
		if !ok {
			return member.stale("partition %s-%d is not assigned to member %s", topic, partition, member.id)
		}
		if c.epoch < since {
			return member.stale("commit of epoch %d, %s-%d is assigned since epoch %d", c.epoch, topic, partition, since)
		}
		return nil
	}, nil
}

// stale is the error for a wrong epoch, in the words of the member's protocol.
func (c *consumerMember) stale(format string, args ...any) error {
	if c.classic != nil {
		return kafka.IllegalGeneration.Errorf(format, args...)
	}
	return kafka.StaleMemberEpoch.Errorf(format, args...)
}

func (g *consumerGroup) validateFetch(memberID *string, epoch int32) error {
	if memberID == nil && epoch < 0 {
		return nil
	}
	id := ""
	if memberID != nil {
		id = *memberID
	}
	c, err := g.member(id)
	if err != nil {
		return err
	}
	if c.epoch != epoch {
		return c.stale("fetch of epoch %d, member %s has %d", epoch, c.id, c.epoch)
	}
	return nil
}

func (g *consumerGroup) validateOffsetDelete() error { return nil }

func (g *consumerGroup) validateDelete() error {
	if len(g.members) > 0 {
		return kafka.NonEmptyGroup.Errorf("group %s has members", g.id)
	}
	return nil
}

func (g *consumerGroup) subscribedTo(topic string) bool {
	if g.topicCounts[topic] > 0 {
		return true
	}
	for regex := range g.regexCounts {
		if r := g.resolved[regex]; r != nil && slices.Contains(r.topics, topic) {
			return true
		}
	}
	return false
}

func (g *consumerGroup) expiresSince(o *offset) (int64, bool) { return o.commitTimestamp, true }

func (g *consumerGroup) tombstones() []coord.Record { return g.tombstonesWith("", "") }

// tombstonesWith names joining wherever leaving would stand: the records of leaving are
// removed already by the operation that lets joining take its place.
func (g *consumerGroup) tombstonesWith(leaving, joining string) []coord.Record {
	ids := g.memberIDs()
	for i, id := range ids {
		if id == leaving {
			ids[i] = joining
		}
	}
	var all []coord.Record
	for _, id := range ids {
		all = append(all, coord.Record{Key: currentKey(g.id, id)})
	}
	for _, id := range ids {
		all = append(all, coord.Record{Key: targetKey(g.id, id)})
	}
	all = append(all, coord.Record{Key: targetEpochKey(g.id)})
	for _, id := range ids {
		all = append(all, coord.Record{Key: memberKey(g.id, id)})
	}
	for _, regex := range slices.Sorted(maps.Keys(g.resolved)) {
		all = append(all, coord.Record{Key: regexKey(g.id, regex)})
	}
	return append(all, coord.Record{Key: subscriptionKey(g.id)}, coord.Record{Key: epochKey(g.id)})
}

func (g *consumerGroup) timerKeys() []string {
	var keys []string
	for _, id := range g.memberIDs() {
		keys = append(keys, memberTimerKeys(g.id, id)...)
	}
	return keys
}

func memberTimerKeys(group, member string) []string {
	return []string{timerKey(keySession, group, member), timerKey(keyRebalance, group, member),
		timerKey(keyConsumerJoin, group, member), timerKey(keyConsumerSync, group, member)}
}

// setMember replaces a member in the group and in what is derived from the members.
func (g *consumerGroup) setMember(id string, c *consumerMember) {
	if old := g.members[id]; old != nil {
		g.countMember(old, -1)
		for _, o := range []owned{old.assigned, old.revoking} {
			for topic, parts := range o {
				for p := range parts {
					if tp := (topicPartition{topic, p}); g.owner[tp] == id {
						delete(g.owner, tp)
					}
				}
			}
		}
		if old.instanceID != nil && g.static[*old.instanceID] == id {
			delete(g.static, *old.instanceID)
		}
		delete(g.members, id)
	}
	if c == nil {
		delete(g.rebalanceEpoch, id)
		delete(g.joinTimers, id)
		return
	}
	g.members[id] = c
	g.countMember(c, 1)
	for _, o := range []owned{c.assigned, c.revoking} {
		for topic, parts := range o {
			for p := range parts {
				g.owner[topicPartition{topic, p}] = id
			}
		}
	}
	if c.instanceID != nil {
		g.static[*c.instanceID] = id
	}
}

func (g *consumerGroup) countMember(c *consumerMember, n int) {
	for _, t := range c.topics {
		addCount(g.topicCounts, t, n)
	}
	if c.regex != "" {
		addCount(g.regexCounts, c.regex, n)
	}
}

func addCount(counts map[string]int, key string, n int) {
	if counts[key] += n; counts[key] <= 0 {
		delete(counts, key)
	}
}

// replayConsumer applies one record of a consumer group. A tombstone for a group that is
// not there, or is not a consumer group any more, changes nothing.
func (m *Machine) replayConsumer(key, value records.Message) error {
	id := consumerGroupOf(key)
	if id == "" {
		return nil
	}
	g, ok := m.groups[id].(*consumerGroup)
	if !ok {
		if value == nil {
			return nil
		}
		if _, isClassic := m.groups[id].(*classicGroup); isClassic && m.loaded {
			return nil // written on the way to that classic group
		}
		g = newConsumerGroup(id)
		m.groups[id] = g
	}
	g.replay(key, value)
	if _, isEpoch := key.(*records.ConsumerGroupMetadataKey); isEpoch && value == nil {
		m.removeGroup(id)
	}
	return nil
}

func consumerGroupOf(key records.Message) string {
	switch k := key.(type) {
	case *records.ConsumerGroupMetadataKey:
		return k.GroupID
	case *records.ConsumerGroupPartitionMetadataKey:
		return k.GroupID
	case *records.ConsumerGroupMemberMetadataKey:
		return k.GroupID
	case *records.ConsumerGroupTargetAssignmentMetadataKey:
		return k.GroupID
	case *records.ConsumerGroupTargetAssignmentMemberKey:
		return k.GroupID
	case *records.ConsumerGroupCurrentMemberAssignmentKey:
		return k.GroupID
	case *records.ConsumerGroupRegularExpressionKey:
		return k.GroupID
	}
	return ""
}

func (g *consumerGroup) replay(key, value records.Message) {
	switch k := key.(type) {
	case *records.ConsumerGroupMetadataKey:
		if v, ok := value.(*records.ConsumerGroupMetadataValue); ok {
			g.epoch, g.hash = v.Epoch, v.MetadataHash
		}
	case *records.ConsumerGroupPartitionMetadataKey:
		g.hasTopicsRecord = value != nil
	case *records.ConsumerGroupMemberMetadataKey:
		g.replayMember(k.MemberID, value)
	case *records.ConsumerGroupTargetAssignmentMetadataKey:
		g.targetEpoch, g.targetMs = firstEpoch, 0
		if v, ok := value.(*records.ConsumerGroupTargetAssignmentMetadataValue); ok {
			g.targetEpoch, g.targetMs = v.AssignmentEpoch, v.AssignmentTimestamp
		}
	case *records.ConsumerGroupTargetAssignmentMemberKey:
		delete(g.target, k.MemberID)
		if v, ok := value.(*records.ConsumerGroupTargetAssignmentMemberValue); ok {
			p := partitions{}
			for _, t := range v.TopicPartitions {
				p[t.TopicID] = slices.Sorted(slices.Values(t.Partitions))
			}
			g.target[k.MemberID] = p
		}
	case *records.ConsumerGroupCurrentMemberAssignmentKey:
		g.replayCurrent(k.MemberID, value)
	case *records.ConsumerGroupRegularExpressionKey:
		delete(g.resolved, k.RegularExpression)
		if v, ok := value.(*records.ConsumerGroupRegularExpressionValue); ok {
			g.resolved[k.RegularExpression] = &resolvedRegex{topics: slices.Sorted(slices.Values(v.Topics)), version: v.MetadataVersion, ms: v.Timestamp}
		}
	}
}

func (g *consumerGroup) replayMember(id string, value records.Message) {
	v, ok := value.(*records.ConsumerGroupMemberMetadataValue)
	if !ok {
		g.setMember(id, nil)
		return
	}
	c := *newConsumerMember(id)
	if old := g.members[id]; old != nil {
		c = *old
	}
	c.instanceID, c.rackID, c.clientID, c.clientHost = v.InstanceID, v.RackID, v.ClientID, v.ClientHost
	c.topics, c.regex = slices.Sorted(slices.Values(v.SubscribedTopicNames)), ""
	if v.SubscribedTopicRegex != nil {
		c.regex = *v.SubscribedTopicRegex
	}
	c.rebalanceTimeoutMs, c.assignor, c.classic = v.RebalanceTimeoutMs, v.ServerAssignor, v.ClassicMemberMetadata
	g.setMember(id, &c)
}

func (g *consumerGroup) replayCurrent(id string, value records.Message) {
	old := g.members[id]
	v, ok := value.(*records.ConsumerGroupCurrentMemberAssignmentValue)
	if !ok {
		if old != nil {
			c := *old
			c.epoch, c.previousEpoch, c.state, c.assigned, c.revoking = leaveEpoch, leaveEpoch, memberStable, nil, nil
			g.setMember(id, &c)
		}
		return
	}
	c := *newConsumerMember(id)
	if old != nil {
		c = *old
	}
	c.epoch, c.previousEpoch, c.state = v.MemberEpoch, v.PreviousMemberEpoch, memberState(v.State)
	if c.state < memberStable || c.state > memberUnreleased {
		c.state = memberUnknown
	}
	c.assigned, c.revoking = ownedFrom(v.AssignedPartitions, c.epoch), ownedFrom(v.PartitionsPendingRevocation, c.epoch)
	g.setMember(id, &c)
}
