// Package broker runs a gregor node inside a Go process: the same broker as the
// binary's, on a directory or in memory, on real sockets or on a network inside the
// process. Use it for tests, for tools, and for programs that carry their log with
// them.
//
// OpenCluster runs several nodes that replicate to each other; each can be killed and
// started again on its own.
//
// A Broker is safe for use by several goroutines. What it stores in a directory is
// an ordinary Kafka data directory.
package broker
