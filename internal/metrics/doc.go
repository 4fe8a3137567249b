// Package metrics measures and writes what was measured as text.
//
// A Histogram is recorded into by any goroutine with one atomic addition, without a
// lock and without allocating; counters and gauges are atomic integers of those who
// count. Nothing is computed before somebody asks: a Registry calls the collectors of
// its families when it is scraped, one scrape at a time, and writes each family in
// Prometheus' text format 0.0.4, or under the names that the JMX exporter gives beans
// without any rules.
//
// The package starts no goroutine and reads no time: who scrapes says what time it is.
package metrics
