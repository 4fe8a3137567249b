// Package cli is the wing of commands that talk to a cluster as any client does:
// Kafka's own tools under their own names, and gregor's produce and consume.
//
// One file a command. A command gets its words and its streams from an Env and
// returns an exit code; it never exits the process, so that tests can run it in
// place. Commands that need the server's own packages (starting a node, reading
// data directories) live above, in package house, and are joined to these by
// cmd/gregor.
package cli
