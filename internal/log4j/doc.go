// Package log4j prints log records in the layout that people and tools know from
// Apache Kafka's logs:
//
//	[2026-11-21 10:00:00,123] INFO [BrokerLifecycleManager id=1] message key=value (kafka.server.BrokerLifecycleManager)
//
// Handler is a slog.Handler. It starts no goroutine; one mutex makes a line one
// write.
package log4j
