package log

import "syscall"

// mapMemory takes n bytes outside the Go heap. The pages cost nothing until they
// are written.
func mapMemory(n int) []byte {
	b, err := syscall.Mmap(-1, 0, n, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE|syscall.MAP_NORESERVE)
	if err != nil {
		return nil
	}
	return b
}

// unmapMemory gives it back. A failure leaves the mapping to the process.
func unmapMemory(b []byte) {
	_ = syscall.Munmap(b)
}
