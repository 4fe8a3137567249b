package brokerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/group"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/server"
)

// offsetDelete is API key 47, version 0: committed offsets of topics that the group
// does not consume any more are removed (KIP-496).
func (a *API) offsetDelete(r *server.Request) {
	req := kmsg.NewPtrOffsetDeleteRequest()
	if !decode(r, req) {
		return
	}
	refused := failed(kmsg.NewPtrOffsetDeleteResponse(), func(resp *kmsg.OffsetDeleteResponse, code int16) { resp.ErrorCode = code })
	if req.Group == "" {
		r.Reply(refused(kafka.InvalidGroupID))
		return
	}
	toGroup(a, r, req.Group, req, (*group.Machine).OffsetDelete, refused)
}
