package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// ErrLocked is what Lock returns, wrapped, when another owner holds the lock.
var ErrLocked = errors.New("locked by another process or instance")

// FS is a file system.
type FS interface {
	// Open opens a file for reading.
	Open(name string) (File, error)
	// OpenFile opens a file with the flags of package os. os.O_APPEND is not allowed: writes name their offset.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	Remove(name string) error
	// RemoveAll removes name and what is below it; a name that does not exist is no error.
	RemoveAll(name string) error
	// Rename moves a file or directory atomically, replacing a file of the new name.
	Rename(oldName, newName string) error
	MkdirAll(name string, perm fs.FileMode) error
	// ReadDir lists a directory, sorted by name.
	ReadDir(name string) ([]fs.DirEntry, error)
	Stat(name string) (fs.FileInfo, error)
	// Chtimes sets the time at which name was written last. No sync promises that it survives a power loss.
	Chtimes(name string, modTime time.Time) error
	// SyncDir makes the entries of the directory survive a power loss.
	SyncDir(name string) error
	// Lock creates the file if need be and takes an exclusive lock on it without waiting. The lock ends with Close or
	// with the process. It excludes other processes and other owners inside this one. The error wraps ErrLocked if
	// somebody holds it.
	Lock(name string) (io.Closer, error)
	// Space returns the capacity of the file system that holds name.
	Space(name string) (Space, error)
}

// Space is the capacity of a file system in bytes.
type Space struct {
	Total  int64
	Usable int64 // what this process may still write
}

// File is an open file. Its methods are safe for concurrent use, except that nothing may be called after Close.
type File interface {
	io.Closer
	io.ReaderAt
	io.WriterAt
	// Truncate sets the size; a file made longer reads as zeros there.
	Truncate(size int64) error
	// Sync makes content and size survive a power loss: fdatasync where it exists.
	Sync() error
	Size() (int64, error)
	// Name is the name given to Open.
	Name() string
	// Fd returns the descriptor for sendfile, valid until Close; false for a file that has none.
	Fd() (uintptr, bool)
	// Preallocate reserves room for n bytes and makes the file at least n bytes long, the new part reading as zeros.
	Preallocate(n int64) error
}

// Span is a piece of data that is either in memory or in a file. B is nil for a file range; then Off and Len name it.
// For a memory span Len equals len(B).
type Span struct {
	B    []byte
	File File
	Off  int64
	Len  int
}

// ReadFile returns the content of a file.
func ReadFile(fsys FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	b := make([]byte, size)
	n, err := f.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return b[:n], nil
}

// ReadUpTo reads at most max bytes from the beginning of a file whose size is not known
// before, as those of /proc.
func ReadUpTo(fsys FS, name string, max int64) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.NewSectionReader(f, 0, max))
}

// WriteFileAtomic replaces the content of a file so that after a crash either the old or the new content is there, and
// after it returned nil the new one: a temporary file beside it is written, synced and renamed, then the directory is
// synced. The temporary name is name + ".tmp", so one writer a file is allowed at a time.
func WriteFileAtomic(fsys FS, name string, data []byte) error {
	tmp := name + ".tmp"
	if err := writeSynced(fsys, tmp, data); err != nil {
		return err
	}
	if err := fsys.Rename(tmp, name); err != nil {
		return err
	}
	return fsys.SyncDir(filepath.Dir(name))
}

// writeSynced writes a whole file and syncs it.
func writeSynced(fsys FS, name string, data []byte) error {
	f, err := fsys.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	if len(data) > 0 {
		if _, err := f.WriteAt(data, 0); err != nil {
			f.Close()
			return err
		}
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// Exists tells whether a file or directory of that name is there.
func Exists(fsys FS, name string) (bool, error) {
	_, err := fsys.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
