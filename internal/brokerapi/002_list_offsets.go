package brokerapi

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/replica"
	"github.com/gregorhq/gregor/internal/server"
)

// offsetNotAvailableVersion is where clients learned OFFSET_NOT_AVAILABLE; older ones
// are told LEADER_NOT_AVAILABLE, which they retry as well.
const offsetNotAvailableVersion = 5

// specialTimestamps maps timestamps with a meaning of their own to the first version
// that knows them.
var specialTimestamps = map[int64]int16{
	log.EarliestTimestamp:              1,
	log.LatestTimestamp:                1,
	log.MaxTimestamp:                   7,
	log.EarliestLocalTimestamp:         8,
	log.LatestTieredTimestamp:          9,
	log.EarliestPendingUploadTimestamp: 11,
}

// listOffsets is API key 2, versions 0 to 11. Version 0 answers with the base offsets
// of segments, newest first.
func (a *API) listOffsets(r *server.Request) {
	var req kmsg.ListOffsetsRequest
	if err := r.Decode(&req); err != nil {
		r.CloseConn(fmt.Errorf("ListOffsets v%d: %w", r.Header.Version, err))
		return
	}
	img := a.Image()
	twice := duplicates(req.Topics)
	resp := kmsg.ListOffsetsResponse{Version: req.Version}
	for i := range req.Topics {
		t := &req.Topics[i]
		rt := kmsg.NewListOffsetsResponseTopic()
		rt.Topic = t.Topic
		for j := range t.Partitions {
			part := &t.Partitions[j]
			rp := kmsg.NewListOffsetsResponseTopicPartition()
			rp.Partition = part.Partition
			rp.Timestamp, rp.Offset, rp.LeaderEpoch = -1, -1, -1
			var err error
			switch {
			case twice[kafka.TopicPartition{Topic: t.Topic, Partition: part.Partition}]:
				err = kafka.InvalidRequest
			case req.Version == 0:
				err = a.listSegments(img, t.Topic, part, req.ReplicaID, &rp)
			default:
				err = a.listOffset(img, &req, t.Topic, part, &rp)
			}
			rp.ErrorCode = kafka.NumOf(err)
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	r.Reply(&resp)
}

// duplicates returns the partitions that a request names more than once: there is no
// telling which of the questions is meant.
func duplicates(topics []kmsg.ListOffsetsRequestTopic) map[kafka.TopicPartition]bool {
	seen := map[kafka.TopicPartition]bool{}
	for i := range topics {
		for j := range topics[i].Partitions {
			tp := kafka.TopicPartition{Topic: topics[i].Topic, Partition: topics[i].Partitions[j].Partition}
			_, again := seen[tp]
			seen[tp] = again
		}
	}
	return seen
}

func (a *API) listOffset(img *metadata.Image, req *kmsg.ListOffsetsRequest, topic string, part *kmsg.ListOffsetsRequestTopicPartition, out *kmsg.ListOffsetsResponseTopicPartition) error {
	if since, ok := specialTimestamps[part.Timestamp]; part.Timestamp < 0 && (!ok || req.Version < since) {
		return kafka.UnsupportedVersion
	}
	p, err := a.Replicas.Find(img, topic, part.Partition)
	if err != nil {
		return err
	}
	epoch := kafka.NoEpoch
	if req.Version >= 4 {
		epoch = part.CurrentLeaderEpoch
	}
	found, err := p.ListOffset(replica.OffsetQuery{
		Timestamp:          part.Timestamp,
		CurrentLeaderEpoch: epoch,
		Client:             req.ReplicaID == replica.ConsumerReplicaID,
		Committed:          req.Version >= 2 && req.IsolationLevel == 1,
		OnlyLeader:         req.ReplicaID != replica.DebuggingReplicaID,
	})
	if err != nil {
		if kafka.CodeOf(err) == kafka.OffsetNotAvailable && req.Version < offsetNotAvailableVersion {
			return kafka.LeaderNotAvailable
		}
		return err
	}
	out.Timestamp, out.Offset = found.Timestamp, found.Offset
	if req.Version >= 4 {
		out.LeaderEpoch = found.LeaderEpoch
	}
	return nil
}

// listSegments answers version 0: the base offsets of the segments whose newest record
// is not newer than the timestamp, newest segment first, the log end before them all;
// at most as many as asked for. A consumer is not shown what lies above the high
// watermark.
func (a *API) listSegments(img *metadata.Image, topic string, part *kmsg.ListOffsetsRequestTopicPartition, replicaID int32, out *kmsg.ListOffsetsResponseTopicPartition) error {
	p, err := a.Replicas.Find(img, topic, part.Partition)
	if err != nil {
		return err
	}
	l := p.Log()
	switch {
	case l == nil:
		return kafka.KafkaStorageError
	case !p.IsLeader() && replicaID != replica.DebuggingReplicaID:
		return kafka.NotLeaderOrFollower
	}
	hw := l.HighWatermark()
	offsets := segmentOffsets(l, part.Timestamp, a.nowMs())
	if replicaID == replica.ConsumerReplicaID {
		offsets = capOffsets(offsets, hw)
	}
	n := min(max(0, int(part.MaxNumOffsets)), len(offsets))
	out.OldStyleOffsets = make([]int64, 0, n)
	for i := len(offsets) - 1; i >= len(offsets)-n; i-- {
		out.OldStyleOffsets = append(out.OldStyleOffsets, offsets[i])
	}
	return nil
}

// segmentOffsets lists, ascending, the offsets up to the last one that is not newer than
// the timestamp: each segment's base with the time of its newest record, and the log end
// with the present.
func segmentOffsets(l *log.Log, timestamp, nowMs int64) []int64 {
	var offsets []int64
	n := 0
	note := func(offset, ms int64) {
		offsets = append(offsets, max(offset, l.LogStartOffset()))
		if timestamp == log.LatestTimestamp || timestamp >= 0 && ms <= timestamp || timestamp == log.EarliestTimestamp && len(offsets) == 1 {
			n = len(offsets)
		}
	}
	segments := l.Segments()
	for i, s := range segments {
		note(s.BaseOffset, s.MaxTimestamp)
		if i == len(segments)-1 && s.Size > 0 {
			note(s.NextOffset, nowMs)
		}
	}
	return offsets[:n]
}

// capOffsets replaces what lies above hw by hw itself.
func capOffsets(offsets []int64, hw int64) []int64 {
	n := len(offsets)
	for n > 0 && offsets[n-1] > hw {
		n--
	}
	if n < len(offsets) {
		return append(offsets[:n], hw)
	}
	return offsets
}
