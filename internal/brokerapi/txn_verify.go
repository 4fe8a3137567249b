package brokerapi

import (
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/producer"
	"github.com/gregorhq/gregor/internal/replica"
	"github.com/gregorhq/gregor/internal/txn"
)

// The first write of a transaction to a partition is verified with the coordinator
// (KIP-890): a log takes no record of a transaction that nobody will end. Clients with
// transactions v2 do not add partitions themselves; for them the coordinator adds the
// partition instead of only looking.

// Versions of Produce and TxnOffsetCommit from which on the client knows
// TRANSACTION_ABORTABLE, from which on the broker adds the partition, and from which on
// topics are named by id.
const (
	produceAbortable   = 11
	produceAdds        = 12
	txnCommitAbortable = 4
	txnCommitAdds      = 5
	txnCommitTopicIDs  = 6
)

// verification asks the coordinator whether partitions are in a transaction, or to add
// them.
type verification struct {
	transactionalID string
	producerID      int64
	epoch           int16
	adds            bool // transactions v2
	abortable       bool // the client knows TRANSACTION_ABORTABLE
	partitions      []kafka.TopicPartition
}

// send asks once. done gets the code of each partition, in their order, from any
// goroutine; it must not block.
func (v *verification) send(a *API, done func([]error)) {
	all := func(err error) {
		codes := make([]error, len(v.partitions))
		for i := range codes {
			codes[i] = v.translate(err)
		}
		done(codes)
	}
	if id, ok := a.coordinator(v.transactionalID); ok && id != int32(a.NodeID) {
		if p := a.peer(id, PurposeVerification); p != nil {
			v.sendRemote(a, id, p, func(codes []error) {
				for i, err := range codes {
					codes[i] = v.translate(err)
				}
				done(codes)
			})
			return
		}
	}
	add := &txn.AddPartitions{
		TransactionalID: v.transactionalID, ProducerID: v.producerID, ProducerEpoch: v.epoch, VerifyOnly: !v.adds,
		Partitions: v.partitions, Version: addPartitionsBrokers, ClientTransactionVersion: producer.TransactionVersion2,
	}
	a.txnDo(v.transactionalID, func(m *txn.Machine, nowMs int64, to coord.Token) coord.Outcome {
		return m.AddPartitions(nowMs, to, add)
	}, func(resp kmsg.Response, err error) {
		r, ok := resp.(*kmsg.AddPartitionsToTxnResponse)
		if err == nil && (!ok || len(r.Transactions) != 1) {
			err = kafka.UnknownServerError
		}
		if err != nil {
			all(err)
			return
		}
		codes := make([]error, 0, len(v.partitions))
		for _, t := range r.Transactions[0].Topics {
			for _, p := range t.Partitions {
				var err error
				if c := kafka.CodeForNum(p.ErrorCode); c != nil {
					err = v.translate(c)
				}
				codes = append(codes, err)
			}
		}
		done(codes)
	})
}

// translate gives a producer the code that it expects.
func (v *verification) translate(err error) error {
	switch kafka.CodeOf(err) {
	case kafka.ProducerFenced:
		return kafka.InvalidProducerEpoch
	case kafka.TransactionAbortable:
		if !v.abortable {
			return kafka.InvalidTxnState
		}
	}
	return err
}

// begin asks the partition's log for the guard of its first batch. needed is false when
// the transaction is open there, or the broker does not verify.
func (a *API) beginVerification(p *replica.Partition, info *batch.Info, adds bool, nowMs int64) (guard producer.Guard, needed bool, err error) {
	if !adds && !a.Config().TransactionPartitionVerificationEnable {
		return producer.NoGuard, false, nil
	}
	l := p.Log()
	if l == nil || !p.IsLeader() {
		return producer.NoGuard, false, kafka.NotLeaderOrFollower
	}
	guard, err = l.BeginVerification(info, adds, nowMs)
	return guard, err == nil && guard != producer.NoGuard, err
}

// verify verifies the transactional partitions of a request before anything of it is
// appended. It waits on the connection's reader, so that the producer's next batches
// stay behind this one.
func (op *produceOp) verify(nowMs int64) {
	v := verification{adds: op.version >= produceAdds, abortable: op.version >= produceAbortable}
	var parts []*producePart
	for i := range op.topics {
		t := &op.topics[i]
		for j := t.first; j < t.end; j++ {
			part := &op.parts[j]
			if !transactional(part.records) {
				continue
			}
			info, err := batch.Peek(part.records)
			if err != nil {
				continue // the append says what is wrong
			}
			p, err := op.find(t, part)
			if err != nil {
				continue
			}
			guard, needed, err := op.api.beginVerification(p, &info, v.adds, nowMs)
			if err != nil {
				part.txnErr = err
			}
			if !needed {
				continue
			}
			part.guard = guard
			v.producerID, v.epoch = info.ProducerID, info.ProducerEpoch
			v.partitions = append(v.partitions, p.TopicPartition())
			parts = append(parts, part)
		}
	}
	if len(parts) == 0 {
		return
	}
	v.transactionalID = strings.Clone(*op.txnID)
	for i, err := range op.awaitVerification(&v) {
		if err != nil {
			parts[i].refuseTxn(err, v.adds)
		}
	}
}

// awaitVerification asks until the coordinator is done with the transaction before, for
// a short while: that spares the producer to send its records again.
func (op *produceOp) awaitVerification(v *verification) []error {
	a := op.api
	cfg := a.Config()
	started := a.Clock.Now()
	patience := time.Duration(min(cfg.AddPartitionsToTxnRetryBackoffMaxMs, int64(cfg.RequestTimeoutMs))) * time.Millisecond
	op.req.WillBlock()
	answer := make(chan []error, 1)
	for {
		v.send(a, func(codes []error) { answer <- codes })
		codes := <-answer
		concurrent := false
		for _, err := range codes {
			concurrent = concurrent || kafka.CodeOf(err) == kafka.ConcurrentTransactions
		}
		if !concurrent || !v.adds || a.Clock.Since(started) >= patience {
			return codes
		}
		if a.Clock.Sleep(a.data.ctx, time.Duration(cfg.AddPartitionsToTxnRetryBackoffMs)*time.Millisecond) != nil {
			return codes
		}
	}
}

// refuseTxn turns the answer of a verification into that of the append.
func (part *producePart) refuseTxn(err error, adds bool) {
	const unable = "Unable to verify the partition has been added to the transaction. Underlying error: "
	switch code := kafka.CodeOf(err); code {
	case kafka.InvalidTxnState:
		part.message = "Partition was not added to the transaction"
	case kafka.NetworkException, kafka.CoordinatorLoadInProgress, kafka.CoordinatorNotAvailable, kafka.NotCoordinator:
		// Old clients try again after this one, and do not ask for metadata first.
		part.message, err = unable+code.Name(), kafka.NotEnoughReplicas
	case kafka.ConcurrentTransactions:
		if !adds {
			part.message, err = unable+code.Name(), kafka.NotEnoughReplicas
		}
	}
	part.txnErr = err
}
