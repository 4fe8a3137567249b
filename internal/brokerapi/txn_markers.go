package brokerapi

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/producer"
	"github.com/gregorhq/gregor/internal/replica"
	"github.com/gregorhq/gregor/internal/txn"
)

// markerSlot is one marker that is being appended.
type markerSlot struct {
	replica.AppendSlot
	partition kafka.TopicPartition
	done      func(kafka.TopicPartition, error)
}

// Appended is called when the marker is committed, or never will be.
func (s *markerSlot) Appended(*replica.AppendSlot) { s.done(s.partition, s.Err) }

// appendMarkers writes a marker to each of the partitions, which this broker should
// lead, and calls done once for each: with nil when it is committed. done may be called
// from any goroutine, also before appendMarkers returns, and must not block. The slots
// are those of markers that may still be given up.
func (a *API) appendMarkers(m coord.TxnAppend, partitions []kafka.TopicPartition, done func(kafka.TopicPartition, error)) []*markerSlot {
	var slots []*markerSlot
	nowMs := a.Clock.Now().UnixMilli()
	ap := replica.GetAppender()
	for _, tp := range partitions {
		p := a.Replicas.Get(tp.Topic, tp.Partition)
		switch {
		case p == nil:
			done(tp, kafka.UnknownTopicOrPartition)
			continue
		case tp.Topic == kafka.OffsetsTopic && a.TxnGroups != nil:
			a.TxnGroups.EndTxn(tp.Partition, m, func(err error) { done(tp, err) })
			continue
		}
		b := batch.NewBuilder(0)
		b.ProducerID, b.ProducerEpoch, b.BaseSequence, b.IsTransactional, b.IsControl = m.ProducerID, m.ProducerEpoch, batch.NoSequence, true, true
		key, value := batch.EndTxnMarker(m.Commit, m.CoordinatorEpoch)
		b.Append(nowMs, key, value, nil)
		data, err := b.Build(nil)
		if err != nil {
			done(tp, err)
			continue
		}
		s := &markerSlot{partition: tp, done: done}
		ap.Acks, ap.Version, ap.Origin, ap.NowMs, ap.Owner = replica.AcksAll, 0, batch.OriginCoordinator, nowMs, s
		ap.TransactionVersion, ap.Guard = m.TransactionVersion, producer.NoGuard
		if ap.Append(p, data, &s.AppendSlot) {
			done(tp, s.Err)
		} else {
			slots = append(slots, s)
		}
	}
	ap.Finish()
	replica.PutAppender(ap)
	return slots
}

// markerRetry is how long a marker that could not be written waits.
const markerRetry = 100 * time.Millisecond

// markerRun writes the markers of one decided transaction until each partition has
// its own, or this broker is not the transaction's coordinator any more.
type markerRun struct {
	api       *API
	partition int32 // of __transaction_state
	epoch     kafka.LeaderEpoch
	markers   txn.WriteMarkers
}

// write writes markers to the partitions. Results that come at once are reported
// together.
func (r *markerRun) write(partitions []kafka.TopicPartition) {
	var (
		mu     sync.Mutex
		early  []txn.MarkerResult
		gather = true
	)
	done := func(tp kafka.TopicPartition, err error) {
		mu.Lock()
		if gather {
			early = append(early, txn.MarkerResult{Partition: tp, Err: err})
			mu.Unlock()
			return
		}
		mu.Unlock()
		r.report([]txn.MarkerResult{{Partition: tp, Err: err}})
	}
	img := r.image()
	var local []kafka.TopicPartition
	remote := map[int32][]kafka.TopicPartition{}
	for _, tp := range partitions {
		switch reg := img.Partition(tp.Topic, tp.Partition); {
		case reg == nil:
			done(tp, nil) // the topic is deleted, and the transaction's records with it
		case reg.Leader == int32(r.api.NodeID):
			local = append(local, tp)
		case !reg.HasLeader():
			done(tp, kafka.LeaderNotAvailable)
		default:
			remote[reg.Leader] = append(remote[reg.Leader], tp)
		}
	}
	m := &r.markers
	marker := coord.TxnAppend{
		ProducerID: m.ProducerID, ProducerEpoch: m.ProducerEpoch, Marker: true, Commit: m.Commit,
		CoordinatorEpoch: r.epoch, TransactionVersion: m.TransactionVersion,
	}
	for _, leader := range slices.Sorted(maps.Keys(remote)) {
		r.writeRemote(leader, marker, remote[leader])
	}
	r.api.appendMarkers(marker, local, done)
	mu.Lock()
	gather = false
	mu.Unlock()
	r.report(early)
}

// report tells the coordinator what is done, and sets a timer for the rest.
func (r *markerRun) report(results []txn.MarkerResult) {
	var again []kafka.TopicPartition
	var done []txn.MarkerResult
	for i := range results {
		if res := &results[i]; res.Retriable() {
			again = append(again, res.Partition)
			r.api.Log.Debug("a transaction marker will be written again", "partition", res.Partition, "transactionalId", r.markers.TransactionalID, "error", res.Err)
		} else {
			done = append(done, *res)
		}
	}
	if len(done) > 0 {
		r.api.Transactions.Post(r.partition, r.epoch, func(m *txn.Machine, nowMs int64, _ coord.Token) coord.Outcome {
			return m.MarkersWritten(nowMs, &r.markers, done)
		})
	}
	if len(again) > 0 {
		r.api.Clock.AfterFunc(markerRetry, func() {
			if r.current() {
				r.write(again)
			}
		})
	}
}

// image is the newest one that this broker's partitions follow. A step's partitions are
// led and written to before the step is published: what the published image does not have
// may be new, what this one does not have is deleted.
func (r *markerRun) image() *metadata.Image {
	if img := r.api.Replicas.Image(); img != nil {
		return img
	}
	return r.api.Image()
}

// current says whether this broker is still the coordinator that decided.
func (r *markerRun) current() bool {
	reg := r.image().Partition(kafka.TransactionTopic, r.partition)
	return r.api.data.ctx.Err() == nil && reg != nil && reg.Leader == int32(r.api.NodeID) && reg.LeaderEpoch == r.epoch
}
