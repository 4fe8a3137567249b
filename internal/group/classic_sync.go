package group

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
)

// SyncGroup fetches a member's assignment; the leader's brings all of them. Members that
// come before the leader wait for it.
func (m *Machine) SyncGroup(nowMs int64, to coord.Token, _ coord.Client, req *kmsg.SyncGroupRequest) coord.Outcome {
	var out coord.Outcome
	w := waiter{to, req.Version}
	refuse := func(code *kafka.Code) coord.Outcome {
		replySync(&out, w, syncFailed(code))
		return out
	}
	if req.Group == "" {
		return refuse(kafka.InvalidGroupID)
	}
	if g, ok := m.groups[req.Group].(*consumerGroup); ok && !g.isEmpty() {
		return m.syncConsumerGroup(nowMs, w, req, g)
	}
	g, ok := m.groups[req.Group].(*classicGroup)
	if !ok || g.isEmpty() {
		return refuse(kafka.UnknownMemberID)
	}
	if code := g.validateSync(req); code != nil {
		return refuse(code)
	}
	c := g.members[req.MemberID]
	switch g.state {
	case preparing:
		return refuse(kafka.RebalanceInProgress)
	case completing:
		g.finishSync(&out, c, syncFailed(kafka.RebalanceInProgress)) // its client gave it up
		c.sync = &w
		m.syncArrived(&out, g, c.id)
		if g.leader == c.id {
			m.writeAssignment(&out, g, req)
		}
	case stable:
		m.syncArrived(&out, g, c.id)
		replySync(&out, w, g.synced(c))
		out.ReadBarrier = true
	}
	return out
}

func (g *classicGroup) validateSync(req *kmsg.SyncGroupRequest) *kafka.Code {
	if err := g.validateMember(req.MemberID, req.InstanceID); err != nil {
		return kafka.CodeOf(err)
	}
	if req.Generation != g.generation {
		return kafka.IllegalGeneration
	}
	if differs(req.ProtocolType, &g.typ) || differs(req.Protocol, g.chosen) {
		return kafka.InconsistentGroupProtocol
	}
	return nil
}

// differs says whether both are known and are not the same.
func differs(a, b *string) bool { return a != nil && b != nil && *a != *b }

// syncArrived notes that a member of the generation has asked for its assignment.
func (m *Machine) syncArrived(out *coord.Outcome, g *classicGroup, id string) {
	delete(g.pendingSync, id)
	if len(g.pendingSync) == 0 {
		cancel(out, timerKey(keySync, g.id, ""))
	}
}

// writeAssignment writes the generation with the leader's assignment. The members get it
// when it is committed; if it cannot be written the group rebalances.
func (m *Machine) writeAssignment(out *coord.Outcome, g *classicGroup, req *kmsg.SyncGroupRequest) {
	assignments := map[string][]byte{}
	for id := range g.members {
		assignments[id] = []byte{}
	}
	for _, a := range req.GroupAssignment {
		if g.members[a.MemberID] != nil && a.MemberAssignment != nil {
			assignments[a.MemberID] = a.MemberAssignment
		}
	}
	note(out, "Assignment received from leader %s for group %s for generation %d. The group has %d members, %d of which are static.",
		req.MemberID, g.id, g.generation, len(g.members), len(g.static))
	generation := g.generation
	current := func() bool { return g.state == completing && g.generation == generation && m.groups[g.id] == group(g) }
	out.Records = append(out.Records, g.generationRecord(assignments))
	out.Op = &op{
		committed: func(nowMs int64) coord.Outcome {
			var out coord.Outcome
			if !current() {
				return out
			}
			for _, c := range g.all() {
				if c.assignment = assignments[c.id]; c.assignment == nil {
					c.assignment = []byte{}
				}
			}
			m.propagate(&out, g, nil, nowMs)
			g.transition(stable, nowMs)
			return out
		},
		failed: func(code *kafka.Code, nowMs int64) coord.Outcome {
			var out coord.Outcome
			if !current() {
				return out
			}
			m.propagate(&out, g, code, nowMs)
			m.prepareRebalance(&out, g, "Error "+code.Name()+" when storing group assignment during SyncGroup (member: "+req.MemberID+").", nowMs)
			// Nothing may be appended here, and nothing is: members are left.
			return out
		},
	}
}
