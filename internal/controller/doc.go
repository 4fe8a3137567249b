// Package controller decides what the active controller does: an image of the
// cluster, a request and the time go in, metadata records and a reply come out.
//
// A Machine is the controller of one term of leadership. It belongs to one
// goroutine, that of package rsm, which applies the records of each Result to a
// speculative image, proposes them, and sends the reply after their commit. All
// durable state is in the image; the Machine itself keeps only what may be lost
// with leadership: when brokers were last heard of, and what they asked for.
//
// The package is a mind: no clock, no I/O, no lock, no goroutine; randomness
// comes from a *rand.Rand that the caller seeds. The same inputs give the same
// outputs: nothing follows the order of a Go map.
package controller
