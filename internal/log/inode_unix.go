//go:build unix

package log

import (
	"syscall"

	"github.com/gregorhq/gregor/internal/vfs"
)

// inodeOf returns the inode of a file of the machine's file system.
func inodeOf(fsys vfs.FS, name string) (uint64, bool) {
	info, err := fsys.Stat(name)
	if err != nil {
		return 0, false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return uint64(st.Ino), true
}
