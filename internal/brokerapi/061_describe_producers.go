package brokerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/producer"
	"github.com/gregorhq/gregor/internal/server"
)

// describeProducers is API key 61, version 0: which producers a partition knows, and
// whose transactions are open there.
func (a *API) describeProducers(r *server.Request) {
	var req kmsg.DescribeProducersRequest
	if !decode(r, &req) {
		return
	}
	img := a.Image()
	resp := kmsg.NewPtrDescribeProducersResponse()
	resp.Version = req.Version
	for _, t := range req.Topics {
		rt := kmsg.NewDescribeProducersResponseTopic()
		rt.Topic = t.Topic
		for _, index := range t.Partitions {
			rp := kmsg.NewDescribeProducersResponseTopicPartition()
			rp.Partition = index
			entries, err := a.producers(img, t.Topic, index)
			if err != nil {
				rp.ErrorCode = kafka.NumOf(err)
				if code := kafka.CodeOf(err); code != nil {
					message := code.Message()
					rp.ErrorMessage = &message
				}
			}
			for i := range entries {
				e := &entries[i]
				p := kmsg.NewDescribeProducersResponseTopicPartitionActiveProducer()
				p.ProducerID, p.ProducerEpoch, p.LastSequence = e.ProducerID, int32(e.Epoch), e.LastSequence
				p.LastTimestamp, p.CoordinatorEpoch, p.CurrentTxnStartOffset = e.Timestamp, e.CoordinatorEpoch, e.CurrentTxnFirstOffset
				rp.ActiveProducers = append(rp.ActiveProducers, p)
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	r.Reply(resp)
}

// producers lists what a partition of this broker knows of producers. Followers know
// it too.
func (a *API) producers(img *metadata.Image, topic string, index int32) ([]producer.Entry, error) {
	if err := kafka.ValidateTopicName(topic); err != nil {
		return nil, err
	}
	p := a.Replicas.Get(topic, index)
	switch {
	case img.Partition(topic, index) == nil:
		return nil, kafka.UnknownTopicOrPartition
	case p == nil:
		return nil, kafka.NotLeaderOrFollower
	case p.Log() == nil:
		return nil, kafka.KafkaStorageError
	}
	return p.Log().ActiveProducers()
}
