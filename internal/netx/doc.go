// Package netx is the only place that opens sockets.
//
// Net makes listeners and connections. OS is the machine's network. Mem is one inside the process, with named hosts and
// faults: links cut in one direction, delays, resets. Socket wraps a connection of either for the things that net.Conn
// cannot say: waiting for input without holding a buffer, sending a range of a file from an offset, writing many slices
// at once without losing them. Waiter waits for sockets whose goroutine would do nothing else.
//
// The package starts no goroutine: who makes a Waiter runs it. Mem wakes its waiters from the timers of its clock.
package netx
