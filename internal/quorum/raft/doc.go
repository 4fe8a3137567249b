// Package raft is the embedded quorum: etcd's raft library decides, and Kafka's
// __cluster_metadata-0 directory is its log, its vote and its snapshots.
//
// # Mapping
//
// The raft index of an offset is offset+1 and the raft term is the leader epoch,
// so nothing has to be stored beside what Kafka stores, and every voter agrees on
// indexes whatever part of the log it still has. A batch of n records is n raft
// entries: the first carries the bytes of the batch, the others are fillers that
// only take up their indexes. The empty entry of a new leader becomes the control
// batch with the LeaderChangeMessage. docs/architecture/quorum.md says why.
//
// # Ownership
//
// Engine.Start starts one goroutine, the loop; Close stops it. The loop alone
// writes to the log, to quorum-state and to listeners. Engine.mu guards the
// RawNode and what is said beside it; it is never held during I/O that syncs or
// while a listener runs. Proposals step the RawNode under mu and wake the loop,
// which makes everything that came in meanwhile durable with one sync.
//
// # Invariants
//
//   - Vote and term are in quorum-state, synced, before they are acted on.
//   - An entry is synced before raft hears that it is stable.
//   - After a failed write or sync nothing is retried: the engine stops, and its
//     listeners are told that nobody leads.
package raft
