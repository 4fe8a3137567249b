// Package monitor shows how a node does: /metrics, /health and, on a switch, profiles,
// over HTTP. docs/architecture/metrics.md describes it, docs/compat/metrics.md lists
// every metric; that page is written from the families here.
//
// Families are grouped by area, one file each. What several of them are made of is
// read once a scrape (scrape.go), without a lock that a request might wait for: from
// atomics, from the metadata image, and on the coordinators' own goroutines.
//
// The Server owns one goroutine, which serves connections, and net/http those of the
// connections. All have ended when Close returns.
package monitor
