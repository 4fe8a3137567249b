package group

import (
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
)

// Heartbeat keeps a member's session, and tells it of a rebalance.
func (m *Machine) Heartbeat(nowMs int64, to coord.Token, _ coord.Client, req *kmsg.HeartbeatRequest) coord.Outcome {
	resp := kmsg.NewPtrHeartbeatResponse()
	resp.Version = req.Version
	out := coord.Answer(to, resp)
	out.ReadBarrier = true
	if req.Group == "" {
		resp.ErrorCode = kafka.InvalidGroupID.Num()
		return out
	}
	switch g := m.groups[req.Group].(type) {
	case *classicGroup:
		resp.ErrorCode = kafka.NumOf(m.classicHeartbeat(&out, g, req, nowMs))
	case *consumerGroup:
		resp.ErrorCode = kafka.NumOf(m.heartbeatConsumerGroup(&out, g, req, nowMs))
	default:
		resp.ErrorCode = kafka.UnknownMemberID.Num()
	}
	return out
}

func (m *Machine) classicHeartbeat(out *coord.Outcome, g *classicGroup, req *kmsg.HeartbeatRequest, nowMs int64) error {
	if err := g.validateMember(req.MemberID, req.InstanceID); err != nil {
		return err
	}
	if req.Generation != g.generation {
		return kafka.IllegalGeneration.Errorf("heartbeat of generation %d, group %s has %d", req.Generation, g.id, g.generation)
	}
	m.scheduleHeartbeat(out, g, g.members[req.MemberID], nowMs)
	if g.state == preparing {
		return kafka.RebalanceInProgress.Errorf("group %s is rebalancing", g.id)
	}
	return nil
}

// LeaveGroup removes members, each for itself: one that is not known does not keep the
// others.
func (m *Machine) LeaveGroup(nowMs int64, to coord.Token, _ coord.Client, req *kmsg.LeaveGroupRequest) coord.Outcome {
	resp := kmsg.NewPtrLeaveGroupResponse()
	resp.Version = req.Version
	out := coord.Answer(to, resp)
	out.ReadBarrier = true
	if req.Group == "" {
		resp.ErrorCode = kafka.InvalidGroupID.Num()
		return out
	}
	leaving := req.Members
	if req.Version < 3 {
		one := kmsg.NewLeaveGroupRequestMember()
		one.MemberID = req.MemberID
		leaving = []kmsg.LeaveGroupRequestMember{one}
	}
	var codes []*kafka.Code
	switch g := m.groups[req.Group].(type) {
	case *classicGroup:
		codes = m.leaveClassic(&out, g, leaving, nowMs)
	case *consumerGroup:
		codes = m.leaveConsumerGroup(&out, g, leaving, nowMs)
	default:
		// A group that is not there is told as one that has none of the members.
		codes = make([]*kafka.Code, len(leaving))
		for i := range codes {
			codes[i] = kafka.UnknownMemberID
		}
	}
	for i, l := range leaving {
		rm := kmsg.NewLeaveGroupResponseMember()
		rm.MemberID, rm.InstanceID = l.MemberID, l.InstanceID
		if codes[i] != nil {
			rm.ErrorCode = codes[i].Num()
		}
		if req.Version < 3 {
			resp.ErrorCode = rm.ErrorCode
			break
		}
		resp.Members = append(resp.Members, rm)
	}
	return out
}

// leaveClassic returns the members' error codes, nil for those that have left.
func (m *Machine) leaveClassic(out *coord.Outcome, g *classicGroup, leaving []kmsg.LeaveGroupRequestMember, nowMs int64) []*kafka.Code {
	codes := make([]*kafka.Code, len(leaving))
	var left []string
	for i, l := range leaving {
		id := l.MemberID
		if id == "" && l.InstanceID != nil {
			// An administrator removes static members by instance id alone.
			id = g.static[*l.InstanceID]
		}
		if _, pending := g.pendingJoin[id]; pending && id != "" {
			g.remove(id)
			cancel(out, timerKey(keyHeartbeat, g.id, id))
			note(out, "[Group %s] Pending member %s has left group through explicit `LeaveGroup` request; %s", g.id, id, because(l.Reason))
			left = append(left, id)
			continue
		}
		if err := g.validateMember(id, l.InstanceID); err != nil {
			codes[i] = kafka.CodeOf(err)
			continue
		}
		c := g.members[id]
		cancel(out, timerKey(keyHeartbeat, g.id, id))
		note(out, "[Group %s] Member %s has left group through explicit `LeaveGroup` request; %s", g.id, id, because(l.Reason))
		g.finishJoin(out, c, joinFailed("", kafka.UnknownMemberID))
		g.finishSync(out, c, syncFailed(kafka.UnknownMemberID))
		g.remove(id)
		left = append(left, id)
	}
	if len(left) == 0 {
		return codes
	}
	switch g.state {
	case stable, completing:
		m.rebalanceOrCompleteJoin(out, g, "explicit `LeaveGroup` request for ("+strings.Join(left, ", ")+") members.", nowMs)
	case preparing:
		m.completeJoinIfAll(out, g, nowMs)
	}
	return codes
}
