// Package house holds the commands that need the server's own packages: starting
// and stopping a node, formatting and reading data directories. They are joined to
// the tools of the wing by cmd/gregor.
//
// One file a command. As in the wing, a command gets its words and streams from a
// cli.Env and returns an exit code.
package house
