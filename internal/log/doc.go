// Package log keeps partitions in Kafka's data directories, byte for byte:
// segments, offset, time and transaction indexes, producer snapshots, leader
// epoch checkpoints and the checkpoints of a whole directory. The formats and
// their crash cases are described in docs/formats, one page a file type.
//
// # Ownership
//
// A Manager owns a set of data directories: their locks, their checkpoints and
// the Logs in them. The package starts no goroutine that outlives the call which
// started it, except one per Manager that syncs segments after a roll and removes
// deleted files once their delay has passed; Close and Abort stop it. Periodic work
// (checkpoints, retention, flush.ms) consists of methods that the node's scheduler
// calls. Locks are taken in the order Manager.create, Log.mu, and under Log.mu that of
// the gathering of a checkpoint with Manager.mu below it, those of the file cache, the
// tail memory, the task queue and the clean points. What compaction keeps is decided
// by package cleaner; a Cleaning is its hold on a log (docs/architecture/compaction.md).
//
// # Invariants
//
//   - Log.mu is held by whatever changes a log. Readers never take it: they load
//     the segment list from one atomic pointer and end offsets from atomics that
//     are stored only after the bytes they cover are in the file.
//   - LogStartOffset <= RecoveryPoint, HighWatermark <= LogEndOffset.
//   - A byte below a published end is never rewritten, except by a truncation and
//     by the swap of a compacted segment, which readers detect by a generation counter.
//   - The recovery point moves only after log, indexes and directory were synced.
//   - A failed sync is never repeated: its directory goes offline. A failed write
//     is cut off again before anything else happens to the log.
//   - The clean shutdown marker is read and removed before any log is opened, and
//     written only after every log of the directory was flushed without an error.
package log
