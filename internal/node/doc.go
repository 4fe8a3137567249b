// Package node assembles a broker, a controller, or both in one process from the
// packages below it, by process.roles.
//
// Open takes the directories, binds the listeners and builds everything; nothing
// runs. Start runs it in this order, without what the node's roles do not need: the
// metadata loader, the controller loop, the quorum (a voter's engine, or an observer on a
// node without the controller role), the controller listeners, the registration of the
// broker, its listeners, its unfencing, and last the registration of the controller.
// Nothing of the metadata log is published before it holds the broker's registration.
// Close stops in the reverse order, after a controlled shutdown; Abort stops as if the
// process had died.
//
// The package owns these goroutines: the broker's lifecycle (registration and
// heartbeats), the scheduler of periodic work, and on controllers one for each broker
// whose death they watch for. Close ends them all. News of the quorum's leader is passed
// on by a goroutine that ends by itself.
package node
