// Package batch holds the bytes of Kafka's records: the record batch of message
// format v2, the message sets of formats v0 and v1, and the codecs that compress
// them.
//
// A partition's log, a Produce request and a Fetch response are all the same
// thing, concatenated batches in a []byte, and the functions here work on such a
// slice. Nothing is copied that can be used as it came: an uncompressed batch
// from a producer is validated where it lies and its base offset and leader
// epoch are patched in place, which the checksum allows because it covers only
// what follows them. A compressed batch is decompressed once, into a pooled
// buffer, only to be looked at.
//
// Validate is what a leader does with bytes from outside, Assign gives them
// their offsets, Infos is what followers and recovery need, Iter walks records,
// Builder makes batches, DownConvert serves consumers of old formats.
//
// The package starts no goroutine and has no state but pools of buffers and
// codecs, which are safe for use by many goroutines. Invariants: no length or
// count that was read is used before it is compared with the bytes that are
// there; decompression never yields more than the bound that the caller gave;
// no input makes a function here panic.
package batch
