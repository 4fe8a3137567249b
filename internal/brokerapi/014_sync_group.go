package brokerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/group"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/server"
)

// syncGroup is API key 14, versions 0 to 5: the leader of a classic group brings the
// assignment of the generation, every member waits for its part of it. From version 5
// on a member must say which protocol it means.
func (a *API) syncGroup(r *server.Request) {
	req := kmsg.NewPtrSyncGroupRequest()
	if !decode(r, req) {
		return
	}
	if req.Version >= 5 && (req.ProtocolType == nil || req.Protocol == nil) {
		r.Reply(syncRefused(kafka.InconsistentGroupProtocol))
		return
	}
	for i := range req.GroupAssignment {
		cloneBytes(&req.GroupAssignment[i].MemberAssignment)
	}
	toGroup(a, r, req.Group, req, (*group.Machine).SyncGroup, syncRefused)
}

// syncRefused never says that the group is being loaded, which Java's client throws at
// its application here. A rebalance does not outlive its coordinator, so the member has
// to join again in any case.
func syncRefused(c *kafka.Code) kmsg.Response {
	if c == kafka.CoordinatorLoadInProgress {
		c = kafka.RebalanceInProgress
	}
	resp := kmsg.NewPtrSyncGroupResponse()
	resp.ErrorCode, resp.MemberAssignment = c.Num(), []byte{}
	return resp
}
