package producer

import "github.com/gregorhq/gregor/internal/batch"

// Guard stands for one verification, with the transaction's coordinator, that a
// transaction has this partition. The first append of a transaction must bring
// the guard of the verification that was asked for last, so that an answer which
// an abort marker has overtaken proves nothing (KIP-890). The caller makes them, each
// another for as long as an append may be under way: a State does not last so long, a
// truncation replaces it.
type Guard uint64

// NoGuard is what an append brings when nothing was verified.
const NoGuard Guard = 0

// verification is state before the first append of a transaction.
type verification struct {
	timestampMs       int64
	guard             Guard
	lowestSequence    int32
	epoch             int16
	supportsEpochBump bool
}

// HasOngoingTransaction says whether producerID has a transaction open in this
// epoch.
func (s *State) HasOngoingTransaction(producerID int64, epoch int16) bool {
	e := s.producers[producerID]
	return e != nil && e.txnFirst >= 0 && e.epoch == epoch
}

// BeginVerification is called before the coordinator is asked whether the
// transaction of i, a transactional batch of a client, has this partition. It
// returns NoGuard when the transaction is open already and needs no question.
// supportsEpochBump says that the client speaks transactions v2. fresh, which was never
// given before, is the guard if a verification begins. The lowest
// sequence number that was seen is kept: a higher one must not be appended
// before it.
func (s *State) BeginVerification(i *batch.Info, supportsEpochBump bool, nowMs int64, fresh Guard) Guard {
	if s.HasOngoingTransaction(i.ProducerID, i.ProducerEpoch) {
		return NoGuard
	}
	v := s.verifying[i.ProducerID]
	if v == nil {
		if s.verifying == nil {
			s.verifying = make(map[int64]*verification)
		}
		v = &verification{
			timestampMs:       nowMs,
			guard:             fresh,
			lowestSequence:    i.BaseSequence,
			epoch:             i.ProducerEpoch,
			supportsEpochBump: supportsEpochBump,
		}
		s.verifying[i.ProducerID] = v
	}
	if i.ProducerEpoch == v.epoch {
		v.lowestSequence = min(v.lowestSequence, i.BaseSequence)
	}
	if i.ProducerEpoch > v.epoch {
		v.epoch, v.lowestSequence = i.ProducerEpoch, i.BaseSequence
	}
	return v.guard
}

// VerificationGuard is the guard of the verification that is under way.
func (s *State) VerificationGuard(producerID int64) Guard {
	if v := s.verifying[producerID]; v != nil {
		return v.guard
	}
	return NoGuard
}

// ClearVerifications forgets all verifications, as a replica that is no longer
// leader must.
func (s *State) ClearVerifications() { s.verifying = nil }

func (s *State) verified(producerID int64, guard Guard) bool {
	return guard != NoGuard && guard == s.VerificationGuard(producerID)
}
