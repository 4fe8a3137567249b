package main

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// runClassic is a member of a classic group with eager rebalances.
func (m *member) runClassic() error {
	meta := kmsg.NewConsumerMemberMetadata()
	meta.Topics = m.crowd.spec.topics
	subscription := meta.AppendTo(nil)
	for {
		stay, err := m.rebalance(subscription)
		if err != nil || !stay {
			return err
		}
		for rejoin := false; !rejoin; {
			if !m.wait(heartbeatEvery) {
				return m.leaveClassic()
			}
			if rejoin, err = m.heartbeat(); err != nil {
				return err
			}
		}
		m.crowd.set(m.index, m.leave, standing{})
	}
}

// rebalance joins and synchronises until the member has its part of a generation.
func (m *member) rebalance(subscription []byte) (stay bool, err error) {
	for {
		join := kmsg.NewPtrJoinGroupRequest()
		join.SetVersion(7)
		join.Group, join.MemberID = m.crowd.spec.group, m.id
		join.SessionTimeoutMillis, join.RebalanceTimeoutMillis = sessionTimeoutMs, 300_000
		join.ProtocolType = "consumer"
		p := kmsg.NewJoinGroupRequestProtocol()
		p.Name, p.Metadata = "range", subscription
		join.Protocols = append(join.Protocols, p)
		kresp, err := m.conn.do(join, requestLimit)
		if err != nil {
			return false, err
		}
		joined := kresp.(*kmsg.JoinGroupResponse)
		switch {
		case joined.ErrorCode == 0:
		case m.is(joined.ErrorCode, kerr.MemberIDRequired):
			m.id = joined.MemberID
			continue
		case m.is(joined.ErrorCode, kerr.RebalanceInProgress, kerr.CoordinatorNotAvailable, kerr.CoordinatorLoadInProgress, kerr.NotCoordinator):
			if !m.wait(50 * time.Millisecond) {
				return false, nil
			}
			continue
		case m.is(joined.ErrorCode, kerr.UnknownMemberID):
			m.id = ""
			continue
		default:
			return false, fmt.Errorf("join: %w", kerr.ErrorForCode(joined.ErrorCode))
		}
		m.id, m.epoch = joined.MemberID, joined.Generation
		assigned, again, err := m.sync(joined)
		if err != nil {
			return false, err
		}
		if again {
			continue
		}
		m.crowd.set(m.index, m.leave, standing{epoch: m.epoch, members: len(joined.Members), assigned: assigned, settled: true})
		return true, nil
	}
}

func (m *member) sync(joined *kmsg.JoinGroupResponse) (assigned int, again bool, err error) {
	req := kmsg.NewPtrSyncGroupRequest()
	req.SetVersion(5)
	req.Group, req.MemberID, req.Generation = m.crowd.spec.group, m.id, m.epoch
	req.ProtocolType, req.Protocol = joined.ProtocolType, joined.Protocol
	if joined.LeaderID == m.id {
		req.GroupAssignment = m.assign(joined.Members)
	}
	kresp, err := m.conn.do(req, requestLimit)
	if err != nil {
		return 0, false, err
	}
	resp := kresp.(*kmsg.SyncGroupResponse)
	switch {
	case m.is(resp.ErrorCode, kerr.RebalanceInProgress, kerr.IllegalGeneration):
		return 0, true, nil
	case m.is(resp.ErrorCode, kerr.UnknownMemberID):
		m.id = ""
		return 0, true, nil
	case resp.ErrorCode != 0:
		return 0, false, fmt.Errorf("sync: %w", kerr.ErrorForCode(resp.ErrorCode))
	}
	var a kmsg.ConsumerMemberAssignment
	if err := a.ReadFrom(resp.MemberAssignment); err != nil {
		return 0, false, fmt.Errorf("reading the assignment: %w", err)
	}
	for _, t := range a.Topics {
		assigned += len(t.Partitions)
	}
	return assigned, false, nil
}

// assign deals the partitions out in turn.
func (m *member) assign(members []kmsg.JoinGroupResponseMember) []kmsg.SyncGroupRequestGroupAssignment {
	s := m.crowd.spec
	plans := make([]map[string][]int32, len(members))
	for i := range plans {
		plans[i] = map[string][]int32{}
	}
	next := 0
	for _, t := range s.topics {
		for p := range s.partitions {
			plan := plans[next%len(members)]
			plan[t] = append(plan[t], int32(p))
			next++
		}
	}
	out := make([]kmsg.SyncGroupRequestGroupAssignment, len(members))
	for i, plan := range plans {
		a := kmsg.NewConsumerMemberAssignment()
		for topic, parts := range plan {
			t := kmsg.NewConsumerMemberAssignmentTopic()
			t.Topic, t.Partitions = topic, parts
			a.Topics = append(a.Topics, t)
		}
		out[i] = kmsg.NewSyncGroupRequestGroupAssignment()
		out[i].MemberID, out[i].MemberAssignment = members[i].MemberID, a.AppendTo(nil)
	}
	return out
}

func (m *member) heartbeat() (rejoin bool, err error) {
	req := kmsg.NewPtrHeartbeatRequest()
	req.SetVersion(4)
	req.Group, req.MemberID, req.Generation = m.crowd.spec.group, m.id, m.epoch
	kresp, err := m.conn.do(req, requestLimit)
	if err != nil {
		return false, err
	}
	code := kresp.(*kmsg.HeartbeatResponse).ErrorCode
	switch {
	case code == 0:
		return false, nil
	case m.is(code, kerr.RebalanceInProgress, kerr.IllegalGeneration):
		return true, nil
	case m.is(code, kerr.UnknownMemberID):
		m.id = ""
		return true, nil
	}
	return false, fmt.Errorf("heartbeat: %w", kerr.ErrorForCode(code))
}

func (m *member) leaveClassic() error {
	if m.crowd.ctx.Err() != nil {
		return nil
	}
	req := kmsg.NewPtrLeaveGroupRequest()
	req.SetVersion(3)
	req.Group = m.crowd.spec.group
	lm := kmsg.NewLeaveGroupRequestMember()
	lm.MemberID = m.id
	req.Members = append(req.Members, lm)
	_, err := m.conn.do(req, requestLimit)
	return err
}
