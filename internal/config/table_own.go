package config

// ownKeys are the keys that Kafka does not have.
var ownKeys = []Key{
	{"gregor.log.dir.headroom.bytes", TypeLong, "268435456", atLeast(0), Medium, ReadOnly, 0,
		"Bytes of a log directory's file system that records of users never take; at most a sixteenth of the file system counts. Below it produce requests to the directory are refused with KAFKA_STORAGE_ERROR, while committed offsets, transactions, metadata, deletion and reading go on. With 0 only a write that finds no room refuses."},
	{"gregor.log.scrub.bytes.per.second", TypeLong, "4194304", atLeast(0), Low, ReadOnly, 0,
		"Average rate, in bytes per second, at which closed segments are read in the background to find damaged bytes; 0 turns it off."},
}
