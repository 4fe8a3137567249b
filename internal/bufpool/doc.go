// Package bufpool lends byte buffers and bounds how many bytes are on loan.
//
// Get takes a buffer of a size class; the last Release gives it back. Buffers larger than MaxPooled are allocated to
// measure and dropped. Budget is a fair semaphore counted in bytes. The package starts no goroutine.
//
// Invariants: a buffer is in the pool only when nobody holds a reference; a class holds only buffers of its own size, so
// that one large request cannot pin memory for small ones. With the build tag gregor_invariants released memory is
// overwritten, and a release too many panics.
package bufpool
