package brokerapi

import (
	"math"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/group"
	"github.com/gregorhq/gregor/internal/server"
)

// allGroupOperations are the operations on a group that a client may do where nobody
// restricts them: READ, DELETE, DESCRIBE, DESCRIBE_CONFIGS and ALTER_CONFIGS, as bits.
const allGroupOperations int32 = 1<<3 | 1<<6 | 1<<8 | 1<<10 | 1<<11

// describeGroups is API key 15, versions 0 to 6: state and members of classic groups.
// From version 6 on a group that does not exist is an error of its own (KIP-1043).
func (a *API) describeGroups(r *server.Request) {
	req := kmsg.NewPtrDescribeGroupsRequest()
	if !decode(r, req) {
		return
	}
	client := clientOf(r)
	r.ReleaseBody()
	resp := kmsg.NewPtrDescribeGroupsResponse()
	resp.Groups = make([]kmsg.DescribeGroupsResponseGroup, len(req.Groups))
	perGroup(a, req.Groups, func(i int) func(*group.Machine, int64, coord.Token) coord.Outcome {
		one := *req
		one.Groups = req.Groups[i : i+1 : i+1]
		return func(m *group.Machine, nowMs int64, to coord.Token) coord.Outcome {
			return m.DescribeGroups(nowMs, to, client, &one)
		}
	}, func(i int, got kmsg.Response, err error) {
		g := &resp.Groups[i]
		if err != nil {
			*g = kmsg.NewDescribeGroupsResponseGroup()
			g.Group, g.ErrorCode = req.Groups[i], coordinatorCode(err).Num()
		} else {
			*g = got.(*kmsg.DescribeGroupsResponse).Groups[0]
		}
		g.AuthorizedOperations = math.MinInt32
		if req.IncludeAuthorizedOperations && g.ErrorCode == 0 {
			g.AuthorizedOperations = allGroupOperations
		}
	}, func() { r.Reply(resp) })
}
