package brokerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/group"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/server"
)

// heartbeat is API key 12, versions 0 to 4: a member of a classic group is alive, and
// wants to know whether the group rebalances.
func (a *API) heartbeat(r *server.Request) {
	req := kmsg.NewPtrHeartbeatRequest()
	if !decode(r, req) {
		return
	}
	toGroup(a, r, req.Group, req, (*group.Machine).Heartbeat, heartbeatRefused)
}

// heartbeatRefused never says that the group is being loaded. Sessions begin anew when it
// is: until then every member lives.
func heartbeatRefused(c *kafka.Code) kmsg.Response {
	resp := kmsg.NewPtrHeartbeatResponse()
	if c != kafka.CoordinatorLoadInProgress {
		resp.ErrorCode = c.Num()
	}
	return resp
}
