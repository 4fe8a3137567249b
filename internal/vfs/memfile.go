package vfs

import (
	"errors"
	"io"
	"io/fs"
	"sync/atomic"
)

// maxMemFile bounds the size of a file of Mem: a larger one is a bug of the caller, not a use.
const maxMemFile = int64(1) << 36

// errTooLarge answers a write beyond maxMemFile.
var errTooLarge = errors.New("file too large")

// memFile is an open file of Mem. It stays usable when its name is removed or renamed.
type memFile struct {
	mem                *Mem
	node               *memNode
	name               string
	readable, writable bool
	closed             atomic.Bool
}

// fail wraps err with what was being done.
func (f *memFile) fail(op string, err error) error {
	return &fs.PathError{Op: op, Path: f.name, Err: err}
}

// check returns the error of an operation on a handle that is closed or not meant for it.
func (f *memFile) check(op string, allowed bool, off int64) error {
	switch {
	case f.closed.Load():
		return f.fail(op, fs.ErrClosed)
	case !allowed:
		return f.fail(op, fs.ErrPermission)
	case off < 0:
		return f.fail(op, fs.ErrInvalid)
	}
	return nil
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.check("read", f.readable, off); err != nil {
		return 0, err
	}
	f.mem.mu.RLock()
	n := f.node.data.readAt(p, off)
	f.mem.mu.RUnlock()
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.check("write", f.writable, off); err != nil {
		return 0, err
	}
	if off > maxMemFile-int64(len(p)) {
		return 0, f.fail("write", errTooLarge)
	}
	f.mem.mu.Lock()
	defer f.mem.mu.Unlock()
	f.node.data.writeAt(p, off)
	f.node.modTime = f.mem.now()
	return len(p), nil
}

func (f *memFile) Truncate(size int64) error {
	if err := f.check("truncate", f.writable, size); err != nil {
		return err
	}
	if size > maxMemFile {
		return f.fail("truncate", errTooLarge)
	}
	f.mem.mu.Lock()
	defer f.mem.mu.Unlock()
	f.node.data.truncate(size)
	f.node.modTime = f.mem.now()
	return nil
}

func (f *memFile) Preallocate(n int64) error {
	if err := f.check("preallocate", f.writable, 0); err != nil {
		return err
	}
	if n > maxMemFile {
		return f.fail("preallocate", errTooLarge)
	}
	f.mem.mu.Lock()
	defer f.mem.mu.Unlock()
	if n > f.node.data.size {
		f.node.data.truncate(n)
	}
	return nil
}

func (f *memFile) Sync() error {
	if err := f.check("sync", true, 0); err != nil {
		return err
	}
	f.mem.mu.Lock()
	defer f.mem.mu.Unlock()
	f.node.data.sync()
	return nil
}

func (f *memFile) Size() (int64, error) {
	if err := f.check("stat", true, 0); err != nil {
		return 0, err
	}
	f.mem.mu.RLock()
	defer f.mem.mu.RUnlock()
	return f.node.data.size, nil
}

func (f *memFile) Name() string { return f.name }

func (f *memFile) Fd() (uintptr, bool) { return 0, false }

func (f *memFile) Close() error {
	if f.closed.Swap(true) {
		return f.fail("close", fs.ErrClosed)
	}
	return nil
}
