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
	refused := failed(kmsg.NewPtrSyncGroupResponse(), func(resp *kmsg.SyncGroupResponse, code int16) {
		resp.ErrorCode, resp.MemberAssignment = code, []byte{}
	})
	if req.Version >= 5 && (req.ProtocolType == nil || req.Protocol == nil) {
		r.Reply(refused(kafka.InconsistentGroupProtocol))
		return
	}
	for i := range req.GroupAssignment {
		cloneBytes(&req.GroupAssignment[i].MemberAssignment)
	}
	toGroup(a, r, req.Group, req, (*group.Machine).SyncGroup, refused)
}
