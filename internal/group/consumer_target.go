package group

import (
	"maps"
	"slices"

	"github.com/gregorhq/gregor/internal/kafka"
)

// assign returns the epoch and the member's part of the target assignment. It computes a
// new one when the group's epoch is ahead of it, not more often than the group's
// assignment interval allows (KIP-1263).
func (b *beat) assign() (int32, partitions, error) {
	g := b.g
	if !b.m.targetDue(g, b.epoch, b.now) {
		return g.targetEpoch, g.targetOf(b.updated), nil
	}
	name := b.preferredAssignor()
	compute := assignors[name]
	if compute == nil {
		return 0, nil, kafka.UnknownServerError.Errorf("Failed to compute a new target assignment for epoch %d: no assignor %s", b.epoch, name)
	}
	spec := b.assignSpec()
	target := map[string]partitions{}
	if len(spec.members) > 0 {
		target = compute(spec)
	}
	for _, c := range spec.members {
		old, had := g.target[c.id]
		if !had || !old.equal(target[c.id]) {
			b.out.Records = append(b.out.Records, targetRecord(g.id, c.id, target[c.id]))
		}
	}
	b.out.Records = append(b.out.Records, targetMetadataRecord(g.id, b.epoch, b.now))
	return b.epoch, target[b.updated.id], nil
}

// targetDue says whether the target assignment is to be computed for the epoch. The time of
// the last one is in the log, by the clock of the coordinator that computed it: one that
// lies ahead comes from before a clock was set back, or from another broker's, and nobody
// must wait until it has come.
func (m *Machine) targetDue(g *consumerGroup, epoch int32, nowMs int64) bool {
	if g.targetEpoch >= epoch {
		return false
	}
	interval := m.assignmentIntervalMs(g.id)
	return g.targetMs == 0 || interval == 0 || nowMs < g.targetMs || nowMs >= g.targetMs+interval
}

// preferredAssignor is the assignor that most members ask for; among equals the first by
// name.
func (b *beat) preferredAssignor() string {
	counts := map[string]int{}
	for _, c := range b.allMembers() {
		if c.assignor != nil {
			counts[*c.assignor]++
		}
	}
	best := ""
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		if best == "" || counts[name] > counts[best] {
			best = name
		}
	}
	if best != "" {
		return best
	}
	return b.m.defaultAssignor()
}

func (m *Machine) defaultAssignor() string {
	if len(m.cfg.ConsumerAssignors) > 0 {
		return m.cfg.ConsumerAssignors[0]
	}
	return uniformName
}

// allMembers are the members with this request, sorted by id.
func (b *beat) allMembers() []*consumerMember {
	var all []*consumerMember
	replaced := b.g.staticMember(b.updated.instanceID)
	for id, c := range b.g.members {
		if id != b.updated.id && c != replaced {
			all = append(all, c)
		}
	}
	all = append(all, b.updated)
	slices.SortFunc(all, func(x, y *consumerMember) int {
		if x.id < y.id {
			return -1
		}
		return 1
	})
	return all
}

func (b *beat) assignSpec() *assignSpec {
	img := b.m.image()
	spec := &assignSpec{counts: map[kafka.TopicID]int32{}, homogeneous: true}
	ids := map[string]kafka.TopicID{}
	idOf := func(name string) (kafka.TopicID, bool) {
		id, seen := ids[name]
		if !seen {
			if t := img.Topic(name); t != nil {
				id = t.ID
				spec.counts[id] = int32(t.NumPartitions())
			}
			ids[name] = id
		}
		return id, !id.IsZero()
	}
	var first *consumerMember
	for _, c := range b.allMembers() {
		am := assignMember{id: c.id, instanceID: c.instanceID, target: b.g.targetOf(c)}
		if first != nil && slices.Equal(first.topics, c.topics) && first.regex == c.regex {
			am.topics = spec.members[0].topics
		} else {
			for _, name := range b.subscriptionOf(c) {
				if id, ok := idOf(name); ok {
					am.topics = append(am.topics, id)
				}
			}
			slices.SortFunc(am.topics, compareIDs)
			am.topics = slices.Compact(am.topics)
			spec.homogeneous = spec.homogeneous && first == nil
		}
		if first == nil {
			first = c
		}
		spec.members = append(spec.members, am)
	}
	return spec
}

// subscriptionOf are the names of a member's topics, those of its expression included.
func (b *beat) subscriptionOf(c *consumerMember) []string {
	if r := b.resolved[c.regex]; c.regex != "" && r != nil {
		return append(slices.Clone(c.topics), r.topics...)
	}
	return c.topics
}

// reconcile takes the member one step towards its target and writes what has changed.
func (b *beat) reconcile(epoch int32, target partitions) error {
	c := b.updated
	if !b.changed && c.reconciledTo(epoch) {
		return nil
	}
	subscribed := map[kafka.TopicID]bool{}
	for _, name := range b.subscriptionOf(c) {
		if t := b.m.image().Topic(name); t != nil {
			subscribed[t.ID] = true
		}
	}
	r := &reconcile{
		member: c, epoch: epoch, target: target, changed: b.changed, owned: b.owned, said: b.said,
		topics: func(id kafka.TopicID) bool { return subscribed[id] },
		held:   func(tp topicPartition) bool { _, ok := b.g.owner[tp]; return ok },
	}
	next, err := r.run()
	if err != nil {
		return err
	}
	if next.sameAssignment(c) {
		return nil
	}
	b.updated = next
	b.out.Records = append(b.out.Records, next.currentRecord(b.g.id))
	if next.classic != nil {
		return nil
	}
	key := timerKey(keyRebalance, b.g.id, next.id)
	if next.state == memberUnrevoked {
		b.g.rebalanceEpoch[next.id] = next.epoch
		set(&b.out, key, b.now+int64(next.rebalanceTimeoutMs))
	} else {
		cancel(&b.out, key)
	}
	return nil
}
