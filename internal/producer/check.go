package producer

import (
	"errors"
	"math"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/kafka"
)

// Transaction versions, which tell how a marker's epoch is compared.
const (
	// TransactionVersionUnknown is for batches that are no markers and for
	// replicated ones.
	TransactionVersionUnknown int16 = -1
	// TransactionVersion2 bumps the epoch with every transaction (KIP-890).
	TransactionVersion2 int16 = 2
)

// Update is what an append would do to a State. It belongs to the State: it is
// valid until the next Check and is used once.
type Update struct {
	producers []prepared
	// index finds a producer in producers once there are many.
	index     map[int64]int
	started   []txn
	completed []CompletedTxn
	verified  []int64
	aborted   []AbortedTxn
}

// prepared is one producer of an append: its state before, and what is added.
type prepared struct {
	current *entry // nil for a producer that is new
	before  entry  // the producer's state before, or that of a new one
	next    entry  // the state after, with only the batches of this append
	verify  *verification
}

func (u *Update) reset() {
	u.producers = u.producers[:0]
	u.started, u.completed, u.verified = u.started[:0], u.completed[:0], u.verified[:0]
	clear(u.index)
}

// manyProducers is from when on an append's producers are found through a map.
const manyProducers = 8

// find returns the prepared state of a producer, made if need be.
func (u *Update) find(s *State, producerID int64) *prepared {
	if len(u.producers) < manyProducers {
		for k := range u.producers {
			if u.producers[k].next.producerID == producerID {
				return &u.producers[k]
			}
		}
	} else {
		if len(u.index) < len(u.producers) {
			if u.index == nil {
				u.index = make(map[int64]int)
			}
			for k := len(u.index); k < len(u.producers); k++ {
				u.index[u.producers[k].next.producerID] = k
			}
		}
		if k, ok := u.index[producerID]; ok {
			return &u.producers[k]
		}
	}
	p := prepared{current: s.producers[producerID], before: newEntry(producerID), verify: s.verifying[producerID]}
	if p.current != nil {
		p.before = *p.current
	}
	p.next = p.before
	p.next.n = 0
	u.producers = append(u.producers, p)
	return &u.producers[len(u.producers)-1]
}

// Check decides whether batches may be appended, whose offsets are assigned, and
// changes nothing. With an error nothing may be appended. With a duplicate, a
// batch that was appended before, nothing is to be appended and the producer is
// answered with the duplicate's offsets; it is valid until the next Commit.
// Otherwise the Update goes to Commit after the write; it is nil when no batch
// belongs to a producer.
//
// transactionVersion matters for markers from coordinators. guard is what the
// verification of a transaction returned.
func (s *State) Check(infos []batch.Info, origin batch.Origin, transactionVersion int16, guard Guard) (u *Update, duplicate *BatchMeta, err error) {
	for k := range infos {
		i := &infos[k]
		if !i.HasProducerID() {
			continue
		}
		if u == nil {
			if s.update == nil {
				s.update = new(Update)
			}
			u = s.update
			u.reset()
		}
		if origin == batch.OriginClient {
			if e := s.producers[i.ProducerID]; e != nil {
				if d := e.duplicate(i); d != nil {
					return nil, d, nil
				}
			}
		}
		if err := s.checkVerified(i, origin, guard); err != nil {
			return nil, nil, err
		}
		c := checker{p: u.find(s, i.ProducerID), u: u, origin: origin}
		if err := c.append(i, transactionVersion); err != nil {
			return nil, nil, err
		}
		if i.IsTransactional && c.p.verify != nil {
			// The verification is over, unless a marker of transactions v2 ends
			// one transaction while the next, in its epoch, is being verified.
			if v := c.p.verify; !(v.supportsEpochBump && i.IsControl && v.epoch == i.ProducerEpoch) {
				u.verified = append(u.verified, i.ProducerID)
			}
		}
	}
	return u, nil, nil
}

// checkVerified refuses the first batch of a transaction unless its coordinator
// knows that the transaction has this partition.
func (s *State) checkVerified(i *batch.Info, origin batch.Origin, guard Guard) error {
	if !i.IsTransactional || origin != batch.OriginClient && origin != batch.OriginCoordinator {
		return nil
	}
	if s.HasOngoingTransaction(i.ProducerID, i.ProducerEpoch) {
		return nil
	}
	if e := s.producers[i.ProducerID]; e != nil && i.ProducerEpoch < e.epoch {
		return kafka.InvalidProducerEpoch.Errorf("Epoch of producer %d is %d, which is smaller than the last seen epoch %d", i.ProducerID, i.ProducerEpoch, e.epoch)
	}
	if s.cfg.VerifyTransactions && !i.IsControl && !s.verified(i.ProducerID, guard) {
		return kafka.InvalidTxnState.Errorf("Record was not part of an ongoing transaction")
	}
	return nil
}

// checker checks one batch against its producer.
type checker struct {
	p      *prepared
	u      *Update
	origin batch.Origin
}

func (c *checker) append(i *batch.Info, transactionVersion int16) error {
	if !i.IsControl {
		return c.data(i)
	}
	if i.NumRecords == 0 {
		return nil // compaction has removed the whole transaction
	}
	return c.marker(i, transactionVersion)
}

// data checks and notes a batch of records.
func (c *checker) data(i *batch.Info) error {
	if err := c.checkEpoch(i.ProducerEpoch, i.BaseOffset, TransactionVersionUnknown); err != nil {
		return err
	}
	if c.origin == batch.OriginClient {
		if err := c.checkSequence(i); err != nil {
			return err
		}
	}
	next := &c.p.next
	next.setEpoch(i.ProducerEpoch)
	next.add(&BatchMeta{
		LastOffset:   i.LastOffset,
		Timestamp:    i.MaxTimestamp,
		LastSequence: i.LastSequence(),
		OffsetDelta:  i.LastOffsetDelta,
	})
	next.lastTimestamp = i.MaxTimestamp
	switch {
	case next.txnFirst >= 0 && !i.IsTransactional:
		return kafka.InvalidTxnState.Errorf("Expected transactional write from producer %d at offset %d", i.ProducerID, i.BaseOffset)
	case next.txnFirst < 0 && i.IsTransactional:
		next.txnFirst = i.BaseOffset
		c.u.started = append(c.u.started, txn{first: i.BaseOffset, last: none, producerID: i.ProducerID})
	}
	return nil
}

// errVersion is a bug of the caller.
var errVersion = errors.New("a transaction marker needs its transaction version")

// marker checks and notes the end of a transaction.
func (c *checker) marker(i *batch.Info, transactionVersion int16) error {
	m := &i.Control
	if !m.Valid || m.Type != batch.ControlCommit && m.Type != batch.ControlAbort {
		return kafka.InvalidRecord.Errorf("control batch of producer %d at offset %d is no transaction marker", i.ProducerID, i.BaseOffset)
	}
	if transactionVersion == TransactionVersionUnknown {
		if c.origin != batch.OriginReplication {
			return errVersion
		}
		// The leader has compared more strictly; the log does not tell how.
		transactionVersion = 0
	}
	if err := c.checkEpoch(i.ProducerEpoch, i.BaseOffset, transactionVersion); err != nil {
		return err
	}
	next := &c.p.next
	if next.coordinatorEpoch > m.CoordinatorEpoch && c.origin != batch.OriginReplication {
		return kafka.TransactionCoordinatorFenced.Errorf("Invalid coordinator epoch for producerId %d at offset %d: %d (zombie), %d (current)", i.ProducerID, i.BaseOffset, m.CoordinatorEpoch, next.coordinatorEpoch)
	}
	if next.txnFirst >= 0 {
		c.u.completed = append(c.u.completed, CompletedTxn{
			ProducerID:  i.ProducerID,
			FirstOffset: next.txnFirst,
			LastOffset:  i.BaseOffset,
			Aborted:     m.Type == batch.ControlAbort,
		})
	}
	next.setEpoch(i.ProducerEpoch)
	next.coordinatorEpoch = m.CoordinatorEpoch
	next.txnFirst = none
	next.lastTimestamp = i.MaxTimestamp
	return nil
}

// checkEpoch fences producers that a newer one has replaced. With transactions
// v2 the epoch of a marker must be above the transaction's, except when it says
// again what has been said: then the marker may be written again.
func (c *checker) checkEpoch(epoch int16, offset int64, transactionVersion int16) error {
	current := c.p.next.epoch
	strict := transactionVersion >= TransactionVersion2
	if epoch > current || epoch == current && !strict {
		return nil
	}
	if strict && epoch == current && (c.p.next.txnFirst < 0 || epoch == math.MaxInt16) {
		return nil
	}
	if c.origin == batch.OriginReplication {
		return nil
	}
	comparison := "<"
	if strict {
		comparison = "<="
	}
	return kafka.InvalidProducerEpoch.Errorf("Epoch of producer %d at offset %d is %d, which is %s the last seen epoch %d (TV%d)",
		c.p.next.producerID, offset, epoch, comparison, current, transactionVersion)
}

// checkSequence refuses a batch that does not follow the one before.
func (c *checker) checkSequence(i *batch.Info) error {
	before, next, v := &c.p.before, &c.p.next, c.p.verify
	seq := i.BaseSequence
	switch {
	case v != nil && v.supportsEpochBump && seq != 0 && before.n == 0:
		return c.outOfOrder(i, "0 is expected of a producer with transactions v2 and no state")
	case v != nil && seq > v.lowestSequence:
		return kafka.OutOfOrderSequenceNumber.Errorf("Out of order sequence number for producer %d at offset %d: %d (incoming seq. number), %d (earliest seen sequence)", i.ProducerID, i.BaseOffset, seq, v.lowestSequence)
	case i.ProducerEpoch != next.epoch:
		// A producer that is not known, because its records are gone, may go on
		// where it was; a known one begins every epoch at 0.
		if seq != 0 && next.epoch != batch.NoProducerEpoch {
			return kafka.OutOfOrderSequenceNumber.Errorf("Invalid sequence number for new epoch of producer %d at offset %d: %d (request epoch), %d (seq. number), %d (current producer epoch)", i.ProducerID, i.BaseOffset, i.ProducerEpoch, seq, next.epoch)
		}
		return nil
	}
	last := batch.NoSequence
	if next.n > 0 {
		last = next.lastSequence()
	} else if i.ProducerEpoch == before.epoch {
		last = before.lastSequence()
	}
	if before.epoch == batch.NoProducerEpoch || follows(last, seq) {
		return nil
	}
	return kafka.OutOfOrderSequenceNumber.Errorf("Out of order sequence number for producer %d at offset %d: %d (incoming seq. number), %d (current end sequence number)", i.ProducerID, i.BaseOffset, seq, last)
}

func (c *checker) outOfOrder(i *batch.Info, why string) error {
	return kafka.OutOfOrderSequenceNumber.Errorf("Invalid sequence number for producer %d at offset %d: %d (incoming seq. number); %s", i.ProducerID, i.BaseOffset, i.BaseSequence, why)
}

// follows says whether next comes after last; 0 comes after the largest.
func follows(last, next int32) bool {
	return int64(next) == int64(last)+1 || next == 0 && last == math.MaxInt32
}

// Commit applies what Check prepared, after the batches were written; endOffset
// is the log's end after them. It returns the transactions that were aborted, to
// be added to the segment's index; they are valid until the next Check. u may be
// nil.
func (s *State) Commit(u *Update, endOffset int64) []AbortedTxn {
	s.end = endOffset
	if u == nil {
		return nil
	}
	for k := range u.producers {
		p := &u.producers[k]
		if p.current != nil {
			p.current.merge(&p.next)
			continue
		}
		e := new(entry)
		*e = p.next
		if s.producers == nil {
			s.producers = make(map[int64]*entry)
		}
		s.producers[e.producerID] = e
	}
	for _, id := range u.verified {
		delete(s.verifying, id)
	}
	for _, t := range u.started {
		s.ongoing.put(t)
	}
	u.aborted = u.aborted[:0]
	for k := range u.completed {
		c := &u.completed[k]
		if c.Aborted {
			u.aborted = append(u.aborted, AbortedTxn{
				ProducerID:       c.ProducerID,
				FirstOffset:      c.FirstOffset,
				LastOffset:       c.LastOffset,
				LastStableOffset: s.ongoing.lastStable(c),
			})
		}
		s.ongoing.remove(c.FirstOffset)
		s.unreplicated.put(txn{first: c.FirstOffset, last: c.LastOffset, producerID: c.ProducerID})
	}
	return u.aborted
}
