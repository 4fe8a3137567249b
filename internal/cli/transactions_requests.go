package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
)

// txnFilter says which transactions to list.
type txnFilter struct {
	producers  []int64 // all when empty
	durationMs int64   // any when negative
	pattern    string
	byPattern  bool
}

type listedTransaction struct {
	coordinator     int32
	transactionalID string
	producerID      int64
	state           string
}

// retryPause is the time between two tries of a request that may succeed later.
const retryPause = 100 * time.Millisecond

// listTransactions asks all brokers, and gives their answers by broker id.
func (c *cluster) listTransactions(ctx context.Context, f txnFilter) ([]listedTransaction, error) {
	if err := c.await(ctx); err != nil {
		return nil, err
	}
	n, err := c.describe(ctx)
	if err != nil {
		return nil, err
	}
	var out []listedTransaction
	for _, id := range n.ids() {
		resp, err := c.listTransactionsOf(ctx, id, f)
		if err != nil {
			return nil, err
		}
		for _, s := range resp.TransactionStates {
			out = append(out, listedTransaction{id, s.TransactionalID, s.ProducerID, transactionState(s.TransactionState)})
		}
	}
	return out, nil
}

func (c *cluster) listTransactionsOf(ctx context.Context, broker int32, f txnFilter) (*kmsg.ListTransactionsResponse, error) {
	req := kmsg.NewPtrListTransactionsRequest()
	req.ProducerIDFilters, req.DurationFilterMillis = f.producers, f.durationMs
	if f.byPattern {
		req.TransactionalIDPattern = &f.pattern
	}
	for {
		answer, err := c.askNode(ctx, broker, req)
		if err != nil {
			return nil, err
		}
		resp := answer.(*kmsg.ListTransactionsResponse)
		// The client leaves out what the broker's version of the request lacks.
		switch {
		case resp.Version < 1 && f.durationMs >= 0:
			return nil, messageOr(kerr.UnsupportedVersion, fmt.Sprintf("Attempted to write a non-default durationFilter at version %d", resp.Version))
		case resp.Version < 2 && f.byPattern && f.pattern != "":
			return nil, messageOr(kerr.UnsupportedVersion, fmt.Sprintf("Attempted to write a non-default transactionalIdPattern at version %d", resp.Version))
		}
		switch err := kerr.ErrorForCode(resp.ErrorCode); {
		case err == nil:
			return resp, nil
		case errors.Is(err, kerr.CoordinatorLoadInProgress) && pause(ctx, retryPause):
		case errors.Is(err, kerr.CoordinatorNotAvailable):
			return nil, messageOr(err, fmt.Sprintf("ListTransactions request sent to broker %d failed because the coordinator is shutting down", broker))
		default:
			return nil, messageOr(err, fmt.Sprintf("ListTransactions request sent to broker %d failed with an unexpected exception", broker))
		}
	}
}

// transactionState is a state by a name that the tool knows, else Unknown.
func transactionState(name string) string {
	switch name {
	case "Ongoing", "PrepareAbort", "PrepareCommit", "CompleteAbort", "CompleteCommit", "Empty", "PrepareEpochFence":
		return name
	}
	return "Unknown"
}

type describedTransaction struct {
	err           error
	coordinator   int32
	producerID    int64
	producerEpoch int16
	state         string
	timeoutMs     int32
	startMs       int64                  // negative when there is no transaction
	partitions    []kafka.TopicPartition // in order
}

// describeTransactions asks the coordinators. Every id has an entry, or err is set.
func (c *cluster) describeTransactions(ctx context.Context, ids []string) (map[string]*describedTransaction, error) {
	out := map[string]*describedTransaction{}
	for pending := ids; len(pending) > 0; {
		if err := c.await(ctx); err != nil {
			return nil, err
		}
		req := kmsg.NewPtrDescribeTransactionsRequest()
		req.TransactionalIDs = pending
		for _, shard := range c.RequestSharded(ctx, req) {
			if shard.Err != nil {
				return nil, shard.Err
			}
			for _, s := range shard.Resp.(*kmsg.DescribeTransactionsResponse).TransactionStates {
				out[s.TransactionalID] = describedState(shard.Meta.NodeID, &s)
			}
		}
		pending = slices.DeleteFunc(slices.Clone(pending), func(id string) bool {
			return out[id] != nil && !kerr.IsRetriable(out[id].err)
		})
		if len(pending) > 0 && !pause(ctx, retryPause) {
			return nil, context.Cause(ctx)
		}
	}
	return out, nil
}

func describedState(coordinator int32, s *kmsg.DescribeTransactionsResponseTransactionState) *describedTransaction {
	d := &describedTransaction{
		coordinator: coordinator, producerID: s.ProducerID, producerEpoch: s.ProducerEpoch, state: transactionState(s.State),
		timeoutMs: s.TimeoutMillis, startMs: s.StartTimestamp,
	}
	for _, t := range s.Topics {
		for _, p := range t.Partitions {
			d.partitions = append(d.partitions, kafka.TopicPartition{Topic: t.Topic, Partition: p})
		}
	}
	slices.SortFunc(d.partitions, func(a, b kafka.TopicPartition) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	if err := kerr.ErrorForCode(s.ErrorCode); err != nil {
		why := "failed due to unexpected error"
		switch {
		case errors.Is(err, kerr.TransactionalIDAuthorizationFailed):
			why = "failed due to authorization failure"
		case errors.Is(err, kerr.TransactionalIDNotFound):
			why = "failed because the ID could not be found"
		}
		d.err = messageOr(err, fmt.Sprintf("DescribeTransactions request for transactionalId `%s` %s", s.TransactionalID, why))
	}
	return d
}

type activeProducers = []kmsg.DescribeProducersResponseTopicPartitionActiveProducer

// describeProducers asks one broker, or the leaders when it is negative.
func (c *cluster) describeProducers(ctx context.Context, partitions []kafka.TopicPartition, broker int32) (map[kafka.TopicPartition]activeProducers, error) {
	if err := c.await(ctx); err != nil {
		return nil, err
	}
	req := kmsg.NewPtrDescribeProducersRequest()
	for i, tp := range partitions {
		if i == 0 || partitions[i-1].Topic != tp.Topic {
			t := kmsg.NewDescribeProducersRequestTopic()
			t.Topic = tp.Topic
			req.Topics = append(req.Topics, t)
		}
		t := &req.Topics[len(req.Topics)-1]
		t.Partitions = append(t.Partitions, tp.Partition)
	}
	var answers []kmsg.Response
	if broker >= 0 {
		answer, err := c.askNode(ctx, broker, req)
		if err != nil {
			return nil, err
		}
		answers = append(answers, answer)
	} else {
		for _, shard := range c.RequestSharded(ctx, req) {
			if shard.Err != nil {
				return nil, shard.Err
			}
			answers = append(answers, shard.Resp)
		}
	}
	out := map[kafka.TopicPartition]activeProducers{}
	for _, answer := range answers {
		for _, t := range answer.(*kmsg.DescribeProducersResponse).Topics {
			for _, p := range t.Partitions {
				tp := kafka.TopicPartition{Topic: t.Topic, Partition: p.Partition}
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return nil, producersError(err, tp, broker, p.ErrorMessage)
				}
				out[tp] = p.ActiveProducers
			}
		}
	}
	return out, nil
}

func producersError(err error, tp kafka.TopicPartition, broker int32, message *string) error {
	switch {
	case errors.Is(err, kerr.NotLeaderForPartition) && broker >= 0:
		return messageOr(err, fmt.Sprintf("Failed to describe active producers for partition %s on brokerId %d", tp, broker))
	case errors.Is(err, kerr.NotLeaderForPartition), errors.Is(err, kerr.UnknownTopicOrPartition):
		return messageOr(err, "")
	case errors.Is(err, kerr.InvalidTopicException):
		return messageOr(err, fmt.Sprintf("Failed to fetch metadata for partition %s due to invalid topic error: %s", tp, reason(messageOr(err, orEmpty(message)))))
	case errors.Is(err, kerr.TopicAuthorizationFailed):
		return messageOr(err, fmt.Sprintf("Failed to describe active producers for partition %s due to authorization failure on topic `%s`", tp, tp.Topic))
	}
	return messageOr(err, fmt.Sprintf("Failed to describe active producers for partition %s due to unexpected error", tp))
}

// abortTransaction has the leader of a partition end a transaction.
func (c *cluster) abortTransaction(ctx context.Context, spec abortSpec) error {
	if err := c.await(ctx); err != nil {
		return err
	}
	topic := kmsg.NewWriteTxnMarkersRequestMarkerTopic()
	topic.Topic, topic.Partitions = spec.tp.Topic, []int32{spec.tp.Partition}
	marker := kmsg.NewWriteTxnMarkersRequestMarker()
	marker.ProducerID, marker.ProducerEpoch, marker.CoordinatorEpoch = spec.producerID, spec.producerEpoch, spec.coordinatorEpoch
	marker.Topics = append(marker.Topics, topic)
	req := kmsg.NewPtrWriteTxnMarkersRequest()
	req.Markers = append(req.Markers, marker)
	for _, shard := range c.RequestSharded(ctx, req) {
		if shard.Err != nil {
			return shard.Err
		}
		markers := shard.Resp.(*kmsg.WriteTxnMarkersResponse).Markers
		if len(markers) != 1 || len(markers[0].Topics) != 1 || len(markers[0].Topics[0].Partitions) != 1 {
			return fmt.Errorf("WriteTxnMarkers response included unexpected marker entries (expected to find exactly one entry with producerId %d)", spec.producerID)
		}
		if err := kerr.ErrorForCode(markers[0].Topics[0].Partitions[0].ErrorCode); err != nil {
			return abortError(err, spec)
		}
	}
	return nil
}

func abortError(err error, spec abortSpec) error {
	why := "failed due to unexpected error: " + reason(messageOr(err, ""))
	switch {
	case errors.Is(err, kerr.ClusterAuthorizationFailed):
		why = "failed due to cluster authorization error"
	case errors.Is(err, kerr.InvalidProducerEpoch):
		why = "failed due an invalid producer epoch"
	case errors.Is(err, kerr.TransactionCoordinatorFenced):
		why = fmt.Sprintf("failed since the provided coordinator epoch %d has been fenced by the active coordinator", spec.coordinatorEpoch)
	case errors.Is(err, kerr.NotLeaderForPartition), errors.Is(err, kerr.UnknownTopicOrPartition):
		return messageOr(err, "")
	}
	return messageOr(err, fmt.Sprintf("WriteTxnMarkers request with %s %s", spec, why))
}

// fenceTimeoutMs is the transaction timeout of the producer that fences another one:
// request.timeout.ms of Kafka's admin client.
const fenceTimeoutMs = 30_000

// fenceProducer takes a transactional id over, which aborts its transaction.
func (c *cluster) fenceProducer(ctx context.Context, id string) error {
	if err := c.await(ctx); err != nil {
		return err
	}
	req := kmsg.NewPtrInitProducerIDRequest()
	req.TransactionalID, req.TransactionTimeoutMillis, req.ProducerID, req.ProducerEpoch = &id, fenceTimeoutMs, -1, -1
	for {
		resp, err := req.RequestWith(ctx, c)
		if err != nil {
			return err
		}
		switch err := kerr.ErrorForCode(resp.ErrorCode); {
		case err == nil:
			return nil
		case slices.Contains([]*kerr.Error{kerr.ConcurrentTransactions, kerr.CoordinatorLoadInProgress, kerr.CoordinatorNotAvailable, kerr.NotCoordinator}, err.(*kerr.Error)):
			if !pause(ctx, retryPause) {
				return context.Cause(ctx)
			}
		default:
			why := "unexpected error"
			switch {
			case errors.Is(err, kerr.ClusterAuthorizationFailed):
				why = "cluster authorization failure"
			case errors.Is(err, kerr.TransactionalIDAuthorizationFailed):
				why = "transactional ID authorization failure"
			}
			return messageOr(err, fmt.Sprintf("InitProducerId request for transactionalId `%s` failed due to %s", id, why))
		}
	}
}
