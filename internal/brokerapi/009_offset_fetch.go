package brokerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/group"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/server"
)

// offsetFetch is API key 9, versions 1 to 10: the offsets that groups have committed.
// From version 8 on a request may name several groups (KIP-709), each of which has a
// coordinator of its own; from version 10 on topics are named by id.
func (a *API) offsetFetch(r *server.Request) {
	req := kmsg.NewPtrOffsetFetchRequest()
	if !decode(r, req) {
		return
	}
	if req.Version < 8 {
		toGroup(a, r, req.Group, req, (*group.Machine).OffsetFetch, func(c *kafka.Code) kmsg.Response {
			return offsetFetchFailed(req, fetchCode(c))
		})
		return
	}
	client := clientOf(r)
	r.ReleaseBody()
	resp := kmsg.NewPtrOffsetFetchResponse()
	resp.Groups = make([]kmsg.OffsetFetchResponseGroup, len(req.Groups))
	names := make([]string, len(req.Groups))
	for i := range req.Groups {
		names[i] = req.Groups[i].Group
	}
	perGroup(a, names, func(i int) func(*group.Machine, int64, coord.Token) coord.Outcome {
		one := *req
		one.Groups = req.Groups[i : i+1 : i+1]
		return func(m *group.Machine, nowMs int64, to coord.Token) coord.Outcome {
			return m.OffsetFetch(nowMs, to, client, &one)
		}
	}, func(i int, got kmsg.Response, err error) {
		if err == nil {
			resp.Groups[i] = got.(*kmsg.OffsetFetchResponse).Groups[0]
			return
		}
		resp.Groups[i] = kmsg.NewOffsetFetchResponseGroup()
		resp.Groups[i].Group, resp.Groups[i].ErrorCode = names[i], fetchCode(coordinatorCode(err)).Num()
	}, func() { r.Reply(resp) })
}

// fetchCode keeps COORDINATOR_NOT_AVAILABLE from consumers of before 3.9, which do not
// retry a fetch of offsets after it.
func fetchCode(c *kafka.Code) *kafka.Code {
	if c == kafka.CoordinatorNotAvailable {
		return kafka.NotCoordinator
	}
	return c
}

// offsetFetchFailed is the answer of versions 1 to 7: version 1 has no place for an
// error of the whole request.
func offsetFetchFailed(req *kmsg.OffsetFetchRequest, c *kafka.Code) *kmsg.OffsetFetchResponse {
	resp := kmsg.NewPtrOffsetFetchResponse()
	resp.ErrorCode = c.Num()
	if req.Version >= 2 {
		return resp
	}
	for _, t := range req.Topics {
		rt := kmsg.NewOffsetFetchResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewOffsetFetchResponseTopicPartition()
			rp.Partition, rp.Offset, rp.ErrorCode, rp.Metadata = p, -1, c.Num(), new(string)
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}
