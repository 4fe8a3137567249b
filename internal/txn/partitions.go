package txn

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
)

// AddPartitions is one transaction of AddPartitionsToTxn, or AddOffsetsToTxn.
type AddPartitions struct {
	TransactionalID string
	ProducerID      int64
	ProducerEpoch   int16
	// VerifyOnly asks whether the partitions are in the transaction (KIP-890).
	VerifyOnly bool
	Partitions []kafka.TopicPartition
	// Version is that of the request AddPartitionsToTxn; AddOffsetsToTxn gives its own,
	// which is never above 3 as far as it matters here.
	Version int16
	// ClientTransactionVersion is 2 for requests that brokers send for clients with
	// transactions v2, else 0.
	ClientTransactionVersion int16
}

// AddPartitions adds partitions to the producer's transaction, and opens it with the
// first. The response is an AddPartitionsToTxnResponse with one transaction.
func (m *Machine) AddPartitions(nowMs int64, to coord.Token, a *AddPartitions) coord.Outcome {
	if a.TransactionalID == "" {
		return refuse(to, kafka.InvalidRequest)
	}
	t := m.txns[a.TransactionalID]
	switch {
	case t != nil && t.State.prepared() && !a.VerifyOnly:
		// The producer may use the id and epoch that it has from the end of the transaction
		// and that become the coordinator's with the last marker.
		return refuse(to, kafka.ConcurrentTransactions)
	case t == nil || t.ProducerID != a.ProducerID:
		return refuse(to, kafka.InvalidProducerIDMapping)
	case t.ProducerEpoch != a.ProducerEpoch:
		return refuse(to, forVersion(kafka.ProducerFenced, a.Version, 2))
	case t.State.prepared():
		return refuse(to, kafka.ConcurrentTransactions)
	case a.VerifyOnly:
		return answer(to, a.response(func(tp kafka.TopicPartition) int16 {
			if t.has(tp) {
				return 0
			}
			return kafka.TransactionAbortable.Num()
		}))
	}
	added := a.response(func(kafka.TopicPartition) int16 { return 0 })
	if t.State == Ongoing && t.hasAll(a.Partitions) {
		return answer(to, added)
	}
	n := t.adding(a.Partitions, a.ClientTransactionVersion, nowMs)
	o := m.write(n, coord.Reply{To: to, Response: added})
	if at, ok := n.deadline(); ok && (m.armed == 0 || at < m.armed) {
		m.armed = at
		o.Timers = append(o.Timers, coord.Timer{Key: timerDeadlines, AtMs: at})
	}
	return o
}

// response has a code for each partition.
func (a *AddPartitions) response(code func(kafka.TopicPartition) int16) *kmsg.AddPartitionsToTxnResponse {
	txn := kmsg.NewAddPartitionsToTxnResponseTransaction()
	txn.TransactionalID = a.TransactionalID
	for _, tp := range a.Partitions {
		if n := len(txn.Topics); n == 0 || txn.Topics[n-1].Topic != tp.Topic {
			topic := kmsg.NewAddPartitionsToTxnResponseTransactionTopic()
			topic.Topic = tp.Topic
			txn.Topics = append(txn.Topics, topic)
		}
		p := kmsg.NewAddPartitionsToTxnResponseTransactionTopicPartition()
		p.Partition, p.ErrorCode = tp.Partition, code(tp)
		topic := &txn.Topics[len(txn.Topics)-1]
		topic.Partitions = append(topic.Partitions, p)
	}
	resp := kmsg.NewPtrAddPartitionsToTxnResponse()
	resp.Transactions = append(resp.Transactions, txn)
	return resp
}
