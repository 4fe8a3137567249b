package group

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/records"
)

// upgrade turns a classic group with members into a consumer group, for a member of the
// consumer protocol that joins it. Members that wait in the classic group are told to
// join again, and go on as classic members of the new group.
func (b *beat) upgrade(g *classicGroup) error {
	refuse := func(why string) error {
		return kafka.GroupIDNotFound.Errorf("Cannot upgrade classic group %s to consumer group because %s.", g.id, why)
	}
	switch {
	case !b.m.cfg.ConsumerMigrationPolicy.upgrades():
		return refuse("online upgrade is disabled")
	case g.typ != consumerProtocol:
		return refuse("the group does not use the consumer embedded protocol")
	case len(g.members) > b.m.cfg.ConsumerGroupMaxSize:
		return refuse("the group size exceeds the consumer group maximum size")
	case g.chosen == nil:
		return refuse("it has no generation yet")
	}
	c := newConsumerGroup(g.id)
	c.epoch, c.targetEpoch = g.generation, g.generation
	for _, old := range g.all() {
		member, err := b.m.upgradedMember(g, old)
		if err != nil {
			return refuse(err.Error())
		}
		c.target[member.id] = member.assigned.partitions()
		c.setMember(member.id, member)
	}
	c.hash = b.m.hashOf(c.topicCounts)
	out := &b.out
	b.late = append(b.late, func() {
		cancel(out, g.timerKeys()...)
		for _, old := range g.all() {
			g.finishJoin(out, old, joinFailed(old.id, kafka.RebalanceInProgress))
			g.finishSync(out, old, syncFailed(kafka.RebalanceInProgress))
		}
	})
	b.failed = func(out *coord.Outcome, nowMs int64) { b.m.resume(out, g, nowMs) }
	out.Records = append(out.Records, g.tombstones()...)
	out.Records = append(out.Records, c.allRecords()...)
	for _, id := range c.memberIDs() {
		set(out, timerKey(keySession, g.id, id), b.now+int64(c.members[id].classic.SessionTimeoutMs))
	}
	b.g = c
	return nil
}

// resume starts the timers of a classic group that was not upgraded after all. Nobody
// waits in it any more.
func (m *Machine) resume(out *coord.Outcome, g *classicGroup, nowMs int64) {
	for _, c := range g.all() {
		m.scheduleHeartbeat(out, g, c, nowMs)
	}
	switch g.state {
	case preparing:
		set(out, timerKey(keyJoin, g.id, ""), nowMs+g.rebalanceTimeoutMs())
	case completing:
		set(out, timerKey(keySync, g.id, ""), nowMs+g.rebalanceTimeoutMs())
	}
}

func (m *Machine) upgradedMember(g *classicGroup, old *classicMember) (*consumerMember, error) {
	assigned := owned{}
	if len(old.assignment) > maxEmbeddedBytes {
		return nil, kafka.InconsistentGroupProtocol.Errorf("an assignment has %d bytes", len(old.assignment))
	}
	if len(old.assignment) > 0 {
		a := kmsg.NewConsumerMemberAssignment()
		if err := a.ReadFrom(old.assignment); err != nil {
			return nil, kafka.InconsistentGroupProtocol.Errorf("the embedded consumer protocol is malformed: %w", err)
		}
		if len(a.UserData) > 0 {
			return nil, kafka.UnsupportedVersion.Errorf("an unsupported custom assignor is in use")
		}
		for _, t := range a.Topics {
			if topic := m.image().Topic(t.Topic); topic != nil {
				for _, p := range t.Partitions {
					assigned.put(topic.ID, p, g.generation)
				}
			}
		}
	}
	sub, err := parseSubscription(old.metadataFor(*g.chosen))
	if err != nil {
		return nil, err
	}
	c := newConsumerMember(old.id)
	c.instanceID, c.rackID, c.clientID, c.clientHost = old.instanceID, sub.Rack, old.clientID, old.clientHost
	c.topics, c.rebalanceTimeoutMs = sortedNames(sub.Topics), old.rebalanceTimeoutMs
	c.epoch, c.previousEpoch, c.assigned = g.generation, g.generation, assigned
	c.classic = &records.ConsumerGroupClassicMember{SessionTimeoutMs: old.sessionTimeoutMs}
	for _, p := range old.protocols {
		c.classic.SupportedProtocols = append(c.classic.SupportedProtocols, records.ConsumerGroupClassicProtocol{Name: p.Name, Metadata: p.Metadata})
	}
	return c, nil
}

// allRecords are the records of a group that was made from a classic one.
func (g *consumerGroup) allRecords() []coord.Record {
	var all []coord.Record
	ids := g.memberIDs()
	for _, id := range ids {
		all = append(all, g.members[id].metadataRecord(g.id))
	}
	all = append(all, epochRecord(g.id, g.epoch, g.hash))
	for _, id := range ids {
		all = append(all, targetRecord(g.id, id, g.target[id]))
	}
	all = append(all, targetMetadataRecord(g.id, g.targetEpoch, 0))
	for _, id := range ids {
		all = append(all, g.members[id].currentRecord(g.id))
	}
	return all
}

// mayDowngrade says whether a group may become a classic one without the members named:
// all others use the classic protocol, and size of them are not too many.
func (m *Machine) mayDowngrade(g *consumerGroup, without map[string]bool, size int) bool {
	for id, c := range g.members {
		if c.classic == nil && !without[id] {
			return false
		}
	}
	return m.cfg.ConsumerMigrationPolicy.downgrades() && size <= m.cfg.GroupMaxSize
}

// downgrade turns a consumer group into a classic one: without the members that leave,
// and with joining in the place of the static member that it replaces. A member's assignment
// is what it has, not its target: until a rebalance others may have what it is to get. The
// classic group stands at once; if its records cannot be written the consumer group comes back.
func (m *Machine) downgrade(out *coord.Outcome, g *consumerGroup, leaving map[string]bool, joining, replaced *consumerMember, rebalance bool, nowMs int64) error {
	c := newClassicGroup(g.id)
	c.state, c.stateMs, c.generation = stable, nowMs, g.epoch
	has := map[string]partitions{}
	for _, id := range g.memberIDs() {
		if !leaving[id] && g.members[id] != replaced {
			c.add(classicOf(g.members[id]), consumerProtocol)
			has[id] = g.members[id].held()
		}
	}
	tombstones := g.tombstones()
	if joining != nil {
		c.add(classicOf(joining), consumerProtocol)
		has[joining.id] = joining.held()
		tombstones = g.tombstonesWith(replaced.id, joining.id)
	}
	chosen := c.selectProtocol()
	if chosen == "" {
		return kafka.InconsistentGroupProtocol.Errorf("the members of group %s share no protocol", g.id)
	}
	c.chosen = &chosen
	c.computeTopics()
	for _, member := range c.all() {
		member.assignment = m.classicAssignment(has[member.id], member.metadataFor(chosen))
	}
	out.Records = append(out.Records, tombstones...)
	out.Records = append(out.Records, c.generationRecord(c.assignments()))
	cancel(out, g.timerKeys()...)
	m.groups[g.id] = c
	for _, member := range c.all() {
		m.scheduleHeartbeat(out, c, member, nowMs)
	}
	if rebalance {
		m.prepareRebalance(out, c, "Downgrade group "+g.id+" from consumer to classic.", nowMs)
	}
	out.Op = &op{failed: func(_ *kafka.Code, nowMs int64) coord.Outcome {
		var out coord.Outcome
		cancel(&out, c.timerKeys()...)
		m.groups[g.id] = g
		m.consumerLoaded(&out, g, nowMs)
		return out
	}}
	return nil
}

// classicOf is a classic member of a consumer group as a member of a classic group.
func classicOf(c *consumerMember) *classicMember {
	d := &classicMember{
		id: c.id, instanceID: c.instanceID, clientID: c.clientID, clientHost: c.clientHost,
		rebalanceTimeoutMs: c.rebalanceTimeoutMs, sessionTimeoutMs: c.classic.SessionTimeoutMs,
	}
	for _, p := range c.classic.SupportedProtocols {
		d.protocols = append(d.protocols, kmsg.JoinGroupRequestProtocol{Name: p.Name, Metadata: slices.Clone(p.Metadata)})
	}
	return d
}
