package cluster

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	mrand "math/rand/v2"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// classic is the protocol of JoinGroup and SyncGroup, with eager rebalances.
type classic struct{}

func (classic) commitVersion() int16 { return 8 }

func (p classic) step(m *member) error {
	if m.epoch < 0 {
		return p.join(m)
	}
	req := kmsg.NewPtrHeartbeatRequest()
	req.SetVersion(4)
	req.Group, req.MemberID, req.Generation = m.group, m.id, m.epoch
	start := m.cr.now()
	resp, err := m.request(req)
	if err != nil {
		return err
	}
	switch code := resp.(*kmsg.HeartbeatResponse).ErrorCode; code {
	case 0:
		m.alive(start)
	case kerr.RebalanceInProgress.Code:
		m.alive(start)
		m.releaseAll()
		return p.join(m)
	default:
		return m.lost(code)
	}
	return nil
}

// lost takes an error of the coordinator: whether the member has still its place.
func (m *member) lost(code int16) error {
	switch code {
	case kerr.UnknownMemberID.Code:
		m.releaseAll()
		m.id, m.epoch = "", -1
		return errGone
	case kerr.IllegalGeneration.Code, kerr.FencedMemberEpoch.Code, kerr.RebalanceInProgress.Code:
		m.releaseAll()
		m.epoch = -1
		return errGone
	case kerr.CoordinatorLoadInProgress.Code:
		return nil
	case kerr.NotCoordinator.Code, kerr.CoordinatorNotAvailable.Code:
		if m.cr.moving {
			return errMoved
		}
		return nil
	}
	m.cr.violation("%s: %v for a member", m.group, kerr.ErrorForCode(code))
	return errGone
}

// join joins and syncs. The leader gives partition p to the member at p modulo their
// number.
func (p classic) join(m *member) error {
	m.releaseAll()
	req := kmsg.NewPtrJoinGroupRequest()
	req.SetVersion(7)
	req.Group, req.MemberID, req.ProtocolType = m.group, m.id, "consumer"
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 900, 900
	meta := kmsg.NewConsumerMemberMetadata()
	meta.Topics = []string{workTopic}
	protocol := kmsg.NewJoinGroupRequestProtocol()
	protocol.Name, protocol.Metadata = "modulo", meta.AppendTo(nil)
	req.Protocols = append(req.Protocols, protocol)
	r, err := m.request(req)
	if err != nil {
		return err
	}
	resp := r.(*kmsg.JoinGroupResponse)
	switch resp.ErrorCode {
	case 0:
	case kerr.MemberIDRequired.Code:
		m.id = resp.MemberID
		return nil
	default:
		return m.lost(resp.ErrorCode)
	}
	m.id = resp.MemberID
	sync := kmsg.NewPtrSyncGroupRequest()
	sync.SetVersion(4)
	sync.Group, sync.MemberID, sync.Generation = m.group, m.id, resp.Generation
	if resp.LeaderID == m.id {
		sync.GroupAssignment = modulo(resp.Members)
	}
	r, err = m.request(sync)
	if err != nil {
		return err
	}
	sr := r.(*kmsg.SyncGroupResponse)
	if sr.ErrorCode != 0 {
		return m.lost(sr.ErrorCode)
	}
	m.epoch = resp.Generation
	var assigned kmsg.ConsumerMemberAssignment
	if err := assigned.ReadFrom(sr.MemberAssignment); err != nil {
		m.cr.violation("%s: an assignment that nobody made: %v", m.group, err)
		return nil
	}
	for _, t := range assigned.Topics {
		for _, partition := range t.Partitions {
			m.acquire(partition)
		}
	}
	return nil
}

func modulo(members []kmsg.JoinGroupResponseMember) (out []kmsg.SyncGroupRequestGroupAssignment) {
	for i, member := range members {
		var a kmsg.ConsumerMemberAssignment
		t := kmsg.NewConsumerMemberAssignmentTopic()
		t.Topic = workTopic
		for p := range workParts {
			if int(p)%len(members) == i {
				t.Partitions = append(t.Partitions, p)
			}
		}
		a.Topics = append(a.Topics, t)
		ga := kmsg.NewSyncGroupRequestGroupAssignment()
		ga.MemberID, ga.MemberAssignment = member.MemberID, a.AppendTo(nil)
		out = append(out, ga)
	}
	return out
}

func (classic) leave(m *member) error {
	req := kmsg.NewPtrLeaveGroupRequest()
	req.SetVersion(4)
	req.Group = m.group
	lm := kmsg.NewLeaveGroupRequestMember()
	lm.MemberID = m.id
	req.Members = append(req.Members, lm)
	resp, err := m.request(req)
	if err != nil {
		return err
	}
	r := resp.(*kmsg.LeaveGroupResponse)
	if r.ErrorCode != 0 || r.Members[0].ErrorCode != 0 {
		return fmt.Errorf("not left: %d", r.ErrorCode)
	}
	return nil
}

// nextGen is the protocol of KIP-848: ConsumerGroupHeartbeat alone.
type nextGen struct{ topicID [16]byte }

func (nextGen) commitVersion() int16 { return 9 }

func (p nextGen) step(m *member) error {
	if m.id == "" {
		var uuid [16]byte
		rand.Read(uuid[:])
		m.id = base64.RawURLEncoding.EncodeToString(uuid[:])
	}
	req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	req.SetVersion(1)
	req.Group, req.MemberID, req.MemberEpoch = m.group, m.id, max(m.epoch, 0)
	// After a join, a new connection or a change everything is told; else nothing is.
	if req.MemberEpoch == 0 || mrand.IntN(2) == 0 {
		req.RebalanceTimeoutMillis = 900
		req.SubscribedTopicNames = []string{workTopic}
		req.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
		if len(m.held) > 0 {
			t := kmsg.NewConsumerGroupHeartbeatRequestTopic()
			t.TopicID, t.Partitions = p.topicID, sortedKeys(m.held)
			req.Topics = append(req.Topics, t)
		}
	}
	start := m.cr.now()
	r, err := m.request(req)
	if err != nil {
		return err
	}
	resp := r.(*kmsg.ConsumerGroupHeartbeatResponse)
	if resp.ErrorCode != 0 {
		return m.lost(resp.ErrorCode)
	}
	if resp.Assignment == nil {
		m.epoch = resp.MemberEpoch
		m.alive(start)
		return nil
	}
	var assigned []int32
	for _, t := range resp.Assignment.Topics {
		assigned = append(assigned, t.Partitions...)
	}
	for _, partition := range sortedKeys(m.held) {
		if !slices.Contains(assigned, partition) {
			m.held[partition].to = start
			m.release(partition)
		}
	}
	m.epoch = resp.MemberEpoch
	m.alive(start)
	for _, partition := range assigned {
		if m.held[partition] == nil {
			m.acquire(partition)
		}
	}
	return nil
}

func (nextGen) leave(m *member) error {
	req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	req.SetVersion(1)
	req.Group, req.MemberID, req.MemberEpoch = m.group, m.id, -1
	r, err := m.request(req)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(r.(*kmsg.ConsumerGroupHeartbeatResponse).ErrorCode)
}
