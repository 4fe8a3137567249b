package txn

import (
	"cmp"
	"math"
	"slices"

	"github.com/gregorhq/gregor/internal/invariant"
	"github.com/gregorhq/gregor/internal/kafka"
)

// State is the state of a transactional id; its numbers are those of the log.
type State int8

// The states. Dead and PrepareEpochFence are never in the log; they have names that
// clients may filter by.
const (
	Empty             State = 0
	Ongoing           State = 1
	PrepareCommit     State = 2
	PrepareAbort      State = 3
	CompleteCommit    State = 4
	CompleteAbort     State = 5
	Dead              State = 6
	PrepareEpochFence State = 7
)

var stateNames = [...]string{"Empty", "Ongoing", "PrepareCommit", "PrepareAbort", "CompleteCommit", "CompleteAbort", "Dead", "PrepareEpochFence"}

func (s State) valid() bool { return s >= Empty && s <= CompleteAbort }

// String is the name that DescribeTransactions shows.
func (s State) String() string {
	if s < 0 || int(s) >= len(stateNames) {
		return "Unknown"
	}
	return stateNames[s]
}

// ParseState is the inverse of String.
func ParseState(name string) (State, bool) {
	i := slices.Index(stateNames[:], name)
	return State(i), i >= 0
}

// idle says that no transaction is open or being ended.
func (s State) idle() bool { return s == Empty || s == CompleteCommit || s == CompleteAbort }

// prepared says that the outcome is decided and the markers are being written.
func (s State) prepared() bool { return s == PrepareCommit || s == PrepareAbort }

// complete says that a transaction was ended and none is open since.
func (s State) complete() bool { return s == CompleteCommit || s == CompleteAbort }

// mayFollow says whether the state machine has the transition from s to next.
func (s State) mayFollow(next State) bool {
	switch next {
	case Empty, Ongoing:
		return s.idle() || s == Ongoing && next == Ongoing
	case PrepareCommit:
		return s == Ongoing
	case PrepareAbort:
		return s == Ongoing || s.idle()
	case CompleteCommit:
		return s == PrepareCommit
	case CompleteAbort:
		return s == PrepareAbort
	}
	return false
}

// noStart is the start time of a transactional id without transaction.
const noStart int64 = -1

// Transaction is what is known of one transactional id. The ones in a Machine's table
// are replaced by Replay, never changed, but for LastProducerEpoch and Partitions.
type Transaction struct {
	ID         string
	ProducerID int64
	// PreviousProducerID is the producer id before the last transition. NextProducerID
	// takes the place of ProducerID when the transaction is complete, because the
	// epochs are exhausted.
	PreviousProducerID int64
	NextProducerID     int64
	ProducerEpoch      int16
	// LastProducerEpoch is the epoch before the last bump that the producer itself asked
	// for: with it a retry is told from a zombie. It is not in the log.
	LastProducerEpoch int16
	TimeoutMs         int32
	State             State
	// Partitions are sorted. In a prepared state they are those without marker yet.
	Partitions   []kafka.TopicPartition
	StartMs      int64
	LastUpdateMs int64
	// ClientTransactionVersion is how the client spoke when it last changed the state: 2
	// with the epoch bump of every transaction, 0 without.
	ClientTransactionVersion int16
}

// transactionVersion2 bumps the epoch with every transaction (KIP-890).
const transactionVersion2 int16 = 2

// lastEpoch is the highest epoch that a client ever gets. The one above it is left for
// fencing the last holder.
const lastEpoch = math.MaxInt16 - 1

func exhausted(epoch int16) bool { return epoch >= lastEpoch }

// next copies t for a transition.
func (t *Transaction) next(state State, nowMs int64) *Transaction {
	invariant.Check(t.State.mayFollow(state), "transactional id %s: %s may not follow %s", t.ID, state, t.State)
	n := *t
	n.State, n.LastUpdateMs, n.PreviousProducerID = state, nowMs, t.ProducerID
	return &n
}

// withProducer begins a new life of the transactional id, with a producer that has
// not opened a transaction.
func (t *Transaction) withProducer(id int64, epoch, last int16, timeoutMs int32, nowMs int64) *Transaction {
	n := t.next(Empty, nowMs)
	n.ProducerID, n.ProducerEpoch, n.LastProducerEpoch = id, epoch, last
	n.TimeoutMs, n.StartMs, n.Partitions = timeoutMs, noStart, nil
	return n
}

// adding opens the transaction, or adds to it.
func (t *Transaction) adding(partitions []kafka.TopicPartition, clientVersion int16, nowMs int64) *Transaction {
	n := t.next(Ongoing, nowMs)
	if t.State != Ongoing {
		n.StartMs = nowMs
	}
	n.Partitions = sorted(append(slices.Clone(t.Partitions), partitions...))
	n.ClientTransactionVersion = clientVersion
	return n
}

// ending decides the transaction. With the epoch bump nextID is the producer id that
// follows if the epochs are exhausted.
func (t *Transaction) ending(state State, clientVersion int16, nextID, nowMs int64) *Transaction {
	n := t.next(state, nowMs)
	n.ClientTransactionVersion = clientVersion
	n.NextProducerID = NoProducerID
	if t.State != Ongoing {
		n.StartMs = nowMs // an abort of nothing still needs a start
	}
	if clientVersion >= transactionVersion2 {
		if exhausted(t.ProducerEpoch) {
			n.NextProducerID = nextID
		}
		n.LastProducerEpoch = t.ProducerEpoch
		if t.ProducerEpoch < math.MaxInt16 {
			n.ProducerEpoch++
		}
	}
	return n
}

// fencing aborts the transaction against its producer's will: the producer's epoch is
// not good any more.
func (t *Transaction) fencing(serverVersion int16, nextID, nowMs int64) *Transaction {
	if serverVersion >= transactionVersion2 {
		return t.ending(PrepareAbort, transactionVersion2, nextID, nowMs)
	}
	n := t.ending(PrepareAbort, 0, NoProducerID, nowMs)
	if n.ProducerEpoch < math.MaxInt16 {
		n.ProducerEpoch++
	}
	n.LastProducerEpoch = NoProducerEpoch
	return n
}

// completed is the state after the last marker.
func (t *Transaction) completed(nowMs int64) *Transaction {
	state := CompleteAbort
	if t.State == PrepareCommit {
		state = CompleteCommit
	}
	n := t.next(state, nowMs)
	n.ProducerID, n.ProducerEpoch = t.afterwards()
	n.NextProducerID, n.Partitions = NoProducerID, nil
	return n
}

// afterwards is the producer id and epoch that the next transaction uses.
func (t *Transaction) afterwards() (int64, int16) {
	if t.ClientTransactionVersion >= transactionVersion2 && t.NextProducerID != NoProducerID {
		return t.NextProducerID, 0
	}
	return t.ProducerID, t.ProducerEpoch
}

// has says whether partition belongs to the transaction.
func (t *Transaction) has(partition kafka.TopicPartition) bool {
	_, ok := slices.BinarySearchFunc(t.Partitions, partition, comparePartitions)
	return ok
}

func (t *Transaction) hasAll(partitions []kafka.TopicPartition) bool {
	for _, tp := range partitions {
		if !t.has(tp) {
			return false
		}
	}
	return true
}

// deadline is when an open transaction is aborted; ok is false when it never is, as
// with two-phase commit.
func (t *Transaction) deadline() (ms int64, ok bool) {
	return t.StartMs + int64(t.TimeoutMs) + 1, t.State == Ongoing && t.TimeoutMs != math.MaxInt32
}

func comparePartitions(a, b kafka.TopicPartition) int {
	if c := cmp.Compare(a.Topic, b.Topic); c != 0 {
		return c
	}
	return cmp.Compare(a.Partition, b.Partition)
}

// sorted sorts partitions in place and drops what is there twice.
func sorted(partitions []kafka.TopicPartition) []kafka.TopicPartition {
	slices.SortFunc(partitions, comparePartitions)
	return slices.Compact(partitions)
}
