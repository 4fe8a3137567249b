package brokerapi

import (
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/producer"
	"github.com/gregorhq/gregor/internal/rsm"
	"github.com/gregorhq/gregor/internal/server"
	"github.com/gregorhq/gregor/internal/txn"
)

// The transaction plane: doors to the transaction coordinator, the markers that it
// asks for, and the verification of transactional writes.

// TxnGroups is what transactions need of the group coordinator.
type TxnGroups interface {
	// PartitionFor is the partition of __consumer_offsets that has the group; ok is false
	// while the topic does not exist.
	PartitionFor(group string) (partition int32, ok bool)
	// TxnOffsetCommit commits offsets within a transaction that guard was verified for.
	TxnOffsetCommit(client coord.Client, req *kmsg.TxnOffsetCommitRequest, guard producer.Guard, done rsm.Done)
	// EndTxn writes a marker to a partition of __consumer_offsets. done is called when it
	// is committed, from any goroutine; it must not block.
	EndTxn(partition int32, marker coord.TxnAppend, done func(error))
}

// groupMachine is a group coordinator's machine as far as transactions know it.
type groupMachine interface {
	coord.Machine
	TxnOffsetCommit(nowMs int64, to coord.Token, client coord.Client, req *kmsg.TxnOffsetCommitRequest) coord.Outcome
}

// txnGroups is the TxnGroups of a group coordinator.
type txnGroups[M groupMachine] struct{ c *rsm.Coordinator[M] }

// NewTxnGroups returns what transactions need of a group coordinator.
func NewTxnGroups[M groupMachine](c *rsm.Coordinator[M]) TxnGroups { return txnGroups[M]{c} }

func (g txnGroups[M]) PartitionFor(group string) (int32, bool) { return g.c.PartitionFor(group) }

func (g txnGroups[M]) TxnOffsetCommit(client coord.Client, req *kmsg.TxnOffsetCommitRequest, guard producer.Guard, done rsm.Done) {
	g.c.Do(req.Group, func(m M, nowMs int64, to coord.Token) coord.Outcome {
		o := m.TxnOffsetCommit(nowMs, to, client, req)
		if o.Txn != nil {
			o.Txn.Guard = uint64(guard)
		}
		return o
	}, done)
}

func (g txnGroups[M]) EndTxn(partition int32, marker coord.TxnAppend, done func(error)) {
	g.c.DoPartition(partition, func(_ M, _ int64, to coord.Token) coord.Outcome {
		o := coord.Answer(to, kmsg.NewPtrWriteTxnMarkersResponse())
		o.Txn = &marker
		return o
	}, func(_ kmsg.Response, err error) {
		switch kafka.CodeOf(err) {
		case kafka.CoordinatorNotAvailable, kafka.CoordinatorLoadInProgress, kafka.NotCoordinator:
			err = kafka.NotLeaderOrFollower
		}
		done(err)
	})
}

// txnRetry is when a coordinator tries again what it could not append.
const txnRetry = 100 * time.Millisecond

// featureTransactionVersion is the feature that says how transactions work.
const featureTransactionVersion = "transaction.version"

// TransactionConfig is the configuration of the transaction coordinator that belongs
// to this API.
func (a *API) TransactionConfig() rsm.CoordinatorConfig[*txn.Machine] {
	a.init()
	cfg := a.Config()
	return rsm.CoordinatorConfig[*txn.Machine]{
		Topic: kafka.TransactionTopic, NodeID: a.NodeID, Replicas: a.Replicas, Clock: a.Clock, Wheel: a.Wheel, Logger: a.Log,
		New: func(int32) *txn.Machine {
			cfg := a.Config()
			return txn.New(txn.Config{
				MaxTimeoutMs:         int32(cfg.TransactionMaxTimeoutMs),
				RetryMs:              txnRetry.Milliseconds(),
				ExpirationMs:         cfg.TransactionalIDExpirationMs,
				ExpirationIntervalMs: cfg.TransactionRemoveExpiredTransactionCleanupIntervalMs,
				TransactionVersion:   func() int16 { return a.Image().Feature(featureTransactionVersion) },
			})
		},
		OnEffect:       a.txnEffect,
		CommitTimeout:  time.Duration(cfg.RequestTimeoutMs) * time.Millisecond,
		LoadBufferSize: cfg.TransactionStateLogLoadBufferSize,
		Codec:          batch.CodecNone,
	}
}

// txnTable adds the handlers of the transaction plane.
func (a *API) txnTable(add func(key, min, max int16, h func(*server.Request))) {
	add(27, 1, 2, a.writeTxnMarkers)
	add(61, 0, 0, a.describeProducers)
	if a.Transactions == nil {
		return
	}
	add(24, 0, 5, a.addPartitionsToTxn)
	add(26, 0, 5, a.endTxn)
	add(65, 0, 0, a.describeTransactions)
	add(66, 0, 2, a.listTransactions)
	if a.TxnGroups != nil {
		add(25, 0, 4, a.addOffsetsToTxn)
		add(28, 0, 6, a.txnOffsetCommit)
	}
}

// txnDo submits an operation on the machine of a transactional id.
func (a *API) txnDo(transactionalID string, op rsm.Op[*txn.Machine], done rsm.Done) {
	if a.Transactions == nil {
		done(nil, kafka.CoordinatorNotAvailable)
		return
	}
	a.Transactions.Do(transactionalID, op, func(resp kmsg.Response, err error) {
		if kafka.CodeOf(err) == kafka.RequestTimedOut {
			err = kafka.CoordinatorNotAvailable // for a client it is one with the record not appended
		}
		done(resp, err)
	})
}

// txnEffect runs an effect of the transaction coordinator.
func (a *API) txnEffect(partition int32, epoch kafka.LeaderEpoch, e coord.Effect) {
	switch e := e.(type) {
	case txn.NeedProducerID:
		a.data.ids.next(a, func(id int64, err error) {
			a.Transactions.Post(partition, epoch, func(m *txn.Machine, nowMs int64, _ coord.Token) coord.Outcome {
				return m.ProducerIDReady(nowMs, e, id, err)
			})
		})
	case txn.WriteMarkers:
		r := &markerRun{api: a, partition: partition, epoch: epoch, markers: e}
		r.write(e.Partitions)
	}
}
