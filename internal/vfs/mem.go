package vfs

import (
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// memTotal is the capacity that Mem.Space reports.
const memTotal = int64(1) << 40

// Mem is a file system in memory that knows which part of its state would survive a power loss. Relative names start at
// its root, so "a/b" and "/a/b" are one file. The root exists and is durable.
//
// mu guards the whole tree: every memNode, memData and page reachable from root, durable state and pending included.
type Mem struct {
	mu    sync.RWMutex
	root  *memNode
	locks map[*memNode]bool
	now   func() time.Time
	// pending are the changes of directories that no SyncDir has made durable, in the order they were made.
	pending []dirOp
}

// memNode is a file or a directory; exactly one of data and entries is set.
type memNode struct {
	mode    fs.FileMode
	modTime time.Time
	data    *memData
	// entries is what a directory holds now, durable what it would hold after a power loss that drops all pending
	// changes.
	entries, durable map[string]*memNode
	// unlinked: no name leads to the node any more.
	unlinked bool
}

// dirOp is one atomic change of directories: a creation or removal has one change, a rename two.
type dirOp struct {
	n       int
	changes [2]dirChange
}

// dirChange lets name in dir lead to node, or to nothing.
type dirChange struct {
	entry dirEntry
	to    *memNode
}

// dirEntry names one place in one directory.
type dirEntry struct {
	dir  *memNode
	name string
}

// NewMem returns an empty file system.
func NewMem() *Mem {
	return &Mem{root: newMemDir(), locks: map[*memNode]bool{}, now: func() time.Time { return time.Unix(0, 0) }}
}

func newMemDir() *memNode {
	return &memNode{mode: fs.ModeDir | 0o755, entries: map[string]*memNode{}, durable: map[string]*memNode{}}
}

// SetNow gives the source of modification times; without it every file was modified at the Unix epoch.
func (m *Mem) SetNow(now func() time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = now
}

// split cleans a name into the elements of its path.
func split(name string) []string {
	clean := path.Clean("/" + filepath.ToSlash(name))
	if clean == "/" {
		return nil
	}
	return strings.Split(clean[1:], "/")
}

// walk follows elements from the root.
func (m *Mem) walk(elements []string) (*memNode, error) {
	n := m.root
	for _, e := range elements {
		if n.entries == nil {
			return nil, syscall.ENOTDIR
		}
		n = n.entries[e]
		if n == nil {
			return nil, fs.ErrNotExist
		}
	}
	return n, nil
}

// parent returns the directory that holds name, and the last element.
func (m *Mem) parent(name string) (dirEntry, error) {
	elements := split(name)
	if len(elements) == 0 {
		return dirEntry{}, fs.ErrInvalid
	}
	last := len(elements) - 1
	dir, err := m.walk(elements[:last])
	if err != nil {
		return dirEntry{}, err
	}
	if dir.entries == nil {
		return dirEntry{}, syscall.ENOTDIR
	}
	return dirEntry{dir: dir, name: elements[last]}, nil
}

// change does one atomic change of directories and notes it as pending.
func (m *Mem) change(changes ...dirChange) {
	op := dirOp{n: len(changes)}
	copy(op.changes[:], changes)
	for _, c := range changes {
		if old := c.entry.dir.entries[c.entry.name]; old != nil && c.to != old {
			old.unlinked = true
		}
		setEntry(c.entry.dir.entries, c)
		c.entry.dir.modTime = m.now()
	}
	for _, c := range changes {
		if c.to != nil {
			c.to.unlinked = false
		}
	}
	m.pending = append(m.pending, op)
}

func setEntry(entries map[string]*memNode, c dirChange) {
	if c.to == nil {
		delete(entries, c.entry.name)
		return
	}
	entries[c.entry.name] = c.to
}

// Open opens a file for reading.
func (m *Mem) Open(name string) (File, error) { return m.OpenFile(name, os.O_RDONLY, 0) }

// OpenFile opens or creates a file.
func (m *Mem) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.openNode(name, flag, perm)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	access := flag & (os.O_RDONLY | os.O_WRONLY | os.O_RDWR)
	return &memFile{
		mem: m, node: n, name: name,
		readable: access != os.O_WRONLY, writable: access != os.O_RDONLY,
	}, nil
}

// openNode finds or creates the file. Caller holds mu.
func (m *Mem) openNode(name string, flag int, perm fs.FileMode) (*memNode, error) {
	if flag&os.O_APPEND != 0 {
		return nil, fs.ErrInvalid
	}
	at, err := m.parent(name)
	if err != nil {
		return nil, err
	}
	n := at.dir.entries[at.name]
	switch {
	case n == nil && flag&os.O_CREATE == 0:
		return nil, fs.ErrNotExist
	case n == nil:
		n = &memNode{mode: perm.Perm(), modTime: m.now(), data: &memData{}}
		m.change(dirChange{entry: at, to: n})
		return n, nil
	case flag&os.O_CREATE != 0 && flag&os.O_EXCL != 0:
		return nil, fs.ErrExist
	case n.data == nil:
		return nil, syscall.EISDIR
	}
	if flag&os.O_TRUNC != 0 && n.data.size > 0 {
		n.data.truncate(0)
		n.modTime = m.now()
	}
	return n, nil
}

// Remove removes a file or an empty directory.
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, err := m.parent(name)
	if err == nil {
		n := at.dir.entries[at.name]
		switch {
		case n == nil:
			err = fs.ErrNotExist
		case len(n.entries) > 0:
			err = syscall.ENOTEMPTY
		default:
			m.change(dirChange{entry: at})
			return nil
		}
	}
	return &fs.PathError{Op: "remove", Path: name, Err: err}
}

// RemoveAll removes what is below name, then name; every removal is a change of its own.
func (m *Mem) RemoveAll(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, err := m.parent(name)
	if err == fs.ErrNotExist {
		return nil
	}
	if err != nil {
		return &fs.PathError{Op: "removeall", Path: name, Err: err}
	}
	if at.dir.entries[at.name] != nil {
		m.removeTree(at)
	}
	return nil
}

func (m *Mem) removeTree(at dirEntry) {
	n := at.dir.entries[at.name]
	for _, child := range slices.Sorted(maps.Keys(n.entries)) {
		m.removeTree(dirEntry{dir: n, name: child})
	}
	m.change(dirChange{entry: at})
}

// Rename moves a file or directory; a file or an empty directory of the new name is replaced.
func (m *Mem) Rename(oldName, newName string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.rename(oldName, newName); err != nil {
		return &os.LinkError{Op: "rename", Old: oldName, New: newName, Err: err}
	}
	return nil
}

func (m *Mem) rename(oldName, newName string) error {
	from, err := m.parent(oldName)
	if err != nil {
		return err
	}
	to, err := m.parent(newName)
	if err != nil {
		return err
	}
	n, target := from.dir.entries[from.name], to.dir.entries[to.name]
	if n == nil {
		return fs.ErrNotExist
	}
	if n == target {
		return nil
	}
	oldElements, newElements := split(oldName), split(newName)
	if len(newElements) > len(oldElements) && slices.Equal(oldElements, newElements[:len(oldElements)]) {
		return fs.ErrInvalid
	}
	if target != nil {
		switch {
		case n.data == nil && target.data != nil:
			return syscall.ENOTDIR
		case n.data != nil && target.data == nil:
			return syscall.EISDIR
		case len(target.entries) > 0:
			return syscall.ENOTEMPTY
		}
	}
	m.change(dirChange{entry: from}, dirChange{entry: to, to: n})
	return nil
}

// MkdirAll creates a directory and the missing ones above it.
func (m *Mem) MkdirAll(name string, perm fs.FileMode) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.root
	for _, e := range split(name) {
		child := n.entries[e]
		if child == nil {
			child = newMemDir()
			child.mode, child.modTime = fs.ModeDir|perm.Perm(), m.now()
			m.change(dirChange{entry: dirEntry{dir: n, name: e}, to: child})
		}
		if child.entries == nil {
			return &fs.PathError{Op: "mkdir", Path: name, Err: syscall.ENOTDIR}
		}
		n = child
	}
	return nil
}

// ReadDir lists a directory, sorted by name.
func (m *Mem) ReadDir(name string) ([]fs.DirEntry, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	n, err := m.walk(split(name))
	if err == nil && n.entries == nil {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: err}
	}
	list := make([]fs.DirEntry, 0, len(n.entries))
	for _, child := range slices.Sorted(maps.Keys(n.entries)) {
		list = append(list, fs.FileInfoToDirEntry(newMemInfo(child, n.entries[child])))
	}
	return list, nil
}

// Stat describes a file or directory.
func (m *Mem) Stat(name string) (fs.FileInfo, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	elements := split(name)
	n, err := m.walk(elements)
	if err != nil {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	base := "/"
	if len(elements) > 0 {
		base = elements[len(elements)-1]
	}
	return newMemInfo(base, n), nil
}

// Chtimes sets the modification time.
func (m *Mem) Chtimes(name string, modTime time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.walk(split(name))
	if err != nil {
		return &fs.PathError{Op: "chtimes", Path: name, Err: err}
	}
	n.modTime = modTime
	return nil
}

// Lock creates the file if need be and locks it.
func (m *Mem) Lock(name string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.openNode(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err == nil && m.locks[n] {
		err = ErrLocked
	}
	if err != nil {
		return nil, &fs.PathError{Op: "lock", Path: name, Err: err}
	}
	m.locks[n] = true
	return &memLock{mem: m, node: n}, nil
}

// memLock is a held lock. mem.mu guards held.
type memLock struct {
	mem  *Mem
	node *memNode
	free bool
}

func (l *memLock) Close() error {
	l.mem.mu.Lock()
	defer l.mem.mu.Unlock()
	if l.free {
		return fs.ErrClosed
	}
	l.free = true
	delete(l.mem.locks, l.node)
	return nil
}

// Space reports a terabyte less what the files hold.
func (m *Mem) Space(name string) (Space, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if _, err := m.walk(split(name)); err != nil {
		return Space{}, &fs.PathError{Op: "statfs", Path: name, Err: err}
	}
	return Space{Total: memTotal, Usable: memTotal - m.root.bytes()}, nil
}

// bytes is the size of all files in and below n.
func (n *memNode) bytes() int64 {
	if n.data != nil {
		return n.data.size
	}
	var sum int64
	for _, child := range n.entries {
		sum += child.bytes()
	}
	return sum
}

// memInfo is the fs.FileInfo of a node at one moment.
type memInfo struct {
	name    string
	size    int64
	mode    fs.FileMode
	modTime time.Time
}

func newMemInfo(name string, n *memNode) memInfo {
	info := memInfo{name: name, mode: n.mode, modTime: n.modTime}
	if n.data != nil {
		info.size = n.data.size
	}
	return info
}

func (i memInfo) Name() string       { return i.name }
func (i memInfo) Size() int64        { return i.size }
func (i memInfo) Mode() fs.FileMode  { return i.mode }
func (i memInfo) ModTime() time.Time { return i.modTime }
func (i memInfo) IsDir() bool        { return i.mode.IsDir() }
func (i memInfo) Sys() any           { return nil }
