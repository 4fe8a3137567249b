package coord

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Token identifies one waiting request within a shard. The runtime makes it; a mind
// keeps it to answer later, and names it in a Reply exactly once. A Reply to a token
// that was answered, or that the runtime gave up (its client left, the shard
// resigned), is dropped.
type Token uint64

// NoToken is the token of work that nobody waits for: timers and effects' results.
const NoToken Token = 0

// Client says who sent a request.
type Client struct {
	ID   string // client.id of the request header, "" when absent
	Host string // Kafka's form: "/" + the peer's address
}

// Record is one record as it stands in the partition's log. A nil Value is a
// tombstone.
type Record struct {
	Key, Value []byte
}

// recordOverhead is more than a record takes in a batch besides its key and value.
const recordOverhead = 32

// Size is how many bytes of a batch the record takes at most, uncompressed.
func (r Record) Size() int { return recordOverhead + len(r.Key) + len(r.Value) }

// Timer is a deadline of soft state. The runtime keeps one timer a key: setting it
// again moves it, Cancel removes it. When it is due the runtime calls
// Machine.OnTimer with the key.
type Timer struct {
	Key    string
	AtMs   int64 // absolute, in the milliseconds that operations are given as now
	Cancel bool
}

// Reply answers a waiting client. With Err the door makes the response of it; else
// Response is sent as it is.
type Reply struct {
	To       Token
	Response kmsg.Response
	Err      error
}

// Effect is something to be done outside after the commit: a value of a type that the
// mind defines. The runtime hands it to the function that it was given for effects;
// results come back as operations.
type Effect any

// TxnAppend makes the batch of an Outcome part of a producer's transaction, or a
// control batch that ends one.
type TxnAppend struct {
	ProducerID    int64
	ProducerEpoch int16

	// Marker says that the batch is an end-transaction marker; the Outcome then has no
	// Records, and Machine.ReplayTxnEnd is called after the append.
	Marker           bool
	Commit           bool // meaningful for a marker
	CoordinatorEpoch int32
	// TransactionVersion is the version of the transaction protocol that a marker is
	// written under.
	TransactionVersion int16

	// Guard is the log's proof that a transactional batch was verified with the
	// transaction's coordinator (KIP-890); 0 for none.
	Guard uint64
}

// Outcome is what an operation decided.
type Outcome struct {
	// Records are appended as one batch: all or none. They may be empty.
	Records []Record
	// Split allows more than one batch when Records do not fit into one: for work whose
	// parts stand for themselves, such as the removal of expired offsets. When a later
	// batch is refused, the earlier ones are replayed and stay.
	Split bool
	// Txn is set when the batch belongs to a transaction.
	Txn *TxnAppend

	// Replies wait until the batch is committed. Without a batch they are sent at once,
	// or with ReadBarrier when everything appended so far is committed, so that no
	// client ever sees what a change of leader can take back.
	Replies     []Reply
	ReadBarrier bool

	// Effects run when Replies may be sent, after them.
	Effects []Effect

	// Timers are set at once, in order.
	Timers []Timer

	// Notes are lines for the broker's log, written at once: what an operator asks about
	// later, such as why a group rebalanced. Each is one line without its end.
	Notes []string

	// Op is given back by Machine.Committed and Machine.AppendFailed; it tells the mind
	// which soft state waited. Committed is called only when it is not nil.
	Op any
}

// Answer is the outcome that sends one response and does nothing else.
func Answer(to Token, resp kmsg.Response) Outcome {
	return Outcome{Replies: []Reply{{To: to, Response: resp}}}
}

// Refuse is the outcome that answers with an error and does nothing else.
func Refuse(to Token, err error) Outcome {
	return Outcome{Replies: []Reply{{To: to, Err: err}}}
}

// Empty says that the outcome asks for nothing.
func (o *Outcome) Empty() bool {
	return len(o.Records) == 0 && o.Txn == nil && len(o.Replies) == 0 && len(o.Effects) == 0 && len(o.Timers) == 0 && len(o.Notes) == 0
}
