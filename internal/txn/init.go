package txn

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
)

// NeedProducerID is the effect of an operation that cannot go on without a producer id
// that was never used. Whoever runs it calls ProducerIDReady with the result.
type NeedProducerID struct {
	to coord.Token
	// One of these is set: the request to repeat, or the transactional id to fence.
	init  *kmsg.InitProducerIDRequest
	end   *kmsg.EndTxnRequest
	fence string
}

// ProducerIDReady goes on with an operation that needed a producer id. It is decided
// anew: much may have happened since, and an id that is not needed any more is lost.
func (m *Machine) ProducerIDReady(nowMs int64, n NeedProducerID, id int64, err error) coord.Outcome {
	if err != nil {
		o := refuse(n.to, err)
		if n.to == coord.NoToken {
			m.armed = nowMs + m.cfg.RetryMs
			o.Timers = []coord.Timer{{Key: timerDeadlines, AtMs: m.armed}}
		}
		return o
	}
	switch {
	case n.init != nil:
		return m.initProducerID(nowMs, n.to, n.init, id)
	case n.end != nil:
		return m.endTxn(nowMs, n.to, n.end, id)
	}
	t := m.ongoing[n.fence]
	if t == nil || !m.late(t, nowMs) {
		return coord.Outcome{}
	}
	return m.fence(nowMs, t, coord.Reply{}, id)
}

// InitProducerID gives a transactional id to whoever asks: it fences the producer that
// had it, and aborts what that one left open. The request has a transactional id.
func (m *Machine) InitProducerID(nowMs int64, to coord.Token, req *kmsg.InitProducerIDRequest) coord.Outcome {
	return m.initProducerID(nowMs, to, req, NoProducerID)
}

func (m *Machine) initProducerID(nowMs int64, to coord.Token, req *kmsg.InitProducerIDRequest, freshID int64) coord.Outcome {
	expected := req.ProducerID != NoProducerID
	switch {
	case req.TransactionalID == nil || *req.TransactionalID == "" || expected != (req.ProducerEpoch != NoProducerEpoch):
		return refuse(to, kafka.InvalidRequest)
	case req.TransactionTimeoutMillis <= 0 || req.TransactionTimeoutMillis > m.cfg.MaxTimeoutMs:
		return refuse(to, kafka.InvalidTransactionTimeout)
	}
	need := coord.Outcome{Effects: []coord.Effect{NeedProducerID{to: to, init: req}}}
	t := m.txns[*req.TransactionalID]
	if t == nil {
		if freshID == NoProducerID {
			return need
		}
		t = &Transaction{ID: *req.TransactionalID, ProducerID: freshID, NextProducerID: NoProducerID, ProducerEpoch: NoProducerEpoch, State: Empty}
		return m.initialized(to, t.withProducer(freshID, 0, NoProducerEpoch, req.TransactionTimeoutMillis, nowMs))
	}
	if t.State.prepared() {
		return refuse(to, kafka.ConcurrentTransactions)
	}
	// A producer that names itself may go on if it still has the id, or if it had the one
	// before until its epochs ran out: then it did not see the answer.
	if expected && req.ProducerID != t.ProducerID && (req.ProducerID != t.PreviousProducerID || !exhausted(req.ProducerEpoch)) {
		return refuse(to, forVersion(kafka.ProducerFenced, req.Version, 4))
	}
	switch {
	case t.State == Ongoing:
		if m.cfg.TransactionVersion() >= transactionVersion2 && exhausted(t.ProducerEpoch) && freshID == NoProducerID {
			return need
		}
		return m.fence(nowMs, t, coord.Reply{To: to, Err: kafka.ConcurrentTransactions}, freshID)
	case exhausted(t.ProducerEpoch) && (!expected || req.ProducerEpoch == t.ProducerEpoch):
		if freshID == NoProducerID {
			return need
		}
		last := NoProducerEpoch
		if expected {
			last = t.ProducerEpoch
		}
		return m.initialized(to, t.withProducer(freshID, 0, last, req.TransactionTimeoutMillis, nowMs))
	}
	epoch, last, err := t.bump(expected, req.ProducerEpoch)
	if err != nil {
		return refuse(to, forVersion(err, req.Version, 4))
	}
	return m.initialized(to, t.withProducer(t.ProducerID, epoch, last, req.TransactionTimeoutMillis, nowMs))
}

// bump is the epoch that a producer gets (KIP-360). One that names its epoch gets the
// next, the same again if it asks again, and is fenced if it names any other.
func (t *Transaction) bump(expected bool, epoch int16) (next, last int16, err error) {
	switch {
	case expected && epoch == t.LastProducerEpoch && epoch != t.ProducerEpoch:
		return t.ProducerEpoch, t.LastProducerEpoch, nil
	case expected && epoch != t.ProducerEpoch, exhausted(t.ProducerEpoch):
		return 0, 0, kafka.ProducerFenced
	case expected:
		return t.ProducerEpoch + 1, t.ProducerEpoch, nil
	}
	return t.ProducerEpoch + 1, NoProducerEpoch, nil
}

// initialized writes the producer's new life and tells it.
func (m *Machine) initialized(to coord.Token, t *Transaction) coord.Outcome {
	resp := kmsg.NewPtrInitProducerIDResponse()
	resp.ProducerID, resp.ProducerEpoch = t.ProducerID, t.ProducerEpoch
	return m.write(t, coord.Reply{To: to, Response: resp})
}

// fence aborts an open transaction against its producer's will. Its producer id must
// be followed by nextID if the epochs are exhausted.
func (m *Machine) fence(nowMs int64, t *Transaction, reply coord.Reply, nextID int64) coord.Outcome {
	version := m.cfg.TransactionVersion()
	n := t.fencing(version, nextID, nowMs)
	o := m.write(n, reply)
	o.Effects = append(o.Effects, m.markersOf(n)...)
	return o
}
