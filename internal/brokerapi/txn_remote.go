package brokerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/producer"
	"github.com/gregorhq/gregor/internal/txn"
)

// Transactions between brokers: a coordinator has markers written by the leaders of
// other partitions, and a leader asks a coordinator elsewhere about the transactions of
// its producers.

// Peer is the way to another broker.
type Peer interface {
	// Go sends a request without waiting. done is called once, from any goroutine,
	// possibly before Go returns, and does not block.
	Go(req kmsg.Request, done func(kmsg.Response, error))
}

// Purposes of connections to other brokers. A marker is answered when it is committed,
// and must not hold up the answers that producers wait for.
const (
	PurposeMarkers      = "transaction-markers"
	PurposeVerification = "transaction-verification"
)

// peer is the way to a broker, nil when there is none.
func (a *API) peer(id int32, purpose string) Peer {
	if a.Peers == nil || id < 0 {
		return nil
	}
	return a.Peers(kafka.NodeID(id), purpose)
}

// writeRemote has another broker write the markers of its partitions.
func (r *markerRun) writeRemote(leader int32, marker coord.TxnAppend, partitions []kafka.TopicPartition) {
	p := r.api.peer(leader, PurposeMarkers)
	if p == nil {
		r.report(sameResult(partitions, kafka.NotLeaderOrFollower))
		return
	}
	m := kmsg.NewWriteTxnMarkersRequestMarker()
	m.ProducerID, m.ProducerEpoch, m.Committed = marker.ProducerID, marker.ProducerEpoch, marker.Commit
	m.CoordinatorEpoch, m.TransactionVersion = marker.CoordinatorEpoch, int8(marker.TransactionVersion)
	places := map[string]int{}
	for _, tp := range partitions {
		i, ok := places[tp.Topic]
		if !ok {
			i = len(m.Topics)
			places[tp.Topic] = i
			t := kmsg.NewWriteTxnMarkersRequestMarkerTopic()
			t.Topic = tp.Topic
			m.Topics = append(m.Topics, t)
		}
		m.Topics[i].Partitions = append(m.Topics[i].Partitions, tp.Partition)
	}
	req := kmsg.NewPtrWriteTxnMarkersRequest()
	req.Markers = append(req.Markers, m)
	done := func(resp kmsg.Response, err error) {
		if err != nil {
			// Whether the marker was written is unknown: a second one does no harm.
			r.report(sameResult(partitions, kafka.NetworkException.Errorf("markers at broker %d: %w", leader, err)))
			return
		}
		r.report(markerResults(partitions, resp.(*kmsg.WriteTxnMarkersResponse)))
	}
	if marker.TransactionVersion < producer.TransactionVersion2 {
		// A marker that comes late could end the producer's next transaction. With v2 the
		// epoch tells them apart.
		p.Go(req, done)
		return
	}
	r.api.goAround(leader, p, PurposeMarkers, req, &req.UnknownTags, done)
}

// markerResults finds the result of each partition. One that the answer leaves out is
// written again.
func markerResults(partitions []kafka.TopicPartition, resp *kmsg.WriteTxnMarkersResponse) []txn.MarkerResult {
	codes := map[kafka.TopicPartition]int16{}
	for _, m := range resp.Markers {
		for _, t := range m.Topics {
			for _, p := range t.Partitions {
				codes[kafka.TopicPartition{Topic: t.Topic, Partition: p.Partition}] = p.ErrorCode
			}
		}
	}
	results := make([]txn.MarkerResult, 0, len(partitions))
	for _, tp := range partitions {
		results = append(results, txn.MarkerResult{Partition: tp, Err: answered(codes, tp)})
	}
	return results
}

// answered is what an answer says of a partition.
func answered(codes map[kafka.TopicPartition]int16, tp kafka.TopicPartition) error {
	num, ok := codes[tp]
	switch {
	case !ok:
		return kafka.UnknownServerError.Errorf("the answer leaves out %s", tp)
	case num == 0:
		return nil
	}
	if c := kafka.CodeForNum(num); c != nil {
		return c
	}
	return kafka.UnknownServerError
}

func sameResult(partitions []kafka.TopicPartition, err error) []txn.MarkerResult {
	results := make([]txn.MarkerResult, 0, len(partitions))
	for _, tp := range partitions {
		results = append(results, txn.MarkerResult{Partition: tp, Err: err})
	}
	return results
}

// coordinator is the broker that coordinates a transactional id.
func (a *API) coordinator(transactionalID string) (id int32, ok bool) {
	if a.Transactions == nil {
		return 0, false
	}
	partition, ok := a.Transactions.PartitionFor(transactionalID)
	if !ok {
		return 0, false
	}
	reg := a.Image().Partition(kafka.TransactionTopic, partition)
	if reg == nil || !reg.HasLeader() {
		return 0, false
	}
	return reg.Leader, true
}

// sendRemote asks the coordinator on broker id, to which p is the way. done gets the code
// of each partition, not translated, in their order.
func (v *verification) sendRemote(a *API, id int32, p Peer, done func([]error)) {
	t := kmsg.NewAddPartitionsToTxnRequestTransaction()
	t.TransactionalID, t.ProducerID, t.ProducerEpoch, t.VerifyOnly = v.transactionalID, v.producerID, v.epoch, !v.adds
	places := map[string]int{}
	for _, tp := range v.partitions {
		i, ok := places[tp.Topic]
		if !ok {
			i = len(t.Topics)
			places[tp.Topic] = i
			topic := kmsg.NewAddPartitionsToTxnRequestTransactionTopic()
			topic.Topic = tp.Topic
			t.Topics = append(t.Topics, topic)
		}
		t.Topics[i].Partitions = append(t.Topics[i].Partitions, tp.Partition)
	}
	req := kmsg.NewPtrAddPartitionsToTxnRequest()
	req.Transactions = append(req.Transactions, t)
	a.goAround(id, p, PurposeVerification, req, &req.UnknownTags, func(resp kmsg.Response, err error) {
		out := make([]error, len(v.partitions))
		if err != nil {
			for i := range out {
				out[i] = kafka.NetworkException.Errorf("asking the coordinator of a transaction: %w", err)
			}
			done(out)
			return
		}
		r := resp.(*kmsg.AddPartitionsToTxnResponse)
		codes := map[kafka.TopicPartition]int16{}
		for _, t := range r.Transactions {
			for _, topic := range t.Topics {
				for _, p := range topic.Partitions {
					codes[kafka.TopicPartition{Topic: topic.Topic, Partition: p.Partition}] = p.ErrorCode
				}
			}
		}
		for i, tp := range v.partitions {
			if out[i] = answered(codes, tp); r.ErrorCode != 0 {
				out[i] = kafka.CodeForNum(r.ErrorCode)
			}
		}
		done(out)
	})
}
