// Package broker runs a gregor node inside a Go process: the same broker as the
// binary's, on a directory or in memory, on real sockets or on a network inside the
// process. Use it for tests, for tools, and for programs that carry their log with
// them.
//
// A Broker is safe for use by several goroutines. What it stores in a directory is
// an ordinary Kafka data directory.
package broker
