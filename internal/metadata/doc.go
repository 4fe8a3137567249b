// Package metadata holds the state of the cluster that the metadata log
// describes: an immutable Image, a Delta that collects the records on top of it,
// and Log, which turns committed batches into images transaction by transaction.
//
// An Image never changes after it was made and may be read by any number of
// goroutines. It shares structure with the images before it, so that a change
// costs what changed and not what exists. A Delta belongs to one goroutine until
// Apply. What accessors return belongs to the image: read, never write.
//
// The package is a mind: no clock, no I/O, no lock, no goroutine. Where order can
// be seen (snapshots, lists) it is sorted.
//
// Node ids are int32 here, as in the records and in the protocol, so that replica
// lists go into responses without being copied.
package metadata
