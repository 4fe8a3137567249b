// Package features is the table of what a cluster can finalise: the levels of
// metadata.version with their names, and of the other features, with the
// metadata.version that turns each on by default and what it depends on (KIP-584,
// KIP-1022).
//
// It is pure data: no goroutine, no lock, no I/O.
package features
