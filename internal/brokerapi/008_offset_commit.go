package brokerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/group"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/server"
)

// offsetCommit is API key 8, versions 2 to 10: the offsets that a group has consumed.
// From version 10 on topics are named by id.
func (a *API) offsetCommit(r *server.Request) {
	req := kmsg.NewPtrOffsetCommitRequest()
	if !decode(r, req) {
		return
	}
	toGroup(a, r, req.Group, req, (*group.Machine).OffsetCommit, func(c *kafka.Code) kmsg.Response {
		resp := kmsg.NewPtrOffsetCommitResponse()
		for _, t := range req.Topics {
			rt := kmsg.NewOffsetCommitResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				rp := kmsg.NewOffsetCommitResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, c.Num()
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp
	})
}
