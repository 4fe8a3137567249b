// Package replica holds the partitions of this broker: which it leads, their high
// watermarks, and who waits for them to move.
//
// Manager turns images of the metadata into partitions: it creates, deletes and
// reconfigures logs, and starts leader epochs. Finding a partition takes no lock.
//
// Partition joins a log with the leader's view of it (package isr). One mutex, held
// for the append, for changes of leadership and for the lists of waiters, and never
// while calling anything but the log. Validation of records happens before it is
// taken, completion of waiters after it is released.
//
// A waiter is parked on a partition and completed exactly once: by the goroutine
// that moved the watermark past it, by the timer wheel at its deadline, or by a
// change of leadership. No waiter has a goroutine or a timer of its own.
//
// A partition that this broker follows has no state besides its log
// (docs/architecture/replication.md): fetchers ask its leader for what comes after, and
// an answer counts only if the log still stands where the question was asked. Changes
// of ISRs go to the controller through one sender for all partitions.
//
// Goroutines: one fetcher a leader and index (num.replica.fetchers) that has partitions,
// and a second one for up to one fetch while the first is parked; one that sends
// AlterPartition while there is something to send; one for each ISR tick, while a
// follower lags; one a partition with a flush under way (flush.messages), which ends when
// nobody waits for a flush any more; one for each log directory that fails, which takes
// its partitions offline; one that sends AssignReplicasToDirs, and up to
// num.replica.alter.log.dirs.threads that move replicas between directories
// (docs/architecture/directories.md), while there is something to do. Manager.Close waits for all of them.
//
// A fetcher's fields belong to its goroutine, but for its inbox.
//
// Invariants: logStart <= highWatermark <= logEnd; only the isr mind raises the
// high watermark and nothing lowers it while this broker leads; a record is visible
// to consumers only below it.
package replica
