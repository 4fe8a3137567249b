package producer

import (
	"github.com/gregorhq/gregor/internal/batch"
)

// retained is how many batches of a producer are remembered; a producer has at
// most as many requests in flight.
const retained = 5

// Config is what the broker's configuration says about producers.
type Config struct {
	// ExpirationMs is producer.id.expiration.ms.
	ExpirationMs int64
	// MaxTransactionTimeoutMs is transaction.max.timeout.ms.
	MaxTransactionTimeoutMs int64
	// VerifyTransactions is transaction.partition.verification.enable (KIP-890).
	VerifyTransactions bool
}

// BatchMeta is a batch that was appended.
type BatchMeta struct {
	LastOffset   int64
	Timestamp    int64
	LastSequence int32
	// OffsetDelta is how far the last record is from the first.
	OffsetDelta int32
}

// FirstSequence is the sequence number of the batch's first record.
func (b *BatchMeta) FirstSequence() int32 {
	return batch.DecrementSequence(b.LastSequence, b.OffsetDelta)
}

// FirstOffset is the offset of the batch's first record.
func (b *BatchMeta) FirstOffset() int64 { return b.LastOffset - int64(b.OffsetDelta) }

// entry is one producer's state.
type entry struct {
	producerID       int64
	lastTimestamp    int64
	txnFirst         int64 // first offset of the open transaction, or none
	coordinatorEpoch int32
	epoch            int16
	n                int8 // how many of batches are in use, oldest first
	// partial says that a snapshot left out batches that came before.
	partial bool
	batches [retained]BatchMeta
}

// none stands for an offset that is not there.
const none int64 = -1

func newEntry(producerID int64) entry {
	return entry{
		producerID:       producerID,
		lastTimestamp:    batch.NoTimestamp,
		txnFirst:         none,
		coordinatorEpoch: -1,
		epoch:            batch.NoProducerEpoch,
	}
}

func (e *entry) lastSequence() int32 {
	if e.n == 0 {
		return batch.NoSequence
	}
	return e.batches[e.n-1].LastSequence
}

// setEpoch forgets the batches of an earlier epoch: sequence numbers begin anew
// with each.
func (e *entry) setEpoch(epoch int16) {
	if e.epoch != epoch {
		e.n, e.epoch, e.partial = 0, epoch, false
	}
}

func (e *entry) add(b *BatchMeta) {
	if e.n == retained {
		copy(e.batches[:], e.batches[1:])
		e.n--
	}
	e.batches[e.n] = *b
	e.n++
}

// merge applies what an append did to the entry.
func (e *entry) merge(next *entry) {
	e.setEpoch(next.epoch)
	for k := range next.batches[:next.n] {
		e.add(&next.batches[k])
	}
	e.coordinatorEpoch = next.coordinatorEpoch
	e.txnFirst = next.txnFirst
	e.lastTimestamp = next.lastTimestamp
}

// duplicate finds the retained batch with exactly i's sequence numbers.
func (e *entry) duplicate(i *batch.Info) *BatchMeta {
	if i.ProducerEpoch != e.epoch {
		return nil
	}
	first, last := i.BaseSequence, i.LastSequence()
	for k := range e.batches[:e.n] {
		if b := &e.batches[k]; b.LastSequence == last && b.FirstSequence() == first {
			return b
		}
	}
	return nil
}

// State is what producers have written to one partition. The zero State is not
// ready: use New. It belongs to the log, which calls it under its mutex.
type State struct {
	cfg       Config
	producers map[int64]*entry
	// ongoing are the open transactions and unreplicated those whose marker the
	// high watermark has not passed; both are ordered by first offset.
	ongoing, unreplicated txns
	verifying             map[int64]*verification
	// end is the offset up to which the log is reflected.
	end int64
	// partial says that entries may be, since the last Load.
	partial bool
	// update is the one prepared update, made on first use.
	update *Update
}

// New returns an empty State for a log that begins at offset 0.
func New(cfg Config) *State { return &State{cfg: cfg} }

// Reconfigure replaces the configuration.
func (s *State) Reconfigure(cfg Config) { s.cfg = cfg }

// Len is the number of producers that are known.
func (s *State) Len() int { return len(s.producers) }

// IsEmpty says whether the state holds nothing worth a snapshot.
func (s *State) IsEmpty() bool { return len(s.producers) == 0 && len(s.unreplicated) == 0 }

// EndOffset is the offset up to which the log is reflected here; a snapshot of
// now has this offset.
func (s *State) EndOffset() int64 { return s.end }

// SetEndOffset notes that the log was read up to offset.
func (s *State) SetEndOffset(offset int64) { s.end = offset }

// FirstUnstableOffset is the first offset that a reader of committed data must
// not see: of an open transaction, or of one whose marker may still be lost.
// ok is false when there is none.
func (s *State) FirstUnstableOffset() (offset int64, ok bool) {
	a, okA := s.ongoing.first()
	b, okB := s.unreplicated.first()
	if okA && (!okB || a < b) {
		return a, true
	}
	return b, okB
}

// FirstUndecidedOffset is the first offset of an open transaction.
func (s *State) FirstUndecidedOffset() (offset int64, ok bool) { return s.ongoing.first() }

// OnHighWatermark lets go of the transactions whose marker lies below hw.
func (s *State) OnHighWatermark(hw int64) { s.unreplicated.removeBelow(hw) }

// OnLogStart follows the log's start: what lies before it is stable.
func (s *State) OnLogStart(offset int64) {
	s.unreplicated.removeBelow(offset)
	s.end = max(s.end, offset)
}

// Expire forgets producers that have written nothing for ExpirationMs, except
// those with an open transaction, and verifications that were begun as long ago.
func (s *State) Expire(nowMs int64) {
	for id, e := range s.producers {
		if s.expired(e, nowMs) {
			delete(s.producers, id)
		}
	}
	for id, v := range s.verifying {
		if nowMs-v.timestampMs >= s.cfg.ExpirationMs {
			delete(s.verifying, id)
		}
	}
}

func (s *State) expired(e *entry, nowMs int64) bool {
	return e.txnFirst < 0 && nowMs-e.lastTimestamp >= s.cfg.ExpirationMs
}

// lateTransactionBufferMs is how long after its largest timeout a transaction
// counts as hanging.
const lateTransactionBufferMs = 5 * 60 * 1000

// HasLateTransaction says whether the oldest open transaction should have been
// ended by its coordinator long ago.
func (s *State) HasLateTransaction(nowMs int64) bool {
	if len(s.ongoing) == 0 {
		return false
	}
	e := s.producers[s.ongoing[0].producerID]
	if e == nil || e.lastTimestamp <= 0 {
		return false
	}
	return nowMs-e.lastTimestamp > s.cfg.MaxTransactionTimeoutMs+lateTransactionBufferMs
}

// Reset forgets everything. The log goes on at offset.
func (s *State) Reset(offset int64) {
	s.producers = nil
	s.ongoing, s.unreplicated = nil, nil
	s.end = offset
}
