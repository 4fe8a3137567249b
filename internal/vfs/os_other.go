//go:build !linux

package vfs

import (
	"io/fs"
	"os"
)

func openFile(name string, flag int, perm fs.FileMode) (*os.File, error) {
	return os.OpenFile(name, flag, perm)
}

// syncData flushes the whole file: there is no portable way to leave the times out.
func syncData(f *os.File) error { return f.Sync() }

func preallocate(f *osFile, n int64) error { return growTo(f, n) }
