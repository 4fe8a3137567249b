//go:build unix

package vfs

import (
	"math"
	"syscall"
)

// OpenLimit is how many descriptors this process may have, 0 if that is not known.
func OpenLimit() int {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0
	}
	return int(min(uint64(l.Cur), math.MaxInt32))
}
