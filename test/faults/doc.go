//go:build linux

// Command faults breaks system calls of real processes and looks at what is left.
//
//	go run ./test/faults -points 200
//
// A life (test/faults/life) is a process with a broker on two data directories and a
// client that keeps a ledger of what it asked for and what was answered. It first
// compares all that the broker has with the ledger, then it writes: idempotent
// producers, transactions, offsets, compaction, deletion of records and topics, rolls,
// checkpoints, clean stops. At one call that changes files, counted over all threads,
// test/faults/inject kills it, kills it in the middle of a write, lets the call fail
// with EIO, ENOSPC or EMFILE, or loses a write; in every other life that may also
// happen while the broker starts. The next life of the same directories has to start
// without help and to find what the ledger says: what was acknowledged is there at its
// offset, once, what was never sent is not, a transaction is there wholly or not at
// all, committed offsets do not go back, a deleted topic does not come back.
//
// A write that the disk lost, although it and the flush after it succeeded, is another
// matter, since nothing can keep a record whose bytes are nowhere. After a lost write of
// a segment the end of that one log may be missing, from the lost record on; at the end
// of a closed segment, where nothing but the offsets tells, the record alone, which is
// counted; and nothing else. Or the next start or a reader is told of it. In partitions of
// transactions, of coordinators and of metadata a file decides on other logs as well;
// there it is only asked that nothing is read that was not written, and that the process
// does not break down. A lost write of any other file loses nothing, or is told of: records that were
// deleted may be back when the log says that it cannot use the checkpoint of log starts.
//
// A life that begins with a directory offline, by its own fault, cannot read what is in it;
// it compares before it writes, and what it finds is left to the next life to judge. A life
// that, as Apache Kafka does, takes a checkpoint that it cannot
// read for none is not judged.
package main
