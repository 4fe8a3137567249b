// Package placement chooses the brokers of new partitions. The controller places what it
// creates with it, and kafka-reassign-partitions what it proposes. It is pure: all chance
// comes from the source that the caller gives, and it starts no goroutine.
//
// Invariants: no broker twice in a partition; a fenced broker never comes first, and
// follows only when its rack has no unfenced broker left.
package placement
