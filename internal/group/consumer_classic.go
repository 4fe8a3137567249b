package group

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/records"
)

// joinConsumerGroup lets a member of the classic protocol join a consumer group. Its
// generation is its member epoch, and its assignment is the server's.
func (m *Machine) joinConsumerGroup(nowMs int64, w waiter, client coord.Client, req *kmsg.JoinGroupRequest, g *consumerGroup) coord.Outcome {
	b := &beat{m: m, g: g, now: nowMs}
	id := req.MemberID
	if id == "" {
		id = m.randomUUID()
		if req.Version >= joinNeedsMemberID && req.InstanceID == nil {
			if err := b.classicFits(id, req); err != nil {
				replyJoin(&b.out, w, joinFailed("", kafka.CodeOf(err)))
				return b.out
			}
			replyJoin(&b.out, w, joinFailed(id, kafka.MemberIDRequired))
			return b.out
		}
	}
	resp, err := b.joinClassic(id, client, req)
	if err != nil {
		b.out = coord.Outcome{}
		resp = joinFailed(req.MemberID, kafka.CodeOf(err))
	} else {
		b.accept()
	}
	replyJoin(&b.out, w, resp)
	b.out.ReadBarrier = true
	return b.out
}

// classicFits says whether a classic member may join the group.
func (b *beat) classicFits(id string, req *kmsg.JoinGroupRequest) error {
	g := b.g
	switch {
	case b.m.cfg.ConsumerMigrationPolicy == MigrateDisabled:
		return kafka.InconsistentGroupProtocol.Errorf("group %s uses the consumer protocol and migration is disabled", g.id)
	case len(g.members) >= b.m.cfg.ConsumerGroupMaxSize && g.members[id] == nil:
		return kafka.GroupMaxSizeReached.Errorf("group %s has %d members", g.id, len(g.members))
	case req.ProtocolType != consumerProtocol || len(req.Protocols) == 0:
		return kafka.InconsistentGroupProtocol.Errorf("group %s is one of consumers", g.id)
	}
	supported, classic := map[string]int{}, 0
	for _, c := range g.members {
		if c.classic != nil {
			classic++
			for _, p := range c.classic.SupportedProtocols {
				supported[p.Name]++
			}
		}
	}
	if !slices.ContainsFunc(req.Protocols, func(p kmsg.JoinGroupRequestProtocol) bool { return supported[p.Name] == classic }) {
		return kafka.InconsistentGroupProtocol.Errorf("no protocol of member %s is supported by all classic members of group %s", id, g.id)
	}
	return nil
}

func (b *beat) joinClassic(id string, client coord.Client, req *kmsg.JoinGroupRequest) (*kmsg.JoinGroupResponse, error) {
	g := b.g
	if err := b.classicFits(id, req); err != nil {
		return nil, err
	}
	sub, err := parseSubscription(req.Protocols[0].Metadata)
	if err != nil {
		return nil, err
	}
	b.ownedByName(sub.OwnedPartitions)
	old := g.staticMember(req.InstanceID)
	create := req.InstanceID == nil || req.MemberID == ""
	if err := b.findMember(id, req.InstanceID, -1, create, true); err != nil {
		return nil, err
	}
	c := *b.member
	c.clientID, c.clientHost, c.regex = client.ID, client.Host, ""
	c.topics, c.rebalanceTimeoutMs = sortedNames(sub.Topics), req.RebalanceTimeoutMillis
	if req.InstanceID != nil {
		c.instanceID = req.InstanceID
	}
	if sub.Rack != nil {
		c.rackID = sub.Rack
	}
	c.classic = &records.ConsumerGroupClassicMember{SessionTimeoutMs: req.SessionTimeoutMillis}
	for _, p := range req.Protocols {
		c.classic.SupportedProtocols = append(c.classic.SupportedProtocols, records.ConsumerGroupClassicProtocol{Name: p.Name, Metadata: p.Metadata})
	}
	b.updated = &c
	if old != nil && b.m.mayDowngrade(g, map[string]bool{old.id: true}, len(g.members)) {
		return b.joinAndDowngrade(old)
	}
	if err := b.proceed(); err != nil {
		return nil, err
	}
	cancel(&b.out, timerKey(keyConsumerJoin, g.id, id))
	set(&b.out, timerKey(keySession, g.id, id), b.now+int64(req.SessionTimeoutMillis))
	set(&b.out, timerKey(keyConsumerSync, g.id, id), b.now+int64(req.RebalanceTimeoutMillis))
	return b.classicJoined(), nil
}

// joinAndDowngrade lets a static classic member replace the last member of the consumer
// protocol: the group becomes a classic one. A classic group that is stable gives every
// member its target at once. While a member has yet to give up or to take over partitions
// that would be a second owner for some, and none for others, so the group rebalances.
func (b *beat) joinAndDowngrade(old *consumerMember) (*kmsg.JoinGroupResponse, error) {
	g := b.g
	if err := b.subscribe(); err != nil {
		return nil, err
	}
	rebalance := g.targetEpoch < b.epoch || !g.reconciledWithout(old)
	if !rebalance {
		if err := b.reconcile(g.targetEpoch, g.targetOf(b.updated)); err != nil {
			return nil, err
		}
		rebalance = !b.updated.reconciledTo(g.targetEpoch)
	}
	if err := b.m.downgrade(&b.out, g, nil, b.updated, old, rebalance, b.now); err != nil {
		return nil, err
	}
	resp := b.classicJoined()
	resp.Generation = g.epoch // that of the classic group, which tells of its rebalance
	return resp, nil
}

// reconciledWithout says whether all members but one have reached the target.
func (g *consumerGroup) reconciledWithout(one *consumerMember) bool {
	for _, c := range g.members {
		if c != one && !c.reconciledTo(g.targetEpoch) {
			return false
		}
	}
	return true
}

func (b *beat) classicJoined() *kmsg.JoinGroupResponse {
	resp := kmsg.NewPtrJoinGroupResponse()
	typ := consumerProtocol
	resp.MemberID, resp.Generation, resp.ProtocolType = b.updated.id, b.updated.epoch, &typ
	resp.Protocol = &b.updated.classic.SupportedProtocols[0].Name
	return resp
}

func (b *beat) ownedByName(all []kmsg.ConsumerMemberMetadataOwnedPartition) {
	b.said, b.owned = true, partitions{}
	for _, o := range all {
		if t := b.m.image().Topic(o.Topic); t != nil {
			b.owned[t.ID] = slices.Sorted(slices.Values(o.Partitions))
		}
	}
}

// classicMemberOf finds a classic member for a request of a generation.
func (g *consumerGroup) classicMemberOf(id string, instanceID *string, generation int32) (*consumerMember, error) {
	c := g.members[id]
	if instanceID != nil {
		if c = g.staticMember(instanceID); c != nil && c.id != id {
			return nil, kafka.FencedInstanceID.Errorf("instance id %s of group %s is owned by member %s", *instanceID, g.id, c.id)
		}
	}
	switch {
	case c == nil:
		return nil, kafka.UnknownMemberID.Errorf("Member %s is not a member of group %s.", id, g.id)
	case c.classic == nil:
		return nil, kafka.UnknownMemberID.Errorf("Member %s does not use the classic protocol.", id)
	case c.epoch != generation:
		return nil, kafka.IllegalGeneration.Errorf("generation %d of member %s, its epoch is %d", generation, id, c.epoch)
	}
	return c, nil
}

func (m *Machine) syncConsumerGroup(nowMs int64, w waiter, req *kmsg.SyncGroupRequest, g *consumerGroup) coord.Outcome {
	var out coord.Outcome
	c, err := g.classicMemberOf(req.MemberID, req.InstanceID, req.Generation)
	if err == nil {
		typ := consumerProtocol
		switch {
		case differs(req.ProtocolType, &typ), differs(req.Protocol, &c.classic.SupportedProtocols[0].Name):
			err = kafka.InconsistentGroupProtocol
		case g.targetEpoch > c.epoch && c.state != memberUnrevoked:
			m.expectJoin(&out, g, c, nowMs)
			err = kafka.RebalanceInProgress
		}
	}
	if err != nil {
		replySync(&out, w, syncFailed(kafka.CodeOf(err)))
		return out
	}
	delete(g.joinTimers, c.id)
	cancel(&out, timerKey(keyConsumerSync, g.id, c.id))
	set(&out, timerKey(keySession, g.id, c.id), nowMs+int64(c.classic.SessionTimeoutMs))
	resp := kmsg.NewPtrSyncGroupResponse()
	resp.ProtocolType, resp.Protocol = req.ProtocolType, req.Protocol
	resp.MemberAssignment = m.classicAssignment(c.assigned.partitions(), c.classic.SupportedProtocols[0].Metadata)
	replySync(&out, w, resp)
	out.ReadBarrier = true
	return out
}

// classicAssignment is an assignment in the embedded protocol, in the version that the
// member's subscription has.
func (m *Machine) classicAssignment(p partitions, subscription []byte) []byte {
	a := kmsg.NewConsumerMemberAssignment()
	if sub, err := parseSubscription(subscription); err == nil {
		a.Version = min(max(sub.Version, 0), 3)
	}
	for _, id := range p.topicIDs() {
		if name := m.topicName(id); name != "" {
			t := kmsg.NewConsumerMemberAssignmentTopic()
			t.Topic, t.Partitions = name, p[id]
			a.Topics = append(a.Topics, t)
		}
	}
	return a.AppendTo(nil)
}

// expectJoin gives a classic member its rebalance timeout to join again, once.
func (m *Machine) expectJoin(out *coord.Outcome, g *consumerGroup, c *consumerMember, nowMs int64) {
	if g.joinTimers[c.id] == c.epoch {
		return
	}
	g.joinTimers[c.id] = c.epoch
	set(out, timerKey(keyConsumerJoin, g.id, c.id), nowMs+int64(c.rebalanceTimeoutMs))
}

func (m *Machine) heartbeatConsumerGroup(out *coord.Outcome, g *consumerGroup, req *kmsg.HeartbeatRequest, nowMs int64) error {
	c, err := g.classicMemberOf(req.MemberID, req.InstanceID, req.Generation)
	if err != nil {
		return err
	}
	set(out, timerKey(keySession, g.id, c.id), nowMs+int64(c.classic.SessionTimeoutMs))
	if c.epoch < g.targetEpoch || c.state == memberUnrevoked || c.state == memberUnreleased && !g.waits(c) || m.needsJoin(g, nowMs) {
		m.expectJoin(out, g, c, nowMs)
		return kafka.RebalanceInProgress
	}
	return nil
}

// needsJoin says whether a new target assignment is due that only a join can compute:
// while any member uses the consumer protocol, its next heartbeat does.
func (m *Machine) needsJoin(g *consumerGroup, nowMs int64) bool {
	if !m.targetDue(g, g.epoch, nowMs) {
		return false
	}
	for _, c := range g.members {
		if c.classic == nil {
			return false
		}
	}
	return true
}

// waits says whether other members still hold partitions of the member's target.
func (g *consumerGroup) waits(c *consumerMember) bool {
	for id, parts := range g.target[c.id] {
		for _, p := range parts {
			if _, has := c.assigned.epoch(id, p); has {
				continue
			}
			if _, held := g.owner[topicPartition{id, p}]; held {
				return true
			}
		}
	}
	return false
}

func (m *Machine) leaveConsumerGroup(out *coord.Outcome, g *consumerGroup, leaving []kmsg.LeaveGroupRequestMember, nowMs int64) []*kafka.Code {
	codes := make([]*kafka.Code, len(leaving))
	var gone []*consumerMember
	for i, l := range leaving {
		c := g.members[l.MemberID]
		if l.InstanceID != nil {
			c = g.staticMember(l.InstanceID)
			if c != nil && l.MemberID != "" && c.id != l.MemberID {
				codes[i] = kafka.FencedInstanceID
				continue
			}
		}
		if c == nil {
			codes[i] = kafka.UnknownMemberID
			continue
		}
		if !slices.Contains(gone, c) {
			gone = append(gone, c)
			note(out, "[Group %s] Member %s has left group through explicit `LeaveGroup` request; %s", g.id, c.id, because(l.Reason))
		}
	}
	m.fence(out, g, gone, nowMs)
	return codes
}
