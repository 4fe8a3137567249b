// Package config knows every configuration key: its type, default, allowed
// values, where and when it may be changed, and what it means. It reads
// server.properties, command-line overrides and container environments, checks
// them as a whole, and gives the code typed structs, never strings.
//
// The table (table*.go, one row a key) is the only place where a key is
// declared; docs/compat/configs.md is written from it. Broker is one node's
// configuration and Topic one topic's effective configuration.
//
// The package is pure: no I/O, no clock, no goroutine, no lock. The table is
// built while the package initialises and never changes; a Broker never changes
// after Load or WithDynamic returned it, so that readers share it freely.
package config
