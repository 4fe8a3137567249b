// Package server accepts connections, cuts their bytes into requests, hands each to
// its handler and sends the responses in the order of the requests.
//
// # Two stages
//
// Stage 1 of a handler runs on the connection's reader goroutine, in request order.
// It either completes the request there or leaves it to whoever learns the outcome
// (stage 2). Request.Reply may be called from any goroutine and never waits for the
// socket. Responses leave in request order; docs/architecture/server.md describes
// the queue between the two.
//
// # Goroutines and their owners
//
// The Server owns one acceptor goroutine a listener, one reaper of idle connections
// and one reader goroutine a connection. A writer goroutine exists for a connection
// only while completions from outside the reader have something to write. All of
// them have ended when Stop or Close returns.
//
// # Invariants
//
//   - At most one goroutine writes to a connection at a time: the holder of
//     Conn.writing.
//   - A response is written only when every response before it was written, and a
//     release function runs exactly once whether or not the response was written.
//   - Memory for a frame grows with the bytes that arrived, never with the length
//     that was claimed.
//   - A connection is counted exactly as long as it is in the server's table.
package server
