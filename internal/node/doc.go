// Package node assembles a broker, a controller, or both in one process from the
// packages below it, by process.roles.
//
// Open takes the directories, binds the listeners and builds everything; nothing
// runs. Start runs it in this order: the metadata loader, the controller loop, the
// quorum, the controller listeners, the registration of this node, the listeners
// of the broker, and last the broker's unfencing. Close stops in the reverse order,
// after a controlled shutdown.
//
// The package owns two goroutines: the broker's lifecycle (registration and
// heartbeats) and the scheduler of periodic work. Close ends both.
package node
