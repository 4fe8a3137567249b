package vfs

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// OS returns the file system of the machine.
func OS() FS { return osFS{} }

type osFS struct{}

func (osFS) Open(name string) (File, error) {
	f, err := openFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	return &osFile{File: f}, nil
}

func (osFS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	if flag&os.O_APPEND != 0 {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	f, err := openFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &osFile{File: f}, nil
}

func (osFS) Remove(name string) error                     { return os.Remove(name) }
func (osFS) RemoveAll(name string) error                  { return os.RemoveAll(name) }
func (osFS) Rename(oldName, newName string) error         { return os.Rename(oldName, newName) }
func (osFS) MkdirAll(name string, perm fs.FileMode) error { return os.MkdirAll(name, perm) }
func (osFS) ReadDir(name string) ([]fs.DirEntry, error)   { return os.ReadDir(name) }
func (osFS) Stat(name string) (fs.FileInfo, error)        { return os.Stat(name) }
func (osFS) SyncDir(name string) error                    { return syncDir(name) }
func (osFS) Chtimes(name string, t time.Time) error       { return os.Chtimes(name, time.Time{}, t) }
func (osFS) Space(name string) (Space, error)             { return diskSpace(name) }

func (osFS) Lock(name string) (io.Closer, error) {
	c, err := lockFile(name)
	if err != nil {
		return nil, fmt.Errorf("locking %s: %w", name, err)
	}
	return c, nil
}

// osFile adds to os.File what differs from it. A regular file is never registered with the poller, so taking its
// descriptor changes nothing about it.
type osFile struct{ *os.File }

func (f *osFile) Sync() error { return syncData(f.File) }

func (f *osFile) Size() (int64, error) {
	info, err := f.File.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f *osFile) Fd() (uintptr, bool) { return f.File.Fd(), true }

func (f *osFile) Preallocate(n int64) error { return preallocate(f, n) }

// growTo is Preallocate where the system cannot reserve blocks: it only makes the file longer.
func growTo(f *osFile, n int64) error {
	size, err := f.Size()
	if err != nil || size >= n {
		return err
	}
	return f.Truncate(n)
}
