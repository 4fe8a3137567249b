package group

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
)

// OffsetDelete removes committed and pending offsets of topics that the group does not
// subscribe to.
func (m *Machine) OffsetDelete(_ int64, to coord.Token, _ coord.Client, req *kmsg.OffsetDeleteRequest) coord.Outcome {
	resp := kmsg.NewPtrOffsetDeleteResponse()
	resp.Version = req.Version
	out := coord.Answer(to, resp)
	out.ReadBarrier = true
	g := m.groups[req.Group]
	if g == nil {
		resp.ErrorCode = kafka.GroupIDNotFound.Num()
		return out
	}
	if err := g.validateOffsetDelete(); err != nil {
		resp.ErrorCode = kafka.NumOf(err)
		return out
	}
	for _, t := range req.Topics {
		rt := kmsg.NewOffsetDeleteResponseTopic()
		rt.Topic = t.Topic
		subscribed := g.subscribedTo(t.Topic)
		for _, part := range t.Partitions {
			rp := kmsg.NewOffsetDeleteResponseTopicPartition()
			rp.Partition = part.Partition
			p := groupPartition{req.Group, t.Topic, part.Partition}
			switch {
			case m.image().Partition(t.Topic, part.Partition) == nil:
				rp.ErrorCode = kafka.UnknownTopicOrPartition.Num()
			case subscribed:
				rp.ErrorCode = kafka.GroupSubscribedToTopic.Num()
			case m.offsets.get(p) != nil || len(m.open[p]) > 0:
				out.Records = append(out.Records, offsetTombstone(p))
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return out
}
