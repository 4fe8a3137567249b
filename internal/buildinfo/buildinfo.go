// Package buildinfo holds what the build stamps into the binary. It is constant
// after linking.
package buildinfo

// Version is gregor's own version; the linker sets it.
var Version = "dev"

// KafkaVersion is the release of Apache Kafka whose surface gregor offers; tools
// that ask a Kafka command for its version get this one.
const KafkaVersion = "4.4.0"
