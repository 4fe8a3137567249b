package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
)

// Types and protocol types of groups in Kafka's spelling.
const (
	classicType  = "Classic"
	consumerType = "Consumer"

	consumerProtocol = "consumer"
)

// Group states that tools decide by.
const (
	stateEmpty   = "Empty"
	stateDead    = "Dead"
	stateStable  = "Stable"
	stateUnknown = "Unknown"
)

var (
	groupStates = []string{stateUnknown, "PreparingRebalance", "CompletingRebalance", stateStable, stateDead, stateEmpty, "Assigning", "Reconciling", "NotReady"}
	groupTypes  = []string{consumerType, classicType, "Share", "Streams"}
	// rebalancing are the states of a group that is on its way to a new assignment.
	rebalancing = []string{"PreparingRebalance", "CompletingRebalance", "Assigning", "Reconciling"}
)

// canonical is the spelling in known of a name in any case, or Unknown.
func canonical(name string, known []string) string {
	for _, k := range known {
		if strings.EqualFold(k, name) {
			return k
		}
	}
	return stateUnknown
}

// listedGroup is a group as brokers list it. typ and state are empty when an old
// broker does not tell them.
type listedGroup struct {
	id, typ, protocol, state string
}

// listGroups asks every broker for its groups of the given types and states; none
// means all. The groups come in the order of their names.
func listGroups(ctx context.Context, c *cluster, types, states []string) ([]listedGroup, error) {
	req := kmsg.NewPtrListGroupsRequest()
	req.TypesFilter, req.StatesFilter = types, states
	var out []listedGroup
	for _, shard := range c.RequestSharded(ctx, req) {
		if shard.Err != nil {
			return nil, shard.Err
		}
		resp := shard.Resp.(*kmsg.ListGroupsResponse)
		if err := withMessage(resp.ErrorCode, nil); err != nil {
			return nil, err
		}
		for _, g := range resp.Groups {
			l := listedGroup{id: g.Group, protocol: g.ProtocolType}
			if g.GroupType != "" {
				l.typ = canonical(g.GroupType, groupTypes)
			}
			if g.GroupState != "" {
				l.state = canonical(g.GroupState, groupStates)
			}
			out = append(out, l)
		}
	}
	slices.SortFunc(out, func(a, b listedGroup) int { return strings.Compare(a.id, b.id) })
	return slices.CompactFunc(out, func(a, b listedGroup) bool { return a.id == b.id }), nil
}

// listConsumerGroups is listGroups of the groups that consumers make: those of both
// protocols, and those that only hold committed offsets.
func listConsumerGroups(ctx context.Context, c *cluster, types, states []string) ([]listedGroup, error) {
	if len(types) == 0 {
		types = []string{classicType, consumerType}
	}
	all, err := listGroups(ctx, c, types, states)
	return slices.DeleteFunc(all, func(g listedGroup) bool {
		return g.protocol != consumerProtocol && g.protocol != ""
	}), err
}

// groupMember is a member of a consumer group.
type groupMember struct {
	id, instance, client, host string
	assigned, target           []kafka.TopicPartition // in order
	epoch                      int32                  // of a group of the consumer protocol
	// kind is -1 when unknown, 0 for a member of the classic protocol in a group of
	// the consumer protocol, and 1 for one that speaks the latter (KIP-1099).
	kind int8
}

// describedGroup is a consumer group, or why it cannot be described.
type describedGroup struct {
	id, assignor, state string
	coordinator         kgo.BrokerMetadata
	members             []groupMember
	// consumer is true for a group of the consumer protocol (KIP-848); only that has
	// epochs and target assignments.
	consumer               bool
	epoch, assignmentEpoch int32
	err                    error
}

// describeGroups describes consumer groups of either protocol. It asks by the
// request of KIP-848 first and asks again by the older one for the groups that are
// not of that protocol. Every id has an entry.
func describeGroups(ctx context.Context, c *cluster, ids []string) map[string]*describedGroup {
	out := map[string]*describedGroup{}
	older := map[string]error{} // why the newer request does not know them
	pending := slices.Compact(slices.Sorted(slices.Values(ids)))
	for len(pending) > 0 {
		newer := slices.DeleteFunc(slices.Clone(pending), func(id string) bool { _, ok := older[id]; return ok })
		askConsumerGroups(ctx, c, newer, out)
		for _, id := range newer {
			if err := out[id].err; errors.Is(err, kerr.GroupIDNotFound) || errors.Is(err, kerr.UnsupportedVersion) {
				older[id] = err
			}
		}
		classic := slices.DeleteFunc(slices.Clone(pending), func(id string) bool { _, ok := older[id]; return !ok })
		askClassicGroups(ctx, c, classic, out)
		for _, id := range classic {
			// The newer request's message says more of a group that is not there.
			if g := out[id]; errors.Is(g.err, kerr.GroupIDNotFound) && errors.Is(older[id], kerr.GroupIDNotFound) {
				g.err = older[id]
			}
		}
		pending = slices.DeleteFunc(pending, func(id string) bool { return !kerr.IsRetriable(out[id].err) })
		if len(pending) > 0 && !pause(ctx, 100*time.Millisecond) {
			break
		}
	}
	return out
}

// pause waits, and says false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

func askConsumerGroups(ctx context.Context, c *cluster, ids []string, out map[string]*describedGroup) {
	if len(ids) == 0 {
		return
	}
	for _, id := range ids {
		out[id] = &describedGroup{id: id, err: kerr.CoordinatorNotAvailable}
	}
	req := kmsg.NewPtrConsumerGroupDescribeRequest()
	req.Groups = ids
	if !c.supports(ctx, req.Key()) {
		for _, id := range ids {
			out[id].err = unserved(req)
		}
		return
	}
	for _, shard := range c.RequestSharded(ctx, req) {
		if shard.Err != nil {
			for _, id := range shard.Req.(*kmsg.ConsumerGroupDescribeRequest).Groups {
				out[id] = &describedGroup{id: id, err: shard.Err}
			}
			continue
		}
		for _, g := range shard.Resp.(*kmsg.ConsumerGroupDescribeResponse).Groups {
			d := &describedGroup{id: g.Group, assignor: g.AssignorName, state: canonical(g.State, groupStates), coordinator: shard.Meta,
				consumer: true, epoch: g.Epoch, assignmentEpoch: g.AssignmentEpoch, err: withMessage(g.ErrorCode, g.ErrorMessage)}
			for _, m := range g.Members {
				d.members = append(d.members, groupMember{id: m.MemberID, instance: orEmpty(m.InstanceID), client: m.ClientID, host: m.ClientHost,
					assigned: partitionsOf(m.Assignment), target: partitionsOf(m.TargetAssignment), epoch: m.MemberEpoch, kind: m.MemberType})
			}
			out[g.Group] = d
		}
	}
}

func askClassicGroups(ctx context.Context, c *cluster, ids []string, out map[string]*describedGroup) {
	if len(ids) == 0 {
		return
	}
	for _, id := range ids {
		out[id] = &describedGroup{id: id, err: kerr.CoordinatorNotAvailable}
	}
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Groups = ids
	for _, shard := range c.RequestSharded(ctx, req) {
		if shard.Err != nil {
			for _, id := range shard.Req.(*kmsg.DescribeGroupsRequest).Groups {
				out[id] = &describedGroup{id: id, err: shard.Err}
			}
			continue
		}
		for i := range shard.Resp.(*kmsg.DescribeGroupsResponse).Groups {
			g := &shard.Resp.(*kmsg.DescribeGroupsResponse).Groups[i]
			out[g.Group] = classicGroup(g, shard.Meta)
		}
	}
}

func classicGroup(g *kmsg.DescribeGroupsResponseGroup, coordinator kgo.BrokerMetadata) *describedGroup {
	d := &describedGroup{id: g.Group, assignor: g.Protocol, state: canonical(g.State, groupStates), coordinator: coordinator,
		err: withMessage(g.ErrorCode, g.ErrorMessage)}
	if d.err != nil {
		return d
	}
	if g.ProtocolType != consumerProtocol && g.ProtocolType != "" {
		d.err = fmt.Errorf("java.lang.IllegalArgumentException: GroupId %s is not a consumer group (%s).", g.Group, g.ProtocolType)
		return d
	}
	for _, m := range g.Members {
		member := groupMember{id: m.MemberID, instance: orEmpty(m.InstanceID), client: m.ClientID, host: m.ClientHost, kind: -1}
		if len(m.MemberAssignment) > 0 {
			var a kmsg.ConsumerMemberAssignment
			if err := a.ReadFrom(m.MemberAssignment); err != nil {
				d.err = fmt.Errorf("the assignment of the member %s cannot be read: %w", m.MemberID, err)
				return d
			}
			for _, t := range a.Topics {
				for _, p := range t.Partitions {
					member.assigned = append(member.assigned, kafka.TopicPartition{Topic: t.Topic, Partition: p})
				}
			}
		}
		slices.SortFunc(member.assigned, comparePartitions)
		d.members = append(d.members, member)
	}
	return d
}

func partitionsOf(a kmsg.Assignment) []kafka.TopicPartition {
	var out []kafka.TopicPartition
	for _, t := range a.TopicPartitions {
		for _, p := range t.Partitions {
			out = append(out, kafka.TopicPartition{Topic: t.Topic, Partition: p})
		}
	}
	slices.SortFunc(out, comparePartitions)
	return out
}

func comparePartitions(a, b kafka.TopicPartition) int {
	return cmp.Or(strings.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// committedOffset is a group's position in a partition.
type committedOffset struct {
	offset      int64
	leaderEpoch int32 // -1 when it was committed without
}

// committedOffsets are a group's positions; a partition without one is left out.
func committedOffsets(ctx context.Context, c *cluster, group string) (map[kafka.TopicPartition]committedOffset, error) {
	found, err := c.Admin.FetchOffsets(ctx, group)
	if err != nil {
		return nil, messageOr(err, "")
	}
	out := map[kafka.TopicPartition]committedOffset{}
	for topic, ps := range found {
		for p, o := range ps {
			if o.Err != nil {
				return nil, messageOr(o.Err, "")
			}
			if o.At >= 0 {
				out[kafka.TopicPartition{Topic: topic, Partition: p}] = committedOffset{o.At, o.LeaderEpoch}
			}
		}
	}
	return out, nil
}

// sortedPartitions are the keys of a map, in order.
func sortedPartitions[V any](m map[kafka.TopicPartition]V) []kafka.TopicPartition {
	out := make([]kafka.TopicPartition, 0, len(m))
	for tp := range m {
		out = append(out, tp)
	}
	slices.SortFunc(out, comparePartitions)
	return out
}
