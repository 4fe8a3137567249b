package group

import (
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
)

// leave removes a member, or marks a static one that will be back.
func (b *beat) leave(req *kmsg.ConsumerGroupHeartbeatRequest, resp *kmsg.ConsumerGroupHeartbeatResponse) error {
	g, ok := b.m.groups[req.Group].(*consumerGroup)
	if !ok {
		return kafka.GroupIDNotFound.Errorf("Group %s is not a consumer group.", req.Group)
	}
	b.g = g
	resp.MemberID, resp.MemberEpoch = &req.MemberID, req.MemberEpoch
	if req.InstanceID == nil {
		c, err := g.member(req.MemberID)
		if err != nil {
			return err
		}
		note(&b.out, "[GroupId %s] Member %s left the consumer group.", g.id, c.id)
		b.m.fence(&b.out, g, []*consumerMember{c}, b.now)
		return nil
	}
	c := g.staticMember(req.InstanceID)
	switch {
	case c == nil:
		return kafka.UnknownMemberID.Errorf("Instance id %s is unknown.", *req.InstanceID)
	case c.id != req.MemberID:
		return kafka.FencedInstanceID.Errorf("Static member %s with instance id %s was fenced by member %s.", req.MemberID, *req.InstanceID, c.id)
	case req.MemberEpoch != leaveStaticEpoch:
		note(&b.out, "[GroupId %s] Static member %s with instance id %s left the consumer group.", g.id, c.id, *req.InstanceID)
		b.m.fence(&b.out, g, []*consumerMember{c}, b.now)
		return nil
	}
	// The member keeps its partitions until its session ends. Commits of its next life
	// are of epoch zero on.
	note(&b.out, "[GroupId %s] Static member %s with instance id %s temporarily left the consumer group.", g.id, c.id, *req.InstanceID)
	left := *c
	left.epoch, left.revoking = leaveStaticEpoch, nil
	left.assigned = owned{}
	for id, parts := range c.assigned {
		for p := range parts {
			left.assigned.put(id, p, 0)
		}
	}
	b.out.Records = append(b.out.Records, left.currentRecord(g.id))
	return nil
}

// fence removes members from a group, which moves to its next epoch. When those that
// stay all use the classic protocol the group becomes a classic one.
func (m *Machine) fence(out *coord.Outcome, g *consumerGroup, leaving []*consumerMember, nowMs int64) {
	if len(leaving) == 0 {
		return
	}
	gone := map[string]bool{}
	for _, c := range leaving {
		gone[c.id] = true
	}
	if m.mayDowngrade(g, gone, len(g.members)-len(gone)) && len(g.members) > len(gone) {
		if m.downgrade(out, g, gone, nil, nil, true, nowMs) == nil {
			return
		}
	}
	counts, regexes := maps.Clone(g.topicCounts), maps.Clone(g.regexCounts)
	for _, c := range leaving {
		out.Records = append(out.Records, removalRecords(g.id, c.id)...)
		for _, t := range c.topics {
			addCount(counts, t, -1)
		}
		if c.regex != "" {
			addCount(regexes, c.regex, -1)
		}
		cancel(out, memberTimerKeys(g.id, c.id)...)
	}
	for _, regex := range slices.Sorted(maps.Keys(g.resolved)) {
		if regexes[regex] == 0 {
			out.Records = append(out.Records, coord.Record{Key: regexKey(g.id, regex)})
			continue
		}
		for _, t := range g.resolved[regex].topics {
			counts[t]++
		}
	}
	note(out, "[GroupId %s] Bumped group epoch to %d.", g.id, g.epoch+1)
	out.Records = append(out.Records, epochRecord(g.id, g.epoch+1, m.hashOf(counts)))
	if len(gone) == len(g.members) {
		// Nobody has anything. Without a time the next to join is not kept waiting for it.
		out.Records = append(out.Records, targetMetadataRecord(g.id, g.epoch+1, 0))
	}
	if out.Op == nil {
		// A member that could not be removed is still there, with a session.
		out.Op = &op{failed: func(_ *kafka.Code, nowMs int64) coord.Outcome {
			var out coord.Outcome
			m.consumerSessions(&out, g, leaving, nowMs)
			return out
		}}
	}
}

// consumerTimer removes a member whose session, or time to revoke, is over.
func (m *Machine) consumerTimer(out *coord.Outcome, g *consumerGroup, kind, memberID string, nowMs int64) {
	c := g.members[memberID]
	if c == nil {
		return
	}
	if c.classic == nil && (kind == keyConsumerJoin || kind == keyConsumerSync) {
		return // of a classic member that had the id before
	}
	if kind == keyRebalance && (c.epoch != g.rebalanceEpoch[memberID] || c.state != memberUnrevoked) {
		return
	}
	var why string
	switch kind {
	case keySession:
		why = "the member session expired."
	case keyRebalance:
		why = fmt.Sprintf("it failed to transition from epoch %d within %dms.", c.epoch, c.rebalanceTimeoutMs)
	case keyConsumerJoin:
		why = "the classic member failed to join within the rebalance timeout."
	case keyConsumerSync:
		why = "the member failed to sync within timeout."
	default:
		return
	}
	note(out, "[GroupId %s] Member %s fenced from the group because %s", g.id, memberID, why)
	m.fence(out, g, []*consumerMember{c}, nowMs)
}

// consumerLoaded gives every member of a loaded group a whole session, and those that
// have to revoke a whole rebalance timeout.
func (m *Machine) consumerLoaded(out *coord.Outcome, g *consumerGroup, nowMs int64) {
	var all []*consumerMember
	for _, id := range g.memberIDs() {
		all = append(all, g.members[id])
	}
	m.consumerSessions(out, g, all, nowMs)
}

// consumerSessions starts the timers of members anew. A classic member that has to join
// again gets its time for that when it is told.
func (m *Machine) consumerSessions(out *coord.Outcome, g *consumerGroup, members []*consumerMember, nowMs int64) {
	for _, c := range members {
		timeout := m.sessionTimeoutMs(g.id)
		if c.classic != nil {
			timeout = int64(c.classic.SessionTimeoutMs)
		}
		set(out, timerKey(keySession, g.id, c.id), nowMs+timeout)
		delete(g.joinTimers, c.id)
		if c.state == memberUnrevoked {
			g.rebalanceEpoch[c.id] = c.epoch
			set(out, timerKey(keyRebalance, g.id, c.id), nowMs+int64(c.rebalanceTimeoutMs))
		}
	}
}

// ConsumerGroupDescribe describes consumer groups, all of which must belong to this
// machine.
func (m *Machine) ConsumerGroupDescribe(_ int64, to coord.Token, _ coord.Client, req *kmsg.ConsumerGroupDescribeRequest) coord.Outcome {
	resp := kmsg.NewPtrConsumerGroupDescribeResponse()
	resp.Version = req.Version
	for _, id := range req.Groups {
		resp.Groups = append(resp.Groups, m.describeConsumer(id))
	}
	out := coord.Answer(to, resp)
	out.ReadBarrier = true
	return out
}

func (m *Machine) describeConsumer(id string) kmsg.ConsumerGroupDescribeResponseGroup {
	rg := kmsg.NewConsumerGroupDescribeResponseGroup()
	rg.Group = id
	if id == "" {
		rg.ErrorCode = kafka.InvalidGroupID.Num()
		return rg
	}
	g, ok := m.groups[id].(*consumerGroup)
	if !ok {
		msg := "Group " + id + " not found."
		if m.groups[id] != nil {
			msg = "Group " + id + " is not a consumer group."
		}
		rg.ErrorCode, rg.ErrorMessage = kafka.GroupIDNotFound.Num(), &msg
		return rg
	}
	rg.State, rg.Epoch, rg.AssignmentEpoch = g.stateName(), g.epoch, g.targetEpoch
	counts := map[string]int{}
	for _, mid := range g.memberIDs() {
		c := g.members[mid]
		if c.assignor != nil {
			counts[*c.assignor]++
		}
		rm := kmsg.NewConsumerGroupDescribeResponseGroupMember()
		rm.MemberID, rm.InstanceID, rm.RackID, rm.MemberEpoch = c.id, c.instanceID, c.rackID, c.epoch
		rm.ClientID, rm.ClientHost, rm.SubscribedTopics = c.clientID, c.clientHost, c.topics
		rm.SubscribedTopicRegex = &c.regex
		rm.Assignment, rm.TargetAssignment = m.described(c.assigned.partitions()), m.described(g.target[c.id])
		if rm.MemberType = 1; c.classic != nil {
			rm.MemberType = 0
		}
		rg.Members = append(rg.Members, rm)
	}
	rg.AssignorName = m.defaultAssignor()
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		if counts[name] > counts[rg.AssignorName] {
			rg.AssignorName = name
		}
	}
	return rg
}

// described names the topics of an assignment; those that are gone are left out.
func (m *Machine) described(p partitions) kmsg.Assignment {
	a := kmsg.NewAssignment()
	for _, id := range p.topicIDs() {
		if name := m.topicName(id); name != "" {
			t := kmsg.NewAssignmentTopicPartition()
			t.TopicID, t.Topic, t.Partitions = id, name, p[id]
			a.TopicPartitions = append(a.TopicPartitions, t)
		}
	}
	return a
}
