// Command bench measures gregor beside Apache Kafka and beside a floor: the least
// server that does the same bytes' work. One run prints one table.
//
// Rules of measuring are in docs/performance.md: the same client for all, runs
// interleaved A B B A, medians of at least five pairs, the page cache warmed right
// before each timed run, CPU and memory read from /proc. Every load is bounded in
// bytes and time and runs on loopback only.
package main
