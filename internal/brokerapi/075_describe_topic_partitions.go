package brokerapi

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/describe"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/server"
)

// describeTopicPartitions is API key 75, version 0 (KIP-966): topics in order of
// their names, a limited number of partitions at a time; the cursor of one answer
// begins the next request.
func (a *API) describeTopicPartitions(r *server.Request) {
	req := kmsg.NewPtrDescribeTopicPartitionsRequest()
	if decode(r, req) {
		r.Reply(a.topicPartitions(req, r.Listener.Name))
	}
}

func (a *API) topicPartitions(req *kmsg.DescribeTopicPartitionsRequest, listener string) *kmsg.DescribeTopicPartitionsResponse {
	resp := req.ResponseKind().(*kmsg.DescribeTopicPartitionsResponse)
	img := a.Image()
	start := ""
	if req.Cursor != nil {
		start = req.Cursor.Topic
	}
	names, all := requestedTopics(req, img, start)
	if req.Cursor != nil && (req.Cursor.Partition < 0 || !all && !slices.Contains(names, start)) {
		for _, t := range req.Topics {
			row := describedError(t.Topic, kafka.InvalidRequest)
			row.AuthorizedOperations = notAsked // nothing of the topics was looked at
			resp.Topics = append(resp.Topics, row)
		}
		return resp
	}
	left := max(min(a.Config().MaxRequestPartitionSizeLimit, int(req.ResponsePartitionLimit)), 1)
	for _, name := range names {
		first := int32(0)
		if req.Cursor != nil && name == start {
			first = req.Cursor.Partition
		}
		if left == 0 {
			resp.NextCursor = nextCursor(name, 0)
			break
		}
		t := img.Topic(name)
		if t == nil {
			if !all {
				resp.Topics = append(resp.Topics, describedError(name, unknownTopic(name)))
			}
			continue
		}
		end := min(int64(t.NumPartitions()), int64(first)+int64(left))
		resp.Topics = append(resp.Topics, describedTopic(img, t, first, int32(end), listener))
		if end < int64(t.NumPartitions()) {
			resp.NextCursor = nextCursor(name, int32(end))
			break
		}
		left -= len(resp.Topics[len(resp.Topics)-1].Partitions)
	}
	return resp
}

// requestedTopics lists the names from start on, sorted, once each; all says that
// no topic was named.
func requestedTopics(req *kmsg.DescribeTopicPartitionsRequest, img *metadata.Image, start string) (names []string, all bool) {
	if len(req.Topics) == 0 {
		for _, t := range img.SortedTopics() {
			if t.Name >= start {
				names = append(names, t.Name)
			}
		}
		return names, true
	}
	for _, t := range req.Topics {
		if t.Topic >= start {
			names = append(names, t.Topic)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), false
}

func describedError(name string, err *kafka.Code) kmsg.DescribeTopicPartitionsResponseTopic {
	row := kmsg.NewDescribeTopicPartitionsResponseTopic()
	row.Topic, row.ErrorCode, row.IsInternal = &name, err.Num(), kafka.InternalTopic(name)
	row.AuthorizedOperations = describe.AllTopicOperations
	return row
}

func describedTopic(img *metadata.Image, t *metadata.Topic, first, end int32, listener string) kmsg.DescribeTopicPartitionsResponseTopic {
	row := kmsg.NewDescribeTopicPartitionsResponseTopic()
	row.Topic, row.TopicID, row.IsInternal = &t.Name, t.ID, kafka.InternalTopic(t.Name)
	row.AuthorizedOperations = describe.AllTopicOperations
	for i := first; i < end; i++ {
		p := t.Partition(i)
		if p == nil {
			continue
		}
		part := kmsg.NewDescribeTopicPartitionsResponseTopicPartition()
		part.Partition, part.LeaderID, part.LeaderEpoch = i, -1, p.LeaderEpoch
		if b := img.Broker(p.Leader); b != nil {
			if _, ok := b.Endpoint(listener); ok {
				part.LeaderID = p.Leader
			}
		}
		part.Replicas, part.ISR = p.Replicas, p.ISR
		part.EligibleLeaderReplicas, part.LastKnownELR = orEmpty(p.ELR), orEmpty(p.LastKnownELR)
		part.OfflineReplicas = offlineReplicas(img, p, listener)
		row.Partitions = append(row.Partitions, part)
	}
	return row
}

// orEmpty keeps an empty list from being sent as null, which says that the
// broker does not know.
func orEmpty(ids []int32) []int32 {
	if ids == nil {
		return []int32{}
	}
	return ids
}

func nextCursor(topic string, partition int32) *kmsg.DescribeTopicPartitionsResponseNextCursor {
	c := kmsg.NewDescribeTopicPartitionsResponseNextCursor()
	c.Topic, c.Partition = topic, partition
	return &c
}
