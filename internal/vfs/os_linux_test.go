package vfs

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestLockExcludesRecordLocks checks both ways that Lock and the record lock of another program, such as a JVM takes,
// exclude each other.
func TestLockExcludesRecordLocks(t *testing.T) {
	name := filepath.Join(t.TempDir(), ".lock")
	held, err := OS().Lock(name)
	must(t, err)
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	record := syscall.Flock_t{Type: syscall.F_WRLCK}
	if err := syscall.FcntlFlock(f.Fd(), syscall.F_SETLK, &record); !errors.Is(err, syscall.EAGAIN) {
		t.Fatalf("a record lock beside ours: %v", err)
	}
	must(t, held.Close())
	must(t, syscall.FcntlFlock(f.Fd(), syscall.F_SETLK, &record))
	if _, err := OS().Lock(name); !errors.Is(err, ErrLocked) {
		t.Fatalf("our lock beside a record lock: %v", err)
	}
}
