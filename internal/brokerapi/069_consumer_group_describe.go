package brokerapi

import (
	"math"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/group"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/server"
)

// consumerGroupDescribe is API key 69, versions 0 and 1: epochs, members and
// assignments of consumer groups (KIP-848).
func (a *API) consumerGroupDescribe(r *server.Request) {
	req := kmsg.NewPtrConsumerGroupDescribeRequest()
	if !decode(r, req) {
		return
	}
	client := clientOf(r)
	r.ReleaseBody()
	resp := kmsg.NewPtrConsumerGroupDescribeResponse()
	resp.Groups = make([]kmsg.ConsumerGroupDescribeResponseGroup, len(req.Groups))
	refuse := func(i int, c *kafka.Code) {
		resp.Groups[i] = kmsg.NewConsumerGroupDescribeResponseGroup()
		resp.Groups[i].Group, resp.Groups[i].ErrorCode = req.Groups[i], c.Num()
	}
	if !a.servesConsumerGroups() {
		for i := range req.Groups {
			refuse(i, kafka.UnsupportedVersion)
		}
		r.Reply(resp)
		return
	}
	perGroup(a, req.Groups, func(i int) func(*group.Machine, int64, coord.Token) coord.Outcome {
		one := *req
		one.Groups = req.Groups[i : i+1 : i+1]
		return func(m *group.Machine, nowMs int64, to coord.Token) coord.Outcome {
			return m.ConsumerGroupDescribe(nowMs, to, client, &one)
		}
	}, func(i int, got kmsg.Response, err error) {
		if err != nil {
			refuse(i, coordinatorCode(err))
			return
		}
		g := &resp.Groups[i]
		*g = got.(*kmsg.ConsumerGroupDescribeResponse).Groups[0]
		g.AuthorizedOperations = math.MinInt32
		if req.IncludeAuthorizedOperations && g.ErrorCode == 0 {
			g.AuthorizedOperations = allGroupOperations
		}
	}, func() { r.Reply(resp) })
}
