package replica

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/fetchsession"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log"
)

// mendFetchBytes is how much is asked for at once.
const mendFetchBytes = 1 << 20

// Mend replaces a damaged segment by what another replica holds: the leader, or, on the
// leader itself, a follower in the ISR. Up to the high watermark they hold the same
// records, so that leadership has not to move for it. What is fetched is read as a
// consumer reads, so that it says nothing of this replica's progress.
func (m *Manager) Mend(ctx context.Context, l *log.Log, d log.Damage) error {
	img := m.image.Load()
	if img == nil || m.cluster.Peers == nil {
		return errors.New("there is no other replica")
	}
	t, part := img.Topic(d.Partition.Topic), img.Partition(d.Partition.Topic, d.Partition.Partition)
	if t == nil || part == nil {
		return kafka.UnknownTopicOrPartition
	}
	if d.Next > l.HighWatermark() {
		return fmt.Errorf("%s: the segment ends at offset %d, beyond the high watermark %d", d.Partition, d.Next, l.HighWatermark())
	}
	err := errors.New("no other replica is in sync")
	var replaced int
	for _, id := range mendFrom(part.Leader, part.ISR, m.nodeID) {
		if replaced, err = m.mendBy(ctx, id, t.ID, l, d); err == nil {
			m.logger.Info("batches were replaced by those of another replica", "partition", d.Partition, "file", d.File, "replica", id, "batches", replaced)
			return nil
		}
		err = fmt.Errorf("from replica %d: %w", id, err)
	}
	return err
}

// mendFrom lists whom to ask: the leader first.
func mendFrom(leader int32, isr []int32, self int32) []int32 {
	var ids []int32
	if leader >= 0 && leader != self {
		ids = append(ids, leader)
	}
	for _, id := range isr {
		if id != self && id != leader {
			ids = append(ids, id)
		}
	}
	return ids
}

func (m *Manager) mendBy(ctx context.Context, id int32, topic kafka.TopicID, l *log.Log, d log.Damage) (int, error) {
	peer := m.cluster.Peers(kafka.NodeID(id))
	defer func() {
		if err := peer.Close(); err != nil {
			m.logger.Debug("closing the connection to a replica", "replica", id, "error", err)
		}
	}()
	return l.Mend(d, func(offset int64) ([]byte, error) {
		answer, err := peer.Do(ctx, mendRequest(d.Partition, topic, offset))
		if err != nil {
			return nil, err
		}
		resp, ok := answer.(*kmsg.FetchResponse)
		if !ok || resp.ErrorCode == 0 && (len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1) {
			return nil, fmt.Errorf("a fetch was answered with %T", answer)
		}
		if code := kafka.CodeForNum(resp.ErrorCode); code != nil {
			return nil, code
		}
		part := &resp.Topics[0].Partitions[0]
		if code := kafka.CodeForNum(part.ErrorCode); code != nil {
			return nil, code
		}
		return part.RecordBatches, nil
	})
}

func mendRequest(tp kafka.TopicPartition, topic kafka.TopicID, offset int64) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.ReplicaID, req.ReplicaState.ID = ConsumerReplicaID, ConsumerReplicaID
	req.MaxBytes = mendFetchBytes
	req.SessionID, req.SessionEpoch = fetchsession.InvalidSessionID, fetchsession.FinalEpoch
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes = tp.Partition, offset, mendFetchBytes
	p.LogStartOffset, p.CurrentLeaderEpoch, p.LastFetchedEpoch = -1, kafka.NoEpoch, kafka.NoEpoch
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID, t.Partitions = tp.Topic, topic, []kmsg.FetchRequestTopicPartition{p}
	req.Topics = []kmsg.FetchRequestTopic{t}
	return req
}
