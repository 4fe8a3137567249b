package txn

import (
	"maps"
	"slices"

	"github.com/gregorhq/gregor/internal/coord"
)

// late says whether an open transaction is past its deadline.
func (m *Machine) late(t *Transaction, nowMs int64) bool {
	at, ok := t.deadline()
	return ok && at <= nowMs
}

// nextDeadline is the first deadline of all.
func (m *Machine) nextDeadline() (at int64, ok bool) {
	for _, t := range m.ongoing {
		if d, has := t.deadline(); has && (!ok || d < at) {
			at, ok = d, true
		}
	}
	return at, ok
}

// abortLate aborts the transactions that are past their deadline, and sets the timer
// for the rest.
func (m *Machine) abortLate(nowMs int64) coord.Outcome {
	var o coord.Outcome
	version := m.cfg.TransactionVersion()
	done, left, full, again := &op{retry: timerDeadlines}, m.room(), false, int64(0)
	for _, id := range m.inTurn(timerDeadlines, slices.Sorted(maps.Keys(m.ongoing))) {
		t := m.ongoing[id]
		at, ok := t.deadline()
		switch {
		case !ok:
			continue
		case at > nowMs:
		case full:
			at = nowMs
		case version >= transactionVersion2 && exhausted(t.ProducerEpoch):
			o.Effects = append(o.Effects, NeedProducerID{fence: id})
			at = nowMs + m.cfg.RetryMs
		default:
			n := t.fencing(version, NoProducerID, nowMs)
			r := n.record(version)
			if full = !left.take(r); full {
				at = nowMs
				break
			}
			m.lastEpochs[id] = n.LastProducerEpoch
			o.Records = append(o.Records, r)
			o.Effects = append(o.Effects, m.markersOf(n)...)
			done.ids = append(done.ids, id)
			continue
		}
		if again == 0 || at < again {
			again = at
		}
	}
	if len(o.Records) > 0 {
		o.Op = done
	}
	m.armed = again
	if again != 0 {
		o.Timers = append(o.Timers, coord.Timer{Key: timerDeadlines, AtMs: again})
	}
	return o
}

// expire forgets the transactional ids that were idle for long.
func (m *Machine) expire(nowMs int64) coord.Outcome {
	var o coord.Outcome
	done, left, again := &op{retry: timerExpiry}, m.room(), nowMs+m.cfg.ExpirationIntervalMs
	for _, id := range m.inTurn(timerExpiry, slices.Sorted(maps.Keys(m.txns))) {
		if t := m.txns[id]; !t.State.idle() || t.LastUpdateMs > nowMs-m.cfg.ExpirationMs {
			continue
		}
		r := coord.Record{Key: AppendKey(nil, id)}
		if !left.take(r) {
			again = nowMs
			break
		}
		o.Records = append(o.Records, r)
		done.ids = append(done.ids, id)
	}
	if len(o.Records) > 0 {
		o.Op = done
	}
	o.Timers = []coord.Timer{{Key: timerExpiry, AtMs: again}}
	return o
}
