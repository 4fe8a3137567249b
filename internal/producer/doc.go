// Package producer is the mind that knows what idempotent and transactional
// producers have written to one partition: their epochs, their last five
// batches, their open transactions, and with that the partition's first unstable
// offset.
//
// The log owns one State a partition and calls it under its own mutex. An append
// is Check, the write to the segment, then Commit: Check decides and changes
// nothing, so that a failed write leaves the state as it was. Replicas run the
// same code with OriginReplication, which notes but never refuses. Nothing here
// reads a clock, starts a goroutine or touches a file; the codec of the .snapshot
// file works on bytes.
//
// Invariants: at most one prepared Update exists; a producer's retained batches
// all have its current epoch; every open transaction is in the ordered list of
// ongoing ones; a completed one stays in the list of unreplicated ones until the
// high watermark has passed its marker.
package producer
