//go:build !linux

package log

// mapMemory takes n bytes from the Go heap.
func mapMemory(n int) []byte { return make([]byte, n) }

// unmapMemory leaves them to the garbage collector.
func unmapMemory([]byte) {}
