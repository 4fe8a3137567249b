// Package publish turns the committed metadata log into the image that the rest
// of a node reads.
//
// The Loader owns one goroutine. It applies committed batches to an immutable
// metadata.Image, calls the publishers in the order in which they were given,
// and stores the image pointer last: who sees an image through Current may rely
// on every publisher having acted on it. The engine that hands the batches in never waits
// for a publisher.
package publish
