package brokerapi

import (
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/producer"
	"github.com/gregorhq/gregor/internal/server"
	"github.com/gregorhq/gregor/internal/txn"
)

// addPartitionsBrokers is the version of AddPartitionsToTxn from which on brokers send
// it, for many transactions at once and possibly only to verify.
const addPartitionsBrokers = 4

// addPartitionsToTxn is API key 24, versions 0 to 5. Below version 4 a producer adds
// partitions to its transaction.
func (a *API) addPartitionsToTxn(r *server.Request) {
	var req kmsg.AddPartitionsToTxnRequest
	if !decode(r, &req) {
		return
	}
	if to, ok := a.relayTo(&req.UnknownTags); ok && req.Version >= addPartitionsBrokers {
		a.relay(r, to, PurposeVerification, &req, func(code *kafka.Code) kmsg.Response {
			resp := kmsg.NewPtrAddPartitionsToTxnResponse()
			resp.ErrorCode = code.Num()
			return resp
		})
		return
	}
	op := &addPartitionsOp{r: r, version: req.Version}
	for _, t := range req.Transactions {
		add := &txn.AddPartitions{TransactionalID: t.TransactionalID, ProducerID: t.ProducerID, ProducerEpoch: t.ProducerEpoch, VerifyOnly: t.VerifyOnly}
		for _, topic := range t.Topics {
			add.Partitions = appendPartitions(add.Partitions, topic.Topic, topic.Partitions)
		}
		op.adds = append(op.adds, add)
	}
	if req.Version < addPartitionsBrokers {
		add := &txn.AddPartitions{TransactionalID: req.TransactionalID, ProducerID: req.ProducerID, ProducerEpoch: req.ProducerEpoch}
		for _, topic := range req.Topics {
			add.Partitions = appendPartitions(add.Partitions, topic.Topic, topic.Partitions)
		}
		op.adds = []*txn.AddPartitions{add}
	}
	op.pending = len(op.adds) + 1
	op.results = make([]func(kafka.TopicPartition) int16, len(op.adds))
	img := a.Image()
	for i, add := range op.adds {
		add.Version = req.Version
		if req.Version >= addPartitionsBrokers {
			add.ClientTransactionVersion = producer.TransactionVersion2
		}
		if code := refusedPartitions(img, req.Version, add.Partitions); code != nil {
			op.finish(i, code)
			continue
		}
		a.txnDo(add.TransactionalID, func(m *txn.Machine, nowMs int64, to coord.Token) coord.Outcome {
			return m.AddPartitions(nowMs, to, add)
		}, func(resp kmsg.Response, err error) { op.answered(i, resp, err) })
	}
	op.finish(-1, nil)
}

func appendPartitions(dst []kafka.TopicPartition, topic string, partitions []int32) []kafka.TopicPartition {
	for _, p := range partitions {
		dst = append(dst, kafka.TopicPartition{Topic: topic, Partition: p})
	}
	return dst
}

// refusedPartitions is nil when all partitions may be added. Else nothing is attempted, and
// it tells the code of each. Producers never add partitions of internal topics: offsets go
// by AddOffsetsToTxn.
func refusedPartitions(img *metadata.Image, version int16, partitions []kafka.TopicPartition) func(kafka.TopicPartition) int16 {
	refused := func(tp kafka.TopicPartition) *kafka.Code {
		switch {
		case version < addPartitionsBrokers && kafka.InternalTopic(tp.Topic):
			return kafka.TopicAuthorizationFailed
		case img.Partition(tp.Topic, tp.Partition) == nil:
			return kafka.UnknownTopicOrPartition
		}
		return nil
	}
	if !slices.ContainsFunc(partitions, func(tp kafka.TopicPartition) bool { return refused(tp) != nil }) {
		return nil
	}
	return func(tp kafka.TopicPartition) int16 {
		if code := refused(tp); code != nil {
			return code.Num()
		}
		return kafka.OperationNotAttempted.Num()
	}
}

// addPartitionsOp is one request, which its transactions' coordinators answer in any
// order.
type addPartitionsOp struct {
	r       *server.Request
	version int16
	adds    []*txn.AddPartitions

	mu      sync.Mutex
	pending int                                // guarded by mu: the transactions, and the handler until it is done
	results []func(kafka.TopicPartition) int16 // guarded by mu
}

// answered takes the coordinator's answer to one transaction.
func (op *addPartitionsOp) answered(i int, resp kmsg.Response, err error) {
	added, ok := resp.(*kmsg.AddPartitionsToTxnResponse)
	if err == nil && (!ok || len(added.Transactions) != 1) {
		err = kafka.UnknownServerError
	}
	if err != nil {
		num := kafka.NumOf(err)
		op.finish(i, func(kafka.TopicPartition) int16 { return num })
		return
	}
	codes := map[kafka.TopicPartition]int16{}
	for _, t := range added.Transactions[0].Topics {
		for _, p := range t.Partitions {
			codes[kafka.TopicPartition{Topic: t.Topic, Partition: p.Partition}] = p.ErrorCode
		}
	}
	op.finish(i, func(tp kafka.TopicPartition) int16 { return codes[tp] })
}

// finish notes one result; the last one answers.
func (op *addPartitionsOp) finish(i int, code func(kafka.TopicPartition) int16) {
	op.mu.Lock()
	if i >= 0 {
		op.results[i] = code
	}
	op.pending--
	last := op.pending == 0
	op.mu.Unlock()
	if last {
		op.r.Reply(op.response())
	}
}

// response is called once all results are there.
func (op *addPartitionsOp) response() *kmsg.AddPartitionsToTxnResponse {
	resp := kmsg.NewPtrAddPartitionsToTxnResponse()
	resp.Version = op.version
	for i, add := range op.adds {
		t := kmsg.NewAddPartitionsToTxnResponseTransaction()
		t.TransactionalID = add.TransactionalID
		for _, tp := range add.Partitions {
			if n := len(t.Topics); n == 0 || t.Topics[n-1].Topic != tp.Topic {
				topic := kmsg.NewAddPartitionsToTxnResponseTransactionTopic()
				topic.Topic = tp.Topic
				t.Topics = append(t.Topics, topic)
			}
			p := kmsg.NewAddPartitionsToTxnResponseTransactionTopicPartition()
			p.Partition, p.ErrorCode = tp.Partition, op.results[i](tp)
			topic := &t.Topics[len(t.Topics)-1]
			topic.Partitions = append(topic.Partitions, p)
		}
		if op.version >= addPartitionsBrokers {
			resp.Transactions = append(resp.Transactions, t)
			continue
		}
		for _, topic := range t.Topics {
			old := kmsg.NewAddPartitionsToTxnResponseTopic()
			old.Topic = topic.Topic
			for _, p := range topic.Partitions {
				op := kmsg.NewAddPartitionsToTxnResponseTopicPartition()
				op.Partition, op.ErrorCode = p.Partition, p.ErrorCode
				old.Partitions = append(old.Partitions, op)
			}
			resp.Topics = append(resp.Topics, old)
		}
	}
	return resp
}
