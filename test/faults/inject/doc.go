// Package inject breaks system calls of another process from outside: the Nth call that
// changes a file kills the process before or in the middle of it, fails with an error,
// or seems to succeed without effect.
//
// It uses seccomp's user notifications. The victim installs a filter on all of its
// threads and hands its listener over; from then on each call of the list waits until
// the breaker lets it go on, answers it, or kills the process. Calls are counted over
// all threads, in the order in which they arrive. strace's injection, which would need
// no help from the victim, counts a thread by itself, and a Go program moves its calls
// from thread to thread.
//
// The package works on Linux alone.
package inject
