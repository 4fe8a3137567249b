// Package kafka holds the nouns that every other package speaks in: topic
// partitions, topic ids, node ids, offsets, leader epochs and the protocol's
// error codes.
//
// It is pure: values only, no goroutine, no lock, no I/O. Everything here may be
// copied and compared freely.
package kafka
