package brokerapi

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/group"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/server"
)

// listGroups is API key 16, versions 0 to 5: the groups that this broker coordinates,
// filtered by state from version 4 on and by type from version 5 on. While one of the
// broker's partitions is being loaded the answer is COORDINATOR_LOAD_IN_PROGRESS: a
// list that lacks groups would be taken for the truth.
func (a *API) listGroups(r *server.Request) {
	req := kmsg.NewPtrListGroupsRequest()
	if !decode(r, req) {
		return
	}
	r.ReleaseBody()
	filter := group.NewListFilter(req)
	resp := kmsg.NewPtrListGroupsResponse()
	led := a.Groups.Led()
	if len(led) == 0 {
		r.Reply(resp)
		return
	}
	parts := make([][]kmsg.ListGroupsResponseGroup, len(led))
	g := &gather{left: len(led)}
	g.finish = func() {
		if resp.ErrorCode == 0 {
			for _, p := range parts {
				resp.Groups = append(resp.Groups, p...)
			}
		}
		r.Reply(resp)
	}
	for i, partition := range led {
		a.Groups.DoPartition(partition, func(m *group.Machine, _ int64, to coord.Token) coord.Outcome {
			return m.ListGroups(to, filter)
		}, func(got kmsg.Response, err error) {
			g.done(func() {
				switch {
				case err == nil:
					parts[i] = got.(*kmsg.ListGroupsResponse).Groups
				case errors.Is(err, kafka.NotCoordinator):
					// Its groups are listed by another broker.
				default:
					resp.ErrorCode = coordinatorCode(err).Num()
				}
			})
		})
	}
}
