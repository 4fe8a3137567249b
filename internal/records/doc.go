// Package records holds the records of the metadata log as Go structs, and their
// bytes.
//
// The structs and codecs are generated from the files in schema by the program
// in gen; run go generate after changing a schema. A record's Version field says
// with which schema version it is written; decoding fills it. Constructors
// (NewTopicRecord and so on) give fields their schema defaults, which are not
// always zero: build records with them.
//
// A metadata record stands in the log as the value of a Kafka record, framed by
// Encode and parsed by Decode: frame version, api key, version, body. Control
// records of the quorum have a key of their own, see ControlKey.
//
// The package is pure: no goroutine, no lock, no I/O. Decoded records own their
// memory and never alias the input. No length of the input is trusted before it
// is compared with what remains; tagged fields that a schema does not know are
// kept and written back. As with Kafka no string that is written has more than 32767
// bytes, also where a compact length could say more: AppendTo refuses such a message, and
// no length ever wraps.
package records

//go:generate go run ./gen -schema schema/metadata.txt -out metadata.gen.go -registry newMetadata
//go:generate go run ./gen -schema schema/coordinator_keys.txt -out coordinatorkeys.gen.go -registry newCoordinatorKey
//go:generate go run ./gen -schema schema/coordinator_values.txt -out coordinatorvalues.gen.go -registry newCoordinatorValue
//go:generate go run ./gen -schema schema/control.txt -out control.gen.go -registry newControl
//go:generate go run ./gen -schema schema/transaction_keys.txt -out transactionkeys.gen.go -registry newTransactionKey
//go:generate go run ./gen -schema schema/transaction_values.txt -out transactionvalues.gen.go -registry newTransactionValue
//go:generate go run ./gen -schema schema/share_state_keys.txt -out sharestatekeys.gen.go -registry newShareStateKey
//go:generate go run ./gen -schema schema/share_state_values.txt -out sharestatevalues.gen.go -registry newShareStateValue
//go:generate go run ./gen -schema schema/remote_log.txt -out remotelog.gen.go -registry newRemoteLog
//go:generate go run ./gen -schema schema/consumer_protocol.txt -out consumerprotocol.gen.go -registry newConsumerProtocol
