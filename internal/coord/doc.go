// Package coord holds the words that coordinator minds (group, txn, share) and the
// runtime that drives them (package rsm) share: what an operation gives back, who
// waits for an answer, timers and effects as data.
//
// A mind's state has two halves. Hard state is what the partition's log says: it is
// changed only by Machine.Replay, at load and after each append. Soft state is what
// the log does not hold (members between JoinGroup and the commit of their
// generation, times of last heartbeats, parked clients): operations and timers may
// change it directly.
//
// Order of one operation, as the runtime keeps it: the operation decides and returns
// an Outcome; its timers are set; its records are appended as one batch; each record
// is replayed; when the high watermark has passed the batch, Machine.Committed is
// called if Op is set, the replies are sent and the effects are run. While that batch
// waits, later operations are decided on the state that includes it. When the append
// fails nothing is replayed, and Machine.AppendFailed says what the waiting clients
// are told.
//
// The package is pure: it owns no goroutine, reads no clock, opens nothing. A Machine
// belongs to one goroutine, its shard's.
package coord
