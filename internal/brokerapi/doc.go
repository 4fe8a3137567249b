// Package brokerapi answers the requests of a broker's listeners: one file for
// each API key, NNN_name.go, and table.go that lists them with their versions.
//
// A handler is a method on API. It runs on the goroutine that reads the
// connection, in request order; it answers there and then, or parks an operation
// that whoever makes the awaited thing happen completes later, from another
// goroutine. The package starts no goroutine of its own for that. A handler loads
// the metadata image once and takes every answer about topics from that one image.
//
// What a request carries is untrusted: it is decoded with bounds by the server and
// wire packages, and by the two hand-written decoders here (Produce and Fetch).
package brokerapi
