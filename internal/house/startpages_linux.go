package house

import (
	"os"
	"syscall"

	"github.com/gregorhq/gregor/internal/vfs"
)

// maxSmaps is more than the mappings of an executable take; they come first.
const maxSmaps = 64 << 10

// releaseStartPages gives the pages of the executable back to the system once a node
// has started. Half of those that are mapped then served the start alone: what init
// functions, the parsing of configurations and the loading of logs ran through, each
// with the fifteen pages around it that the kernel maps at once. What is run again is
// mapped again from the page cache, about a microsecond for sixteen pages. Where
// anything is not as expected, nothing is given back.
func releaseStartPages() {
	for _, r := range executablePages(readSmaps(), executable()) {
		_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, r.from, r.to-r.from, syscall.MADV_DONTNEED)
	}
}

// executable is the path by which smaps knows the executable, "" if it cannot be had.
func executable() string {
	name, _ := os.Executable()
	return name
}

// readSmaps returns the beginning of /proc/self/smaps, nothing if it cannot be had.
func readSmaps() []byte {
	b, _ := vfs.ReadUpTo(vfs.OS(), "/proc/self/smaps", maxSmaps) // what there is of it
	return b
}
