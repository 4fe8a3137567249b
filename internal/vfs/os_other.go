//go:build !linux

package vfs

import "os"

// syncData flushes the whole file: there is no portable way to leave the times out.
func syncData(f *os.File) error { return f.Sync() }

func preallocate(f *osFile, n int64) error { return growTo(f, n) }
