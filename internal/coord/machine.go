package coord

// Origin says where a replayed record comes from.
type Origin struct {
	Offset int64
	// ProducerID and ProducerEpoch are those of the batch; NoProducerID when it has none.
	ProducerID    int64
	ProducerEpoch int16
	// Transactional says that the record takes effect when its transaction commits.
	Transactional bool
}

// NoProducerID is the producer id of batches without one.
const NoProducerID int64 = -1

// Machine is what the runtime needs of a coordinator mind. Operations are methods of
// the concrete type: doors call them inside the function that they submit.
//
// All methods are called by the shard's goroutine, one at a time.
type Machine interface {
	// Replay applies one record to the hard state: at load in the order of the log, and
	// after each successful append. A record of a kind that the mind does not know is
	// kept out of the way, not an error; an error at load means that this machine is
	// dropped and the load tried again later, with a new one. The record's memory belongs
	// to the machine, which may keep parts of it.
	Replay(r Record, from Origin) error

	// ReplayTxnEnd applies the end of a producer's transaction.
	ReplayTxnEnd(producerID int64, producerEpoch int16, commit bool) error

	// Loaded is called once, after the replay of the whole log and before the first
	// operation. The outcome sets timers and may append.
	Loaded(nowMs int64) Outcome

	// OnTimer is called when the timer of that key is due. It may come late.
	OnTimer(key string, nowMs int64) Outcome

	// Committed is called when the batch of an Outcome with that Op is below the high
	// watermark, before its replies are sent.
	Committed(op any, nowMs int64) Outcome

	// AppendFailed is called when the batch of o was not appended; nothing of it was
	// replayed. err carries the code of the log. The outcome that is returned replaces o:
	// it holds the replies to o's clients (with the code that they understand) and may
	// set timers; it must not append. Clients of o that it does not answer stay parked.
	AppendFailed(o Outcome, err error, nowMs int64) Outcome

	// Resigned is called last: the broker does not lead the partition any more. It is not
	// called for a machine that was dropped because its load failed. The runtime answers
	// every parked client with NOT_COORDINATOR itself.
	Resigned()
}

// Bounded is a Machine that fills batches with many records whose outcome cannot be
// split, and has to know how many fit.
type Bounded interface {
	Machine

	// BoundBatches is called once, before Replay. limit returns how many bytes of records,
	// by Record.Size, one batch may have at that moment: the topic's configuration may
	// change. It may be called by the shard's goroutine only, in any method.
	BoundBatches(limit func() int)
}
