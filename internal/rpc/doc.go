// Package rpc sends requests to other nodes.
//
// A Conn is one connection: requests leave in the order in which they were given, and
// answers come in that order; several may be in flight. A Node is a peer whose
// connection is opened when the first request needs it, and again after a backoff when
// it broke. Controllers is the channel to the active controller, whoever that is.
//
// What a failed request may have done at the peer is told by its error: one that
// is ErrNotSent left nothing behind and may be repeated, after any other the outcome is
// unknown. ErrRefused says besides that nobody listens at the address, which on a
// machine that answers is proof that the process is gone.
//
// # Goroutines
//
// A Conn owns two: a reader, which completes requests, and a writer. Both end when the
// connection does, whichever side ends it. A Node owns one while it dials.
//
// # Invariants
//
//  1. The completion of a request runs once.
//  2. After Close has returned, no completion runs any more.
//  3. An answer is decoded from memory of its own: it may be kept.
//  4. Memory for an answer grows with the bytes that arrive, not with the length that
//     is claimed; a claim over MaxResponse ends the connection.
package rpc
