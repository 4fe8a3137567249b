// Package controllerapi answers the requests of a node's controller listeners: one
// file for each API key, NNN_name.go, and table.go that lists them with their
// versions.
//
// A handler runs on the goroutine that reads the connection, in request order. What
// changes the cluster goes to the active controller, and the handler waits for it:
// who sends such requests waits for the answer before the next one. An Envelope is
// answered on a goroutine of its own, which ends with API.Stopping at the latest. The
// package owns no state.
package controllerapi
