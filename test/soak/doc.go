//go:build linux

// Command soak lets a cluster work for hours and looks at what it costs and what it loses.
//
//	go run ./test/soak -bin bin/gregor -hours 2
//
// Three combined nodes are real processes on loopback. The load is measured unthrottled
// first; then it runs at half of that for the time that is asked for, while one node after
// the other is killed as kill -9 does and started again. Checkers judge the load while it
// streams; what they keep is counters for each partition, producer and key, sums for each
// block of records that is not complete, and what is on its way: nothing grows with time.
//
//   - events: idempotent producers write numbered records with check sums, retention deletes
//     behind them. A group of two reads all of it, one member leaves and comes back, in
//     order and as if it had died. For each partition and producer the numbers go on by
//     one; what was acknowledged is read at its offset, once; a record is read again only by
//     a member that began at the committed offset, and is the same as before.
//   - table: keys with rising versions and tombstones on a compacted topic. The versions of
//     a key never go back; in the end the topic has the last acknowledged version of each.
//   - pairs: transactions that write one number to two partitions, some of them aborted. Of
//     a transaction that was committed both are read, of one that was aborted none, of one
//     whose outcome nobody told both or none.
//   - orders and copies: two members of a group copy in transactions, offsets included. The
//     copies have every number once, in order.
//
// Producers wait for the readers of events when retention would overtake them, so that the
// maximum is what is written and read. The time of one record is from the call that sends
// it to its acknowledgement.
//
// Every ten seconds each node tells its heap, goroutines, descriptors and resident memory,
// and the producers their p50 and p99. flat.go says what flat is. Windows from a kill until
// every replica is in sync and the preferred replicas lead again are kept apart for the
// producers, and windows of the last quarter are compared with those of the second in which
// a hypervisor gave as much of the CPU to others; when too few have such counterparts, the
// run has failed. A run of less than ten minutes prints these series and does not judge them.
//
// SIGINT and SIGTERM end the load early; what there is is judged. Whoever is started ends
// with the command, even if that is killed.
package main
