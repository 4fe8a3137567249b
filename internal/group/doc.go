// Package group is the mind of the group coordinator: consumer offsets, groups of the
// classic rebalance protocol, and groups of the consumer rebalance protocol (KIP-848),
// for the groups of one partition of __consumer_offsets.
//
// A Machine is what the runtime in package rsm drives (coord.Machine). Every operation
// is a method named after its request; it decides on the state, and gives back records,
// replies and timers as data. What the records of __consumer_offsets say is hard state:
// offsets, consumer groups, and the last generation of classic groups. It changes only
// in Replay. What a classic group knows between two generations (who has joined, who
// waits for an answer, the state of the rebalance) is soft state and is changed by the
// operation itself; the records that an operation of a live classic group writes are
// therefore not replayed over it, see Machine.replayClassicGroup. An operation whose
// soft change must be taken back when the append fails leaves an undo in its op.
//
// The package owns no goroutine, reads no clock, opens nothing, takes no lock. A Machine
// belongs to one goroutine. Maps are iterated in sorted or insertion order wherever the
// order can be seen. Randomness and the metadata image come from Config.
//
// Invariants: an offset that a transaction has not committed is never answered; a
// partition is owned by at most one member of a consumer group in any epoch; a commit is
// accepted only from the generation, or member epoch, that owns it.
package group
