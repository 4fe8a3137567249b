package brokerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/group"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/server"
)

// joinGroup is API key 11, versions 0 to 9: a member of a classic group asks for a
// place in the next generation, and is answered when that is complete.
func (a *API) joinGroup(r *server.Request) {
	req := kmsg.NewPtrJoinGroupRequest()
	if !decode(r, req) {
		return
	}
	for i := range req.Protocols {
		cloneBytes(&req.Protocols[i].Metadata)
	}
	toGroup(a, r, req.Group, req, (*group.Machine).JoinGroup, func(c *kafka.Code) kmsg.Response {
		resp := kmsg.NewPtrJoinGroupResponse()
		resp.ErrorCode, resp.Generation, resp.MemberID = c.Num(), -1, req.MemberID
		if req.Version < 7 {
			resp.Protocol = new(string)
		}
		return resp
	})
}
