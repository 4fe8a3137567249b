package group

import (
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
)

// beat is one request of a member of a consumer group on its way: what it decides is
// collected, and dropped as a whole when it is refused.
type beat struct {
	m       *Machine
	g       *consumerGroup // not in the machine yet when the group is new
	now     int64
	out     coord.Outcome
	member  *consumerMember // before the request
	updated *consumerMember
	owned   partitions // what the member says it has
	said    bool

	// late is done when the request is accepted: soft state that cannot be taken back.
	late []func()
	// failed is done when its records cannot be appended.
	failed func(out *coord.Outcome, nowMs int64)

	epoch    int32 // the group's, with this request
	changed  bool  // the member's subscription has changed
	resolved map[string]*resolvedRegex
}

// ConsumerGroupHeartbeat joins a member to a group of the consumer protocol, tells it
// what to give up and what it has, or lets it leave.
func (m *Machine) ConsumerGroupHeartbeat(nowMs int64, to coord.Token, client coord.Client, req *kmsg.ConsumerGroupHeartbeatRequest) coord.Outcome {
	resp := kmsg.NewPtrConsumerGroupHeartbeatResponse()
	b := &beat{m: m, now: nowMs}
	err := m.validateHeartbeat(req)
	if err == nil {
		if req.MemberEpoch < 0 {
			err = b.leave(req, resp)
		} else {
			err = b.run(client, req, resp)
		}
	}
	if err != nil {
		resp = kmsg.NewPtrConsumerGroupHeartbeatResponse()
		b.out = coord.Outcome{}
		msg := err.Error()
		resp.ErrorCode, resp.ErrorMessage = kafka.NumOf(err), &msg
	} else {
		b.accept()
	}
	resp.Version = req.Version
	b.out.Replies = append(b.out.Replies, coord.Reply{To: to, Response: resp})
	b.out.ReadBarrier = true // an answer that needs no record may tell of one
	return b.out
}

// accept makes the soft changes of a request that was not refused, and notes what has to
// be looked at again if its records are lost.
func (b *beat) accept() {
	for _, f := range b.late {
		f()
	}
	if b.out.Op != nil || len(b.out.Records) == 0 {
		return
	}
	m, g, updated, failed := b.m, b.g, b.updated, b.failed
	b.out.Op = &op{failed: func(_ *kafka.Code, nowMs int64) coord.Outcome {
		var out coord.Outcome
		g.refreshMs, g.seen, g.regexSeen = 0, noImage, noImage
		if failed != nil {
			failed(&out, nowMs)
		} else if updated != nil && g.members[updated.id] != nil {
			// The member stands where it stood, and has the time for what is left to do.
			m.consumerSessions(&out, g, []*consumerMember{g.members[updated.id]}, nowMs)
		}
		return out
	}}
}

func (m *Machine) validateHeartbeat(req *kmsg.ConsumerGroupHeartbeatRequest) error {
	blank := func(s *string) bool { return s != nil && strings.TrimSpace(*s) == "" }
	invalid := kafka.InvalidRequest.Errorf
	switch {
	case (req.Version >= 1 || req.MemberEpoch > 0 || req.MemberEpoch == leaveEpoch) && blank(&req.MemberID):
		return invalid("MemberId can't be empty.")
	case blank(&req.Group):
		return invalid("GroupId can't be empty.")
	case blank(req.InstanceID):
		return invalid("InstanceId can't be empty.")
	case blank(req.RackID):
		return invalid("RackId can't be empty.")
	case req.MemberEpoch == 0 && req.RebalanceTimeoutMillis == -1:
		return invalid("RebalanceTimeoutMs must be provided in first request.")
	case req.MemberEpoch == 0 && (req.Topics == nil || len(req.Topics) > 0):
		return invalid("TopicPartitions must be empty when (re-)joining.")
	case req.MemberEpoch == 0 && req.SubscribedTopicNames == nil && (req.Version < 1 || req.SubscribedTopicRegex == nil):
		return invalid("Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.")
	case req.MemberEpoch == leaveStaticEpoch && req.InstanceID == nil:
		return invalid("InstanceId can't be null.")
	case req.MemberEpoch < leaveStaticEpoch:
		return invalid("MemberEpoch is invalid.")
	case req.ServerAssignor != nil && !slices.Contains(m.cfg.ConsumerAssignors, *req.ServerAssignor):
		return kafka.UnsupportedAssignor.Errorf("ServerAssignor %s is not supported. Supported assignors: %s.",
			*req.ServerAssignor, strings.Join(m.cfg.ConsumerAssignors, ", "))
	}
	return nil
}

func (b *beat) run(client coord.Client, req *kmsg.ConsumerGroupHeartbeatRequest, resp *kmsg.ConsumerGroupHeartbeatResponse) error {
	create := req.MemberEpoch == 0
	if err := b.findGroup(req.Group, create); err != nil {
		return err
	}
	id := req.MemberID
	if len(b.g.members) >= b.m.cfg.ConsumerGroupMaxSize && b.g.members[id] == nil {
		return kafka.GroupMaxSizeReached.Errorf("The consumer group has reached its maximum capacity of %d members.", b.m.cfg.ConsumerGroupMaxSize)
	}
	if id == "" {
		id = b.m.randomUUID()
	}
	b.setOwned(req.Topics)
	if err := b.findMember(id, req.InstanceID, req.MemberEpoch, create, false); err != nil {
		return err
	}
	b.updated = b.describedBy(client, req)
	if err := b.proceed(); err != nil {
		return err
	}
	set(&b.out, timerKey(keySession, b.g.id, id), b.now+b.m.sessionTimeoutMs(b.g.id))
	resp.MemberID, resp.MemberEpoch = &b.updated.id, b.updated.epoch
	resp.HeartbeatIntervalMillis = b.m.heartbeatIntervalMs(b.g.id)
	full := req.RebalanceTimeoutMillis != -1 && (req.SubscribedTopicNames != nil || req.SubscribedTopicRegex != nil) && req.Topics != nil
	if create || full || !b.member.assigned.equal(b.updated.assigned) {
		resp.Assignment = assignmentOf(b.updated.assigned)
	}
	return nil
}

// proceed is what every request of a member leads to: new epoch, new target, next step.
func (b *beat) proceed() error {
	if err := b.subscribe(); err != nil {
		return err
	}
	epoch, target, err := b.assign()
	if err != nil {
		return err
	}
	return b.reconcile(epoch, target)
}

func assignmentOf(o owned) *kmsg.ConsumerGroupHeartbeatResponseAssignment {
	a := kmsg.NewConsumerGroupHeartbeatResponseAssignment()
	p := o.partitions()
	for _, id := range p.topicIDs() {
		t := kmsg.NewConsumerGroupHeartbeatResponseAssignmentTopic()
		t.TopicID, t.Partitions = id, p[id]
		a.Topics = append(a.Topics, t)
	}
	return &a
}

func (b *beat) setOwned(topics []kmsg.ConsumerGroupHeartbeatRequestTopic) {
	b.said, b.owned = topics != nil, partitions{}
	for _, t := range topics {
		b.owned[t.TopicID] = append(b.owned[t.TopicID], t.Partitions...)
		slices.Sort(b.owned[t.TopicID])
	}
}

// findGroup finds the group, makes a new one, or turns a classic one into one.
func (b *beat) findGroup(id string, create bool) error {
	switch g := b.m.groups[id].(type) {
	case *consumerGroup:
		b.g = g
	case *classicGroup:
		if !create {
			return kafka.GroupIDNotFound.Errorf("Group %s is not a consumer group.", id)
		}
		if g.isEmpty() {
			b.out.Records = append(b.out.Records, g.tombstones()...)
			cancel(&b.out, g.timerKeys()...)
			b.g = newConsumerGroup(id)
			break
		}
		return b.upgrade(g)
	default:
		if !create {
			return kafka.GroupIDNotFound.Errorf("Consumer group %s not found.", id)
		}
		b.g = newConsumerGroup(id)
	}
	return nil
}

// findMember finds the member, or makes one when it joins. A static member that joins
// again takes the place of the one that had its instance id.
func (b *beat) findMember(id string, instanceID *string, epoch int32, create, classic bool) error {
	if instanceID == nil {
		b.member = b.g.members[id]
		if b.member == nil && !create {
			return kafka.UnknownMemberID.Errorf("Member %s is not a member of group %s.", id, b.g.id)
		}
		if b.member == nil {
			b.member = newConsumerMember(id)
		}
		if classic {
			return nil
		}
		return b.checkEpoch(b.member, epoch)
	}
	old := b.g.staticMember(instanceID)
	switch {
	case !create && old == nil:
		return kafka.UnknownMemberID.Errorf("Instance id %s is unknown.", *instanceID)
	case !create && old.id != id:
		return kafka.FencedInstanceID.Errorf("Static member %s with instance id %s was fenced by member %s.", id, *instanceID, old.id)
	case !create:
		b.member = old
		if classic {
			return nil
		}
		return b.checkEpoch(old, epoch)
	case old == nil:
		if b.member = b.g.members[id]; b.member == nil {
			b.member = newConsumerMember(id)
		}
		return nil
	case !classic && old.classic == nil && old.epoch != leaveStaticEpoch && old.id != id:
		return kafka.UnreleasedInstanceID.Errorf("Static member %s with instance id %s cannot join the group because the instance id is owned by %s member.", id, *instanceID, old.id)
	case old.id == id:
		b.member = old
		return nil
	}
	b.replace(old, id)
	return nil
}

// replace lets a new member take over all that a static member has. The timers of the old
// one stay: they find nobody when it is gone, and have somebody to remove when the records
// are lost and nobody comes in its place.
func (b *beat) replace(old *consumerMember, id string) {
	c := *old
	c.id, c.epoch, c.previousEpoch = id, 0, 0
	b.out.Records = append(b.out.Records, removalRecords(b.g.id, old.id)...)
	b.out.Records = append(b.out.Records, c.metadataRecord(b.g.id), targetRecord(b.g.id, id, b.g.target[old.id]), c.currentRecord(b.g.id))
	b.member = &c
}

// checkEpoch fences a member with another epoch than its own. The epoch before is good
// as long as the member has nothing that it was not given since: it has lost an answer.
func (b *beat) checkEpoch(c *consumerMember, epoch int32) error {
	switch {
	case epoch == 0 || epoch == c.epoch:
		return nil
	case epoch > c.epoch:
		return kafka.FencedMemberEpoch.Errorf("The consumer group member has a greater member epoch (%d) than the one known by the group coordinator (%d). The member must abandon all its partitions and rejoin.", epoch, c.epoch)
	}
	subset := b.said
	for id, parts := range b.owned {
		for _, p := range parts {
			if _, ok := c.assigned.epoch(id, p); !ok {
				subset = false
			}
		}
	}
	if epoch != c.previousEpoch || !subset {
		return kafka.FencedMemberEpoch.Errorf("The consumer group member has a smaller member epoch (%d) than the one known by the group coordinator (%d). The member must abandon all its partitions and rejoin.", epoch, c.epoch)
	}
	return nil
}

// describedBy returns the member with what the request says of it.
func (b *beat) describedBy(client coord.Client, req *kmsg.ConsumerGroupHeartbeatRequest) *consumerMember {
	c := *b.member
	c.clientID, c.clientHost, c.classic = client.ID, client.Host, nil
	if req.InstanceID != nil {
		c.instanceID = req.InstanceID
	}
	if req.RackID != nil {
		c.rackID = req.RackID
	}
	if req.RebalanceTimeoutMillis != -1 {
		c.rebalanceTimeoutMs = req.RebalanceTimeoutMillis
	}
	if req.ServerAssignor != nil {
		c.assignor = req.ServerAssignor
	}
	if req.SubscribedTopicNames != nil {
		c.topics = sortedNames(req.SubscribedTopicNames)
	}
	if req.Version >= 1 && req.SubscribedTopicRegex != nil {
		c.regex = *req.SubscribedTopicRegex
	}
	return &c
}

func sortedNames(names []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(names)))
}

// groupSetting is a dynamic setting of the group, as far as the broker allows it, or the
// broker's own.
func (m *Machine) groupSetting(group, name string, broker int64, allowed Range) int64 {
	if m.cfg.GroupConfig == nil {
		return broker
	}
	n, err := strconv.ParseInt(m.cfg.GroupConfig(group)[name], 10, 64)
	switch {
	case err != nil:
		return broker
	case allowed == Range{}:
		return n
	}
	return min(max(n, allowed.Min), allowed.Max)
}

func (m *Machine) sessionTimeoutMs(group string) int64 {
	return m.groupSetting(group, "consumer.session.timeout.ms", int64(m.cfg.ConsumerSessionTimeoutMs), m.cfg.ConsumerSessionTimeouts)
}

func (m *Machine) heartbeatIntervalMs(group string) int32 {
	return int32(m.groupSetting(group, "consumer.heartbeat.interval.ms", int64(m.cfg.ConsumerHeartbeatIntervalMs), m.cfg.ConsumerHeartbeatIntervals))
}

func (m *Machine) assignmentIntervalMs(group string) int64 {
	return m.groupSetting(group, "consumer.assignment.interval.ms", int64(m.cfg.ConsumerAssignmentIntervalMs), m.cfg.ConsumerAssignmentIntervals)
}
