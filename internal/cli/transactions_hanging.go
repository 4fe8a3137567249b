package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
)

// abortSpec names the transaction of a producer on one partition.
type abortSpec struct {
	tp               kafka.TopicPartition
	producerID       int64
	producerEpoch    int16
	coordinatorEpoch int32
}

func (s abortSpec) String() string {
	return fmt.Sprintf("AbortTransactionSpec(topicPartition=%s, producerId=%d, producerEpoch=%d, coordinatorEpoch=%d)", s.tp, s.producerID, s.producerEpoch, s.coordinatorEpoch)
}

func (t *txnTool) abort(ctx context.Context) error {
	spec := abortSpec{tp: t.partition()}
	switch {
	case t.has("start-offset"):
		if err := t.findOpen(ctx, &spec, t.num["start-offset"]); err != nil {
			return err
		}
	case !t.has("producer-id"):
		return errors.New("The transaction to abort must be identified either with --start-offset (for brokers on 3.0 or above) or with " +
			"--producer-id, --producer-epoch, and --coordinator-epoch (for older brokers)")
	case !t.has("producer-epoch"):
		return errors.New("Missing required argument --producer-epoch")
	case !t.has("coordinator-epoch"):
		return errors.New("Missing required argument --coordinator-epoch")
	default:
		// A producer whose first transaction hangs is shown with epoch -1; 0 is not
		// above the epoch of any coordinator.
		spec.producerID, spec.producerEpoch, spec.coordinatorEpoch = t.num["producer-id"], int16(t.num["producer-epoch"]), int32(max(t.num["coordinator-epoch"], 0))
	}
	if err := t.c.abortTransaction(ctx, spec); err != nil {
		return failed(fmt.Sprintf("Failed to abort transaction %s", spec), err)
	}
	return nil
}

// findOpen completes spec with the producer whose transaction begins at an offset.
func (t *txnTool) findOpen(ctx context.Context, spec *abortSpec, start int64) error {
	found, err := t.c.describeProducers(ctx, []kafka.TopicPartition{spec.tp}, -1)
	if err != nil {
		return failed(fmt.Sprintf("Failed to validate producer state for partition %s", spec.tp), err)
	}
	for _, p := range found[spec.tp] {
		if p.CurrentTxnStartOffset >= 0 && p.CurrentTxnStartOffset == start {
			spec.producerID, spec.producerEpoch, spec.coordinatorEpoch = p.ProducerID, int16(p.ProducerEpoch), max(p.CoordinatorEpoch, 0)
			return nil
		}
	}
	return fmt.Errorf("Could not find any open transactions starting at offset %d on partition %s", start, spec.tp)
}

// openTransaction is an open transaction of a partition.
type openTransaction struct {
	tp       kafka.TopicPartition
	producer kmsg.DescribeProducersResponseTopicPartitionActiveProducer
}

// hangingBatch is how many topics or partitions one request asks for.
const hangingBatch = 500

func (t *txnTool) findHanging(ctx context.Context) error {
	switch {
	case !t.v.Has("topic") && !t.has("broker-id"):
		return errors.New("The `find-hanging` command requires either --topic or --broker-id to limit the scope of the search")
	case t.has("partition") && !t.v.Has("topic"):
		return errors.New("The --partition argument requires --topic to be provided")
	}
	partitions, err := t.searched(ctx)
	if err != nil {
		return err
	}
	open, err := t.openSince(ctx, partitions, time.Duration(t.num["max-transaction-timeout"])*time.Minute)
	if err == nil && len(open) > 0 {
		open, err = t.hanging(ctx, open)
	}
	if err != nil {
		return err
	}
	now := time.Now().UnixMilli()
	var rows [][]string
	for _, o := range open {
		p := o.producer
		rows = append(rows, []string{
			o.tp.Topic, strconv.Itoa(int(o.tp.Partition)), strconv.FormatInt(p.ProducerID, 10), strconv.Itoa(int(p.ProducerEpoch)),
			strconv.Itoa(int(max(p.CoordinatorEpoch, -1))), strconv.FormatInt(p.CurrentTxnStartOffset, 10), strconv.FormatInt(p.LastTimestamp, 10),
			strconv.FormatInt((now-p.LastTimestamp)/time.Minute.Milliseconds(), 10),
		})
	}
	printTable(t.env.Out, []string{"Topic", "Partition", "ProducerId", "ProducerEpoch", "CoordinatorEpoch", "StartOffset", "LastTimestamp", "Duration(min)"}, rows)
	return nil
}

// searched are the partitions to look at, in order.
func (t *txnTool) searched(ctx context.Context) ([]kafka.TopicPartition, error) {
	if t.has("partition") {
		return []kafka.TopicPartition{t.partition()}, nil
	}
	topics := []string{t.v.Get("topic")}
	if !t.v.Has("topic") {
		all, err := t.c.Admin.ListTopicsWithInternal(ctx)
		if err != nil {
			return nil, failed("Failed to list topics", err)
		}
		topics = all.Names()
	}
	var partitions []kafka.TopicPartition
	for some := range slices.Chunk(topics, hangingBatch) {
		found, err := t.c.Admin.ListTopicsWithInternal(ctx, some...)
		if err == nil {
			err = found.Error()
		}
		if err != nil {
			return nil, failed(fmt.Sprintf("Failed to describe %d topics", len(some)), err)
		}
		for _, topic := range found.Sorted() {
			for _, p := range topic.Partitions.Sorted() {
				if !t.has("broker-id") || slices.Contains(p.Replicas, int32(t.num["broker-id"])) {
					partitions = append(partitions, kafka.TopicPartition{Topic: topic.Topic, Partition: p.Partition})
				}
			}
		}
	}
	return partitions, nil
}

// openSince are the transactions without a record for longer than that.
func (t *txnTool) openSince(ctx context.Context, partitions []kafka.TopicPartition, idle time.Duration) ([]openTransaction, error) {
	broker, where := int32(-1), "Optional.empty"
	if t.has("broker-id") {
		broker = int32(t.num["broker-id"])
		where = fmt.Sprintf("Optional[%d]", broker)
	}
	var open []openTransaction
	for some := range slices.Chunk(partitions, hangingBatch) {
		found, err := t.c.describeProducers(ctx, some, broker)
		if err != nil {
			return nil, failed(fmt.Sprintf("Failed to describe producers for %d partitions on broker %s", len(some), where), err)
		}
		now := time.Now().UnixMilli()
		for _, tp := range some {
			for _, p := range found[tp] {
				if p.CurrentTxnStartOffset >= 0 && now-p.LastTimestamp > idle.Milliseconds() {
					open = append(open, openTransaction{tp, p})
				}
			}
		}
	}
	return open, nil
}

// hanging are the open transactions that no coordinator will end: those whose producer
// it does not know, and those of partitions that it does not count to the transaction.
// They are ordered by producer.
func (t *txnTool) hanging(ctx context.Context, open []openTransaction) ([]openTransaction, error) {
	slices.SortStableFunc(open, func(a, b openTransaction) int {
		return int(min(max(a.producer.ProducerID-b.producer.ProducerID, -1), 1))
	})
	var producers []int64
	for _, o := range open {
		producers = append(producers, o.producer.ProducerID)
	}
	producers = slices.Compact(producers)
	listed, err := t.c.listTransactions(ctx, txnFilter{durationMs: -1, producers: producers})
	if err != nil {
		return nil, failed(fmt.Sprintf("Failed to list transactions for %d producers", len(producers)), err)
	}
	ids := map[int64]string{}
	for _, l := range listed {
		if slices.Contains(producers, l.producerID) {
			ids[l.producerID] = l.transactionalID
		}
	}
	names := make([]string, 0, len(ids))
	for _, p := range producers {
		if id, ok := ids[p]; ok {
			names = append(names, id)
		}
	}
	described, err := t.c.describeTransactions(ctx, names)
	for _, d := range described {
		if err == nil && !errors.Is(d.err, kerr.TransactionalIDNotFound) {
			err = d.err
		}
	}
	if err != nil {
		return nil, failed(fmt.Sprintf("Failed to describe %d transactions", len(names)), err)
	}
	return slices.DeleteFunc(open, func(o openTransaction) bool {
		id, known := ids[o.producer.ProducerID]
		d := described[id]
		return known && d != nil && d.err == nil && slices.Contains(d.partitions, o.tp)
	}), nil
}
