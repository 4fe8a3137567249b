package txn

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
)

// endTxnBumps is the version of EndTxn from which on the client knows that every
// transaction bumps the epoch (KIP-890).
const endTxnBumps = 5

// EndTxn commits or aborts the producer's transaction. The answer comes when the
// decision is committed; the markers follow.
func (m *Machine) EndTxn(nowMs int64, to coord.Token, req *kmsg.EndTxnRequest) coord.Outcome {
	return m.endTxn(nowMs, to, req, NoProducerID)
}

func (m *Machine) endTxn(nowMs int64, to coord.Token, req *kmsg.EndTxnRequest, freshID int64) coord.Outcome {
	if req.TransactionalID == "" {
		return refuse(to, kafka.InvalidRequest)
	}
	t := m.txns[req.TransactionalID]
	if t == nil {
		return refuse(to, kafka.InvalidProducerIDMapping)
	}
	version := int16(0)
	verdict := endVerdict(t, req)
	if req.Version >= endTxnBumps {
		version = transactionVersion2
		verdict = endVerdictBumping(t, req)
	}
	switch {
	case verdict.err != nil:
		return refuse(to, forVersion(verdict.err, req.Version, 2))
	case verdict.done:
		return answer(to, endResponse(req, t))
	case version >= transactionVersion2 && exhausted(t.ProducerEpoch) && freshID == NoProducerID:
		return coord.Outcome{Effects: []coord.Effect{NeedProducerID{to: to, end: req}}}
	}
	n := t.ending(verdict.next, version, freshID, nowMs)
	o := m.write(n, coord.Reply{To: to, Response: endResponse(req, n)})
	o.Effects = append(o.Effects, m.markersOf(n)...)
	return o
}

// endResponse tells a client with transactions v2 the producer id and epoch of its
// next transaction.
func endResponse(req *kmsg.EndTxnRequest, t *Transaction) *kmsg.EndTxnResponse {
	resp := kmsg.NewPtrEndTxnResponse()
	if req.Version >= endTxnBumps {
		resp.ProducerID, resp.ProducerEpoch = t.afterwards()
	}
	return resp
}

// verdict is what an EndTxn leads to: a refusal, the answer that all is done already,
// or a transition.
type verdict struct {
	err  error
	done bool
	next State
}

// endVerdict is for clients whose epoch stays. State alone tells a retry: the one thing
// it cannot tell is an EndTxn that was late for its transaction and meets the next.
func endVerdict(t *Transaction, req *kmsg.EndTxnRequest) verdict {
	prepared, complete := outcomes(req.Commit)
	switch {
	case t.ProducerID != req.ProducerID:
		return verdict{err: kafka.InvalidProducerIDMapping}
	case t.ProducerEpoch != req.ProducerEpoch:
		return verdict{err: kafka.ProducerFenced}
	case t.State.prepared():
		return verdict{err: kafka.ConcurrentTransactions}
	case t.State == Ongoing:
		return verdict{next: prepared}
	case t.State == complete:
		return verdict{done: true}
	}
	return verdict{err: kafka.InvalidTxnState}
}

// endVerdictBumping is for clients whose epoch is bumped with every transaction: the
// epoch tells a retry, which has the one before, from the end of the next transaction.
// An abort is accepted without transaction, because a client cannot always know
// whether its first write arrived. For the same reason nothing is refused for good
// while markers are being written: the epoch that the markers will leave behind is in
// use already, by the next transaction of the same producer.
func endVerdictBumping(t *Transaction, req *kmsg.EndTxnRequest) verdict {
	if t.State.prepared() {
		return verdict{err: kafka.ConcurrentTransactions}
	}
	prepared, complete := outcomes(req.Commit)
	current := req.ProducerEpoch == t.ProducerEpoch
	bumped := t.ProducerEpoch == req.ProducerEpoch+1
	rotated := t.PreviousProducerID == req.ProducerID && req.ProducerEpoch == lastEpoch && t.ProducerEpoch == 0
	valid := current || t.State.complete() && (bumped || rotated)
	switch {
	case t.ProducerID != req.ProducerID && !rotated:
		return verdict{err: kafka.InvalidProducerIDMapping}
	case !valid:
		return verdict{err: kafka.ProducerFenced}
	case t.State == Ongoing:
		return verdict{next: prepared}
	case bumped || rotated:
		if t.State == complete {
			return verdict{done: true}
		}
		return verdict{err: kafka.InvalidTxnState}
	case !req.Commit:
		return verdict{next: PrepareAbort}
	}
	return verdict{err: kafka.InvalidTxnState}
}

// outcomes are the two states of a decision.
func outcomes(commit bool) (prepared, complete State) {
	if commit {
		return PrepareCommit, CompleteCommit
	}
	return PrepareAbort, CompleteAbort
}
