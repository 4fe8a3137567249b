package sim

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/batch"
)

// Ghosts are what a client sent in a former life and what comes late: a paused process
// that goes on, a packet that took a detour. Whatever the answer is, it must not be yes.

// producerGhost is a transactional producer that has been replaced.
type producerGhost struct {
	id    int64
	epoch int16
}

// haunt sends a record under the epoch of a producer whose transactional id another one
// has taken since. kc is any client.
func (cl *client) haunt(kc *kgo.Client, g producerGhost) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	partition := cl.rng.Int31n(cl.parts)
	leader, topicID, ok := cl.leader(ctx, kc, partition)
	if !ok {
		return
	}
	b := batch.NewBuilder(0)
	b.ProducerID, b.ProducerEpoch, b.BaseSequence, b.IsTransactional = g.id, g.epoch, 0, true
	b.Append(time.Now().UnixMilli(), nil, []byte("ghost of "+cl.name), nil)
	recs, err := b.Build(nil)
	if err != nil {
		cl.h.fault("encoding a batch: %v", err)
		return
	}
	req := kmsg.NewPtrProduceRequest()
	req.TransactionID, req.Acks, req.TimeoutMillis = &cl.name, -1, 2000
	t := kmsg.NewProduceRequestTopic()
	t.Topic, t.TopicID = cl.topic, topicID
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = partition, recs
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	resp, err := kc.Broker(int(leader)).Request(ctx, req)
	if err != nil {
		return
	}
	cl.h.haunted()
	for _, t := range resp.(*kmsg.ProduceResponse).Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode == 0 {
				cl.h.fault("fenced producer: %s wrote to %s-%d at %d as producer %d of epoch %d, which was replaced", cl.name, cl.topic, p.Partition, p.BaseOffset, g.id, g.epoch)
			}
		}
	}
}

// leader asks for the leader of a partition of the client's topic, and the topic's id.
func (cl *client) leader(ctx context.Context, kc *kgo.Client, partition int32) (id int32, topicID [16]byte, ok bool) {
	req := kmsg.NewPtrMetadataRequest()
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = &cl.topic
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, kc)
	if err != nil || len(resp.Topics) != 1 {
		return 0, topicID, false
	}
	for _, p := range resp.Topics[0].Partitions {
		if p.Partition == partition && p.ErrorCode == 0 && p.Leader >= 0 {
			return p.Leader, resp.Topics[0].TopicID, true
		}
	}
	return 0, topicID, false
}

// hauntGroup commits under the generation before settled, the last that the member was
// assigned partitions in. One that it has only joined says nothing: a coordinator that ends
// before the leader has synced goes on from the generation that was written last, as Apache
// Kafka's does. With the protocol of KIP-848 a partition may outlive an epoch, so only the
// classic one is haunted.
func (cl *client) hauntGroup(kc *kgo.Client, settled int32, next map[int32]int64) {
	if settled < 1 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	req := cl.commitRequest(ctx, kc, next)
	req.Generation = settled - 1
	resp, err := req.RequestWith(ctx, kc)
	if err != nil {
		return
	}
	cl.h.haunted()
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode == 0 {
				cl.h.fault("fenced member: %s committed %s under generation %d, which was over", cl.name, commitKey(cl.topic, p.Partition), req.Generation)
			}
		}
	}
}
