// Package quorum is the metadata log and who leads it: the interface that the
// controller loop and the metadata loader use, and the codec of quorum-state, the
// file with the vote (checkpoints are in package storage). docs/architecture/quorum.md
// has the protocol and its invariants, docs/formats the bytes.
//
// The engines live in packages below it: raft is the embedded one. This package
// starts no goroutine. An engine owns the goroutine that calls a Listener, and
// calls all of one Listener's methods from it, one at a time.
//
// Invariants that every engine keeps:
//   - a batch is delivered after a quorum has it on stable storage, each batch
//     once, in offset order, whole, to every listener;
//   - offsets that Propose returned are final: the batch is committed at them or
//     not at all;
//   - no two leaders share a leader epoch.
package quorum
