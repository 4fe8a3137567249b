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
// Goroutines: one a partition with a flush under way (flush.messages), which ends when
// nobody waits for a flush any more; one for each log directory that fails, which takes
// its partitions offline. Manager.Close waits for both.
//
// Invariants: logStart <= highWatermark <= logEnd; only the isr mind raises the
// high watermark and nothing lowers it while this broker leads; a record is visible
// to consumers only below it.
package replica
