// Package rsm runs replicated state machines. The controller is one: its minds
// are package controller (what to do) and package metadata (the state), its log
// is a quorum.Engine.
//
// One goroutine, started by Controller.Start and stopped by Close, owns all of a
// Controller's state. Everything reaches it through one bounded mailbox: requests,
// committed batches, leader changes and timers.
//
// Invariants:
//   - a reply is sent only after every record that it rests on is committed;
//   - when leadership is lost the speculative image is dropped and every parked
//     reply becomes NOT_CONTROLLER;
//   - the speculative image is always the committed image plus the records that
//     were proposed and not yet committed, in log order.
package rsm
