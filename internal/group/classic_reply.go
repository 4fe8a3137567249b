package group

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
)

// noGeneration is the generation in answers that name none.
const noGeneration = -1

func joinFailed(memberID string, code *kafka.Code) *kmsg.JoinGroupResponse {
	resp := kmsg.NewPtrJoinGroupResponse()
	resp.Generation, resp.MemberID, resp.ErrorCode = noGeneration, memberID, code.Num()
	return resp
}

func syncFailed(code *kafka.Code) *kmsg.SyncGroupResponse {
	resp := kmsg.NewPtrSyncGroupResponse()
	resp.ErrorCode, resp.MemberAssignment = code.Num(), []byte{}
	return resp
}

// joined is the answer to a member of the current generation. The leader alone learns of
// all members.
func (g *classicGroup) joined(c *classicMember) *kmsg.JoinGroupResponse {
	resp := kmsg.NewPtrJoinGroupResponse()
	resp.MemberID, resp.Generation, resp.LeaderID = c.id, g.generation, g.leader
	resp.Protocol = g.chosen
	if g.typ != "" {
		resp.ProtocolType = &g.typ
	}
	if g.leader == c.id {
		resp.Members = g.described()
	}
	return resp
}

// described lists the members with their metadata of the chosen protocol.
func (g *classicGroup) described() []kmsg.JoinGroupResponseMember {
	var all []kmsg.JoinGroupResponseMember
	for _, c := range g.all() {
		rm := kmsg.NewJoinGroupResponseMember()
		rm.MemberID, rm.InstanceID = c.id, c.instanceID
		if g.chosen != nil {
			rm.ProtocolMetadata = c.metadataFor(*g.chosen)
		}
		all = append(all, rm)
	}
	return all
}

// synced is the answer that carries a member's assignment.
func (g *classicGroup) synced(c *classicMember) *kmsg.SyncGroupResponse {
	resp := kmsg.NewPtrSyncGroupResponse()
	resp.Protocol, resp.MemberAssignment = g.chosen, c.assignment
	if g.typ != "" {
		resp.ProtocolType = &g.typ
	}
	return resp
}

func replyJoin(out *coord.Outcome, w waiter, resp *kmsg.JoinGroupResponse) {
	resp.Version = w.version
	if resp.Protocol == nil && w.version < 7 {
		resp.Protocol = new(string)
	}
	out.Replies = append(out.Replies, coord.Reply{To: w.to, Response: resp})
}

func replySync(out *coord.Outcome, w waiter, resp *kmsg.SyncGroupResponse) {
	resp.Version = w.version
	out.Replies = append(out.Replies, coord.Reply{To: w.to, Response: resp})
}

// finishJoin answers a member that waits for its join, and says whether it did.
func (g *classicGroup) finishJoin(out *coord.Outcome, c *classicMember, resp *kmsg.JoinGroupResponse) bool {
	if c.join == nil {
		return false
	}
	replyJoin(out, *c.join, resp)
	c.join = nil
	g.awaitingJoin--
	return true
}

// finishSync answers a member that waits for its assignment, and says whether it did.
func (g *classicGroup) finishSync(out *coord.Outcome, c *classicMember, resp *kmsg.SyncGroupResponse) bool {
	if c.sync == nil {
		return false
	}
	replySync(out, *c.sync, resp)
	c.sync = nil
	return true
}
