package txn

import (
	"slices"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
)

// WriteMarkers is the effect that ends a decided transaction in its partitions. Who
// runs it writes a marker to the leader of each, as often as it takes, and calls
// MarkersWritten with what was achieved. Markers carry the leader epoch of the shard's
// partition, so that those of an earlier coordinator are refused.
type WriteMarkers struct {
	TransactionalID    string
	ProducerID         int64
	ProducerEpoch      int16
	Commit             bool
	TransactionVersion int16
	Partitions         []kafka.TopicPartition
}

// MarkerResult is what became of one partition's marker.
type MarkerResult struct {
	Partition kafka.TopicPartition
	// Err is nil for a marker that is written and committed, and for a partition that
	// does not exist any more.
	Err error
}

// Retriable says whether the marker of that result is to be written again.
func (r *MarkerResult) Retriable() bool {
	switch kafka.CodeOf(r.Err) {
	case nil, kafka.InvalidProducerEpoch, kafka.UnsupportedForMessageFormat, kafka.UnsupportedVersion, kafka.TransactionCoordinatorFenced:
		return false
	}
	return true
}

// markers is the effect for a transaction that is decided.
func (m *Machine) markers(t *Transaction) WriteMarkers {
	return WriteMarkers{
		TransactionalID: t.ID, ProducerID: t.ProducerID, ProducerEpoch: t.ProducerEpoch, Commit: t.State == PrepareCommit,
		TransactionVersion: t.ClientTransactionVersion, Partitions: slices.Clone(t.Partitions),
	}
}

func (m *Machine) markersOf(t *Transaction) []coord.Effect {
	if len(t.Partitions) == 0 {
		return nil // Committed completes it
	}
	return []coord.Effect{m.markers(t)}
}

// MarkersWritten notes partitions that have their marker, and completes the
// transaction with the last. A partition that has a later epoch of the producer has no
// transaction of this one. A coordinator that is fenced is not the coordinator: its
// transactions stay as they are until it learns so.
func (m *Machine) MarkersWritten(nowMs int64, w *WriteMarkers, results []MarkerResult) coord.Outcome {
	t := m.txns[w.TransactionalID]
	if t == nil || !t.State.prepared() || t.ProducerID != w.ProducerID || t.ProducerEpoch != w.ProducerEpoch {
		return coord.Outcome{}
	}
	for i := range results {
		r := &results[i]
		if r.Retriable() || kafka.CodeOf(r.Err) == kafka.TransactionCoordinatorFenced {
			continue
		}
		if k, ok := slices.BinarySearchFunc(t.Partitions, r.Partition, comparePartitions); ok {
			t.Partitions = slices.Delete(t.Partitions, k, k+1)
		}
	}
	return m.complete(nowMs, []string{t.ID})
}

// complete writes the end of those of the transactions whose markers are all written.
func (m *Machine) complete(nowMs int64, ids []string) coord.Outcome {
	var o coord.Outcome
	done, left := &op{retry: timerComplete}, m.room()
	for _, id := range ids {
		t := m.txns[id]
		if t == nil || !t.State.prepared() || len(t.Partitions) > 0 {
			continue
		}
		n := t.completed(nowMs)
		r := n.record(m.cfg.TransactionVersion())
		if !left.take(r) {
			o.Timers = append(o.Timers, coord.Timer{Key: timerComplete, AtMs: nowMs})
			break
		}
		m.lastEpochs[id] = n.LastProducerEpoch
		o.Records = append(o.Records, r)
		done.ids = append(done.ids, id)
	}
	if len(o.Records) > 0 {
		o.Op = done
	}
	return o
}
