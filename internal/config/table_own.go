package config

// ownKeys are the keys that Kafka does not have.
var ownKeys = []Key{
	{"gregor.http.listener", TypeString, "127.0.0.1:9404", hostPort, Medium, ReadOnly, 0,
		"Address, as host:port, at which this node serves metrics and health over HTTP; empty for none. An empty host binds every interface: whoever reaches it sees the names of topics and groups. If the default is taken by another process the node starts without; an address that was set must be free."},
	{"gregor.http.pprof.enable", TypeBoolean, "false", anyValue, Low, ReadOnly, 0,
		"Whether the HTTP listener also serves profiles of the process under /debug/pprof/."},
	{"gregor.log.dir.headroom.bytes", TypeLong, "268435456", atLeast(0), Medium, ReadOnly, 0,
		"Bytes of a log directory's file system that records of users never take; at most a sixteenth of the file system counts. Below it produce requests to the directory are refused with KAFKA_STORAGE_ERROR, while committed offsets, transactions, metadata, deletion and reading go on. With 0 only a write that finds no room refuses."},
	{"gregor.log.scrub.bytes.per.second", TypeLong, "4194304", atLeast(0), Low, ReadOnly, 0,
		"Average rate, in bytes per second, at which closed segments are read in the background to find damaged bytes; 0 turns it off."},
	{"gregor.metrics.jvm.aliases.enable", TypeBoolean, "false", anyValue, Low, ReadOnly, 0,
		"Whether metrics of the Go runtime are also given under the names that the JMX exporter has for a JVM (jvm_memory_used_bytes and the like), so that panels of existing dashboards are not empty."},
}
