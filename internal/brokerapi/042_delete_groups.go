package brokerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/group"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/server"
)

// deleteGroups is API key 42, versions 0 to 3: groups without members are removed with
// their offsets (KIP-229). Version 3 has a message for each group, in which Kafka says
// why a group could not be deleted for a reason of its own; codes with a fixed meaning go
// without one, and the client tells them in its own words.
func (a *API) deleteGroups(r *server.Request) {
	req := kmsg.NewPtrDeleteGroupsRequest()
	if !decode(r, req) {
		return
	}
	client := clientOf(r)
	r.ReleaseBody()
	names := distinct(req.Groups)
	resp := kmsg.NewPtrDeleteGroupsResponse()
	resp.Groups = make([]kmsg.DeleteGroupsResponseGroup, len(names))
	perGroup(a, names, func(i int) func(*group.Machine, int64, coord.Token) coord.Outcome {
		one := *req
		one.Groups = names[i : i+1 : i+1]
		return func(m *group.Machine, nowMs int64, to coord.Token) coord.Outcome {
			return m.DeleteGroups(nowMs, to, client, &one)
		}
	}, func(i int, got kmsg.Response, err error) {
		if err == nil {
			resp.Groups[i] = got.(*kmsg.DeleteGroupsResponse).Groups[0]
			if resp.Groups[i].ErrorCode != kafka.GroupDeletionFailed.Num() {
				resp.Groups[i].ErrorMessage = nil
			}
			return
		}
		resp.Groups[i].Group, resp.Groups[i].ErrorCode = names[i], coordinatorCode(err).Num()
	}, func() { r.Reply(resp) })
}

// distinct returns the names in the order in which each comes first.
func distinct(names []string) []string {
	seen := make(map[string]struct{}, len(names))
	var all []string
	for _, n := range names {
		if _, ok := seen[n]; !ok {
			seen[n] = struct{}{}
			all = append(all, n)
		}
	}
	return all
}
