package brokerapi

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/server"
)

// offsetForLeaderEpoch is API key 23, versions 0 to 4: where a leader epoch ends in the
// leader's log, by which consumers and followers find out that theirs was truncated
// (KIP-101, KIP-320).
func (a *API) offsetForLeaderEpoch(r *server.Request) {
	var req kmsg.OffsetForLeaderEpochRequest
	if err := r.Decode(&req); err != nil {
		r.CloseConn(fmt.Errorf("OffsetForLeaderEpoch v%d: %w", r.Header.Version, err))
		return
	}
	img := a.Image()
	resp := kmsg.OffsetForLeaderEpochResponse{Version: req.Version}
	for i := range req.Topics {
		t := &req.Topics[i]
		rt := kmsg.OffsetForLeaderEpochResponseTopic{Topic: t.Topic}
		for j := range t.Partitions {
			part := &t.Partitions[j]
			rp := kmsg.OffsetForLeaderEpochResponseTopicPartition{Partition: part.Partition, LeaderEpoch: -1, EndOffset: -1}
			p, err := a.Replicas.Find(img, t.Topic, part.Partition)
			if err == nil {
				current := kafka.NoEpoch
				if req.Version >= 2 {
					current = part.CurrentLeaderEpoch
				}
				rp.LeaderEpoch, rp.EndOffset, err = p.EndOffsetForEpoch(current, part.LeaderEpoch)
			}
			rp.ErrorCode = kafka.NumOf(err)
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	r.Reply(&resp)
}
