package txn

import (
	"slices"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
)

// maxBatchBytes bounds the records that timers write at once, together with what the
// partition takes.
const maxBatchBytes = 256 << 10

// BoundBatches tells the machine how much the partition takes in one batch.
func (m *Machine) BoundBatches(limit func() int) { m.limit = limit }

// room is what is left of a batch that a timer fills.
type room struct {
	bytes int
	used  bool
}

// room is that of an empty batch. An outcome must not be larger, and cannot be split
// instead: when a later part is refused, the effects of the parts before it are lost.
func (m *Machine) room() room {
	r := room{bytes: maxBatchBytes}
	if m.limit != nil {
		r.bytes = min(r.bytes, m.limit())
	}
	return r
}

// take says whether a record goes into the batch. The first one always does: a batch
// cannot have fewer, and it is for the log to say that it is too large.
func (r *room) take(rec coord.Record) bool {
	n := rec.Size()
	if r.used && n > r.bytes {
		return false
	}
	r.bytes -= n
	r.used = true
	return true
}

// inTurn is the order in which a timer goes through sorted ids: from the one on that
// follows what was refused last, so that a record which is too large for the partition
// keeps nobody else back.
func (m *Machine) inTurn(timer string, ids []string) []string {
	after, ok := m.refused[timer]
	if !ok {
		return ids
	}
	i, found := slices.BinarySearch(ids, after)
	if found {
		i++
	}
	return slices.Concat(ids[i:], ids[:i])
}

// retried is the timer that tries again what could not be appended. Nobody waits for
// tombstones: they come with the next round.
func (m *Machine) retried(o *op, err error, nowMs int64) coord.Timer {
	switch kafka.CodeOf(err) {
	case kafka.MessageTooLarge, kafka.RecordListTooLarge:
		m.refused[o.retry] = o.ids[len(o.ids)-1]
	}
	at := nowMs + m.cfg.RetryMs
	switch o.retry {
	case timerExpiry:
		at = nowMs + m.cfg.ExpirationIntervalMs
	case timerDeadlines:
		m.armed = at
	}
	return coord.Timer{Key: o.retry, AtMs: at}
}
