package brokerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/group"
	"github.com/gregorhq/gregor/internal/server"
)

// leaveGroup is API key 13, versions 0 to 5: members leave a classic group; several at
// once from version 3 on (KIP-345).
func (a *API) leaveGroup(r *server.Request) {
	req := kmsg.NewPtrLeaveGroupRequest()
	if !decode(r, req) {
		return
	}
	toGroup(a, r, req.Group, req, (*group.Machine).LeaveGroup, failed(kmsg.NewPtrLeaveGroupResponse(),
		func(resp *kmsg.LeaveGroupResponse, code int16) { resp.ErrorCode = code }))
}
