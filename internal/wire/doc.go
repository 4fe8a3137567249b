// Package wire holds the protocol's outer shell: request and response headers,
// the table of API keys and versions, and bounded decoding of request bodies.
//
// The bodies themselves are encoded and decoded by kmsg. Its decoder sizes arrays
// by the length that the sender claims, so a body of a few kilobytes could make it
// allocate gigabytes. DecodeRequest therefore walks the body first, along a schema
// derived from the decoder itself (schema.gen.go), checks every length against the
// bytes that are there and adds up what decoding would allocate. Only a body whose
// cost is at most DecodeFactor times its length plus DecodeSlack is decoded. As with
// Kafka no string has more than 32767 bytes, whatever a compact length says.
//
// The package is pure: no goroutine, no lock, no I/O; its tables never change after
// initialisation.
package wire
