package brokerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/server"
	"github.com/gregorhq/gregor/internal/txn"
)

// addOffsetsToTxn is API key 25, versions 0 to 4: a producer that commits offsets in its
// transaction adds the partition of __consumer_offsets that has the group.
func (a *API) addOffsetsToTxn(r *server.Request) {
	var req kmsg.AddOffsetsToTxnRequest
	if !decode(r, &req) {
		return
	}
	add := &txn.AddPartitions{
		TransactionalID: req.TransactionalID, ProducerID: req.ProducerID, ProducerEpoch: req.ProducerEpoch, Version: req.Version,
		Partitions: []kafka.TopicPartition{{Topic: kafka.OffsetsTopic, Partition: a.offsetsPartition(req.Group)}},
	}
	a.txnDo(req.TransactionalID, func(m *txn.Machine, nowMs int64, to coord.Token) coord.Outcome {
		return m.AddPartitions(nowMs, to, add)
	}, func(_ kmsg.Response, err error) {
		resp := kmsg.NewPtrAddOffsetsToTxnResponse()
		resp.Version, resp.ErrorCode = req.Version, kafka.NumOf(err)
		r.Reply(resp)
	})
}

// offsetsPartition is the partition of __consumer_offsets that has the group, or will
// have it once the topic exists.
func (a *API) offsetsPartition(group string) int32 {
	if p, ok := a.TxnGroups.PartitionFor(group); ok {
		return p
	}
	return coord.PartitionFor(group, int32(a.Config().OffsetsTopicNumPartitions))
}
