package vfs

import (
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Op is a kind of file operation.
type Op uint8

// The kinds of operation that a Rule can name.
const (
	OpAny    Op = iota
	OpOpen      // Open, and OpenFile of a file that must exist
	OpCreate    // OpenFile with os.O_CREATE
	OpRead      // ReadAt
	OpWrite     // WriteAt
	OpTruncate
	OpPreallocate
	OpSync
	OpSize
	OpClose
	OpRename // matched against the new name
	OpRemove // Remove and RemoveAll
	OpMkdir
	OpReadDir
	OpStat // Stat and Space
	OpSyncDir
	OpLock
	OpChtimes
	numOps
)

// Rule makes matching calls fail.
type Rule struct {
	// Op is the kind of operation; OpAny matches every kind.
	Op Op
	// Path is a glob of package path over the last element of the name, or over the whole name if the glob has a slash.
	// The empty glob matches every name.
	Path string
	// Nth is the first matching call that fails, counted from 1 when the rule is added; 0 means 1.
	Nth int
	// Times is how many calls fail from there on; 0 means one, a negative number means all.
	Times int
	// Err is what the call returns. With a nil Err the call goes through; then only Before has an effect.
	Err error
	// Short is how many bytes a failing write or read still moves, if the call has so many.
	Short int
	// Before, if set, runs first, on the goroutine of the call and without a lock: a test can block there to model a
	// stalled disk.
	Before func(op Op, name string)
}

// Fault is a file system that fails on demand. mu guards the rules and counters.
type Fault struct {
	fsys FS

	mu    sync.Mutex
	rules []*activeRule
	calls [numOps]int
}

// activeRule is a rule and how many calls it has matched.
type activeRule struct {
	Rule
	seen int
}

// NewFault returns fsys without any rule.
func NewFault(fsys FS) *Fault { return &Fault{fsys: fsys} }

// Add installs a rule. When several rules match a call all of them count it, and the first one that fails it decides.
func (f *Fault) Add(r Rule) {
	if r.Nth == 0 {
		r.Nth = 1
	}
	if r.Times == 0 {
		r.Times = 1
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = append(f.rules, &activeRule{Rule: r})
}

// Clear removes all rules; the counters of Calls go on.
func (f *Fault) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = nil
}

// Calls returns how many calls of one kind were made, failed ones included; OpAny counts every kind. A test that wants
// to fail each call in turn counts them in a first run.
func (f *Fault) Calls(op Op) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[op]
}

// fault is what a rule decided on one call; a nil err lets it through.
type fault struct {
	err   error
	short int
}

// call counts one call and asks the rules.
func (f *Fault) call(op Op, name string) fault {
	f.mu.Lock()
	f.calls[OpAny]++
	f.calls[op]++
	var decided fault
	var before []func(Op, string)
	for _, r := range f.rules {
		if !r.matches(op, name) {
			continue
		}
		r.seen++
		if r.seen < r.Nth || r.Times > 0 && r.seen >= r.Nth+r.Times {
			continue
		}
		if r.Before != nil {
			before = append(before, r.Before)
		}
		if decided.err == nil && r.Err != nil {
			decided = fault{err: &fs.PathError{Op: op.String(), Path: name, Err: r.Err}, short: r.Short}
		}
	}
	f.mu.Unlock()
	for _, fn := range before {
		fn(op, name)
	}
	return decided
}

// matches tells whether the rule is about this call. A malformed glob matches nothing.
func (r *Rule) matches(op Op, name string) bool {
	if r.Op != OpAny && r.Op != op {
		return false
	}
	if r.Path == "" {
		return true
	}
	name = path.Clean(filepath.ToSlash(name))
	if !strings.Contains(r.Path, "/") {
		name = path.Base(name)
	}
	ok, err := path.Match(r.Path, name)
	return ok && err == nil
}

var opNames = [numOps]string{
	OpAny: "any", OpOpen: "open", OpCreate: "create", OpRead: "read", OpWrite: "write", OpTruncate: "truncate",
	OpPreallocate: "preallocate", OpSync: "sync", OpSize: "size", OpClose: "close", OpRename: "rename",
	OpRemove: "remove", OpMkdir: "mkdir", OpReadDir: "readdir", OpStat: "stat", OpSyncDir: "syncdir", OpLock: "lock",
	OpChtimes: "chtimes",
}

// String returns the name of the operation.
func (op Op) String() string { return opNames[op] }

// Open opens a file for reading.
func (f *Fault) Open(name string) (File, error) { return f.OpenFile(name, os.O_RDONLY, 0) }

// OpenFile opens or creates a file.
func (f *Fault) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	op := OpOpen
	if flag&os.O_CREATE != 0 {
		op = OpCreate
	}
	if d := f.call(op, name); d.err != nil {
		return nil, d.err
	}
	file, err := f.fsys.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &faultFile{File: file, fault: f}, nil
}

// Remove removes a file or an empty directory.
func (f *Fault) Remove(name string) error {
	if d := f.call(OpRemove, name); d.err != nil {
		return d.err
	}
	return f.fsys.Remove(name)
}

// RemoveAll removes name and what is below it.
func (f *Fault) RemoveAll(name string) error {
	if d := f.call(OpRemove, name); d.err != nil {
		return d.err
	}
	return f.fsys.RemoveAll(name)
}

// Rename moves a file or directory.
func (f *Fault) Rename(oldName, newName string) error {
	if d := f.call(OpRename, newName); d.err != nil {
		return d.err
	}
	return f.fsys.Rename(oldName, newName)
}

// MkdirAll creates a directory and the missing ones above it.
func (f *Fault) MkdirAll(name string, perm fs.FileMode) error {
	if d := f.call(OpMkdir, name); d.err != nil {
		return d.err
	}
	return f.fsys.MkdirAll(name, perm)
}

// ReadDir lists a directory.
func (f *Fault) ReadDir(name string) ([]fs.DirEntry, error) {
	if d := f.call(OpReadDir, name); d.err != nil {
		return nil, d.err
	}
	return f.fsys.ReadDir(name)
}

// Stat describes a file or directory.
func (f *Fault) Stat(name string) (fs.FileInfo, error) {
	if d := f.call(OpStat, name); d.err != nil {
		return nil, d.err
	}
	return f.fsys.Stat(name)
}

// Chtimes sets the modification time.
func (f *Fault) Chtimes(name string, modTime time.Time) error {
	if d := f.call(OpChtimes, name); d.err != nil {
		return d.err
	}
	return f.fsys.Chtimes(name, modTime)
}

// SyncDir makes the entries of a directory durable.
func (f *Fault) SyncDir(name string) error {
	if d := f.call(OpSyncDir, name); d.err != nil {
		return d.err
	}
	return f.fsys.SyncDir(name)
}

// Lock takes a lock.
func (f *Fault) Lock(name string) (io.Closer, error) {
	if d := f.call(OpLock, name); d.err != nil {
		return nil, d.err
	}
	return f.fsys.Lock(name)
}

// Space returns the capacity of the file system.
func (f *Fault) Space(name string) (Space, error) {
	if d := f.call(OpStat, name); d.err != nil {
		return Space{}, d.err
	}
	return f.fsys.Space(name)
}

// faultFile is an open file of Fault.
type faultFile struct {
	File
	fault *Fault
}

func (f *faultFile) ReadAt(p []byte, off int64) (int, error) {
	if d := f.fault.call(OpRead, f.Name()); d.err != nil {
		n, err := f.File.ReadAt(p[:min(len(p), d.short)], off)
		if err != nil {
			return n, err
		}
		return n, d.err
	}
	return f.File.ReadAt(p, off)
}

func (f *faultFile) WriteAt(p []byte, off int64) (int, error) {
	if d := f.fault.call(OpWrite, f.Name()); d.err != nil {
		if d.short == 0 {
			return 0, d.err
		}
		n, err := f.File.WriteAt(p[:min(len(p), d.short)], off)
		if err != nil {
			return n, err
		}
		return n, d.err
	}
	return f.File.WriteAt(p, off)
}

func (f *faultFile) Truncate(size int64) error {
	if d := f.fault.call(OpTruncate, f.Name()); d.err != nil {
		return d.err
	}
	return f.File.Truncate(size)
}

func (f *faultFile) Preallocate(n int64) error {
	if d := f.fault.call(OpPreallocate, f.Name()); d.err != nil {
		return d.err
	}
	return f.File.Preallocate(n)
}

func (f *faultFile) Sync() error {
	if d := f.fault.call(OpSync, f.Name()); d.err != nil {
		return d.err
	}
	return f.File.Sync()
}

func (f *faultFile) Size() (int64, error) {
	if d := f.fault.call(OpSize, f.Name()); d.err != nil {
		return 0, d.err
	}
	return f.File.Size()
}

// Close closes the file also when it returns an injected error: a file is never open after Close.
func (f *faultFile) Close() error {
	d := f.fault.call(OpClose, f.Name())
	if err := f.File.Close(); err != nil || d.err == nil {
		return err
	}
	return d.err
}

// Fd hides the descriptor, so that every read passes by the rules.
func (f *faultFile) Fd() (uintptr, bool) { return 0, false }
