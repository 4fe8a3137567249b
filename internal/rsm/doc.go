// Package rsm runs replicated state machines.
//
// The controller is one: its minds are package controller (what to do) and package
// metadata (the state), its log is a quorum.Engine. One goroutine, started by
// Controller.Start and stopped by Close, owns all of a Controller's state. Everything
// reaches it through one mailbox: requests, committed batches, leader changes and timers.
// Requests have a bound there, which nothing else counts against: the engine never waits.
// Its invariants:
//   - a reply is sent only after every record that it rests on is committed;
//   - when leadership is lost the speculative image is dropped and every parked
//     reply becomes NOT_CONTROLLER;
//   - the speculative image is always the committed image plus the records that
//     were proposed and not yet committed, in log order.
//
// A Coordinator runs machines of package coord, one shard a partition of an internal
// topic that this broker leads. A shard's goroutine is started by Apply, ends when the
// partition is led elsewhere or in another epoch, and owns the machine. Everything
// reaches it through its mailbox. docs/architecture/coordinators.md says what happens
// when. Its invariants:
//   - a machine that is asked has replayed exactly the log from its start to shard.end, and
//     the shard appends only in the leader epoch in which it loaded; a machine whose load
//     failed is dropped, and the load begins anew with another one;
//   - a reply that rests on records leaves only when the high watermark, observed in
//     that same epoch, has passed them;
//   - a request is answered exactly once: with its reply, REQUEST_TIMED_OUT, or
//     NOT_COORDINATOR when the shard ends.
package rsm
