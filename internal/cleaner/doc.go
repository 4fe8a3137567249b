// Package cleaner compacts logs: it keeps the last record of every key, and removes
// what was superseded, tombstones whose time has come, aborted records and the
// markers of transactions without records. docs/architecture/compaction.md describes
// what it does on disk and what a crash leaves.
//
// # Ownership
//
// A Cleaner owns log.cleaner.threads goroutines; Close and Reconfigure stop them. A
// goroutine takes one log at a time, the one with the largest dirty share, and owns
// the key map, the buffers and the log.Cleaning of that round. Cleaner.mu guards
// what the goroutines share: which logs are taken, and which failed.
//
// # Invariants
//
//   - The active segment is never touched, nor anything at or above the last stable
//     offset or younger than min.compaction.lag.ms.
//   - A record goes only if a later one of its key was seen in the log, if it is a
//     tombstone or marker past the delete horizon in its batch, if it belongs to an
//     aborted transaction, or if it has no key.
//   - Values go before their tombstone: groups of segments are replaced from the
//     log's start on, each durably before the next.
//   - What stays keeps offset, timestamp, key, value and headers; a batch keeps its
//     first and last offset, leader epoch, producer and codec.
//   - The last batch of every producer with state, and the last batch of a round,
//     stay at least as a header.
//   - A round that fails leaves the log as it was. Its log is tried again later, and
//     others go on meanwhile.
package cleaner
