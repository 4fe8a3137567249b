package log

import (
	"os"
	"sync"
	"sync/atomic"

	"github.com/gregorhq/gregor/internal/invariant"
	"github.com/gregorhq/gregor/internal/vfs"
)

// defaultMaxOpenFiles bounds the handles that stay open without being used.
const defaultMaxOpenFiles = 8192

// fileCache keeps files open between uses, and closes those that were not used
// for longest once there are too many. A pinned handle is never closed, so the
// bound may be exceeded by the handles in use.
//
// mu guards handles and hand. Pinning and unpinning take no lock.
type fileCache struct {
	fs  vfs.FS
	max int

	mu      sync.Mutex
	handles []*handle
	hand    int
}

// handle is one open file. refs counts the pins, plus one while the cache owns it;
// whoever brings it to zero closes the file.
type handle struct {
	vfs.File
	slot  *fileSlot
	refs  atomic.Int32
	used  atomic.Bool
	dirty atomic.Bool // written since the last sync: closed last
	index int         // in fileCache.handles; fileCache.mu guards it
}

// fileSlot is where the owner of a file keeps its handle, if one is open.
//
// drops counts the calls of drop; retired says that the file has left its place for good,
// so that nobody would drop what is opened late. fileCache.mu is held where any changes.
type fileSlot struct {
	h       atomic.Pointer[handle]
	drops   atomic.Uint32
	retired bool
}

func newFileCache(fsys vfs.FS, limit int) *fileCache {
	if limit <= 0 {
		limit = defaultMaxOpenFiles
	}
	return &fileCache{fs: fsys, max: limit}
}

// pin takes a use of the handle unless it is closed.
func (h *handle) pin() bool {
	for {
		n := h.refs.Load()
		if n == 0 {
			return false
		}
		if h.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// unpin gives a use back.
func (h *handle) unpin() {
	n := h.refs.Add(-1)
	invariant.Check(n >= 0, "handle of %s released too often", h.Name())
	if n == 0 {
		h.File.Close()
	}
}

// cached returns the pinned handle of the slot, or nil when it is not open.
func (s *fileSlot) cached() *handle {
	h := s.h.Load()
	if h == nil || !h.pin() {
		return nil
	}
	if !h.used.Load() {
		h.used.Store(true)
	}
	return h
}

// open returns the pinned handle of the slot, opening the file if need be. One that was
// opened before the slot was dropped is not kept: the name may be another file's by now.
func (c *fileCache) open(s *fileSlot, name string, flag int) (*handle, error) {
	for {
		drops := s.drops.Load()
		if h := s.cached(); h != nil {
			return h, nil
		}
		f, err := c.fs.OpenFile(name, flag, 0o644)
		if outOfFiles(err) {
			c.closeIdle()
			f, err = c.fs.OpenFile(name, flag, 0o644)
		}
		if err != nil {
			return nil, err
		}
		if h := c.keep(s, f, drops); h != nil {
			return h, nil
		}
		f.Close()
	}
}

// keep makes f the slot's pinned handle. It is nil, and f not needed, if the slot has a
// handle or was dropped since drops were counted. That of a retired slot closes with its
// last pin.
func (c *fileCache) keep(s *fileSlot, f vfs.File, drops uint32) *handle {
	h := &handle{File: f, slot: s}
	h.refs.Store(2)
	h.used.Store(true)

	c.mu.Lock()
	if s.h.Load() != nil || s.drops.Load() != drops {
		c.mu.Unlock()
		return nil
	}
	if s.retired {
		c.mu.Unlock()
		h.index = -1
		h.refs.Store(1)
		return h
	}
	s.h.Store(h)
	h.index = len(c.handles)
	c.handles = append(c.handles, h)
	victims := c.evict(nil)
	c.mu.Unlock()
	for _, v := range victims {
		v.File.Close()
	}
	return h
}

// evict takes idle handles out until the bound holds, or every handle was looked
// at twice; c.mu is held. The caller closes the files it returns.
func (c *fileCache) evict(victims []*handle) []*handle {
	for tries := 2 * len(c.handles); len(c.handles) > c.max && tries > 0; tries-- {
		if c.hand >= len(c.handles) {
			c.hand = 0
		}
		h := c.handles[c.hand]
		second := tries <= len(c.handles)
		if h.used.Swap(false) || h.dirty.Load() && !second || !h.refs.CompareAndSwap(1, 0) {
			c.hand++
			continue
		}
		h.slot.h.CompareAndSwap(h, nil)
		c.remove(h)
		victims = append(victims, h)
	}
	return victims
}

// remove takes h out of the list; c.mu is held.
func (c *fileCache) remove(h *handle) {
	last := len(c.handles) - 1
	if h.index < 0 || h.index > last || c.handles[h.index] != h {
		return
	}
	c.handles[h.index] = c.handles[last]
	c.handles[h.index].index = h.index
	c.handles[last] = nil
	c.handles = c.handles[:last]
	h.index = -1
}

// closeIdle closes every handle that nobody uses.
func (c *fileCache) closeIdle() {
	c.mu.Lock()
	var victims []*handle
	for i := 0; i < len(c.handles); {
		h := c.handles[i]
		if !h.refs.CompareAndSwap(1, 0) {
			i++
			continue
		}
		h.slot.h.CompareAndSwap(h, nil)
		c.remove(h)
		victims = append(victims, h)
	}
	c.mu.Unlock()
	for _, v := range victims {
		v.File.Close()
	}
}

// drop forgets the slot's handle; the file closes when its last user is done.
// The owner calls it before a file is renamed or removed, and after another took its
// name, since whoever opened it in between has the one that is gone.
func (c *fileCache) drop(s *fileSlot) { c.forget(s, false) }

// retire drops the slot for the last time, once its file is in its place no more: a
// handle that somebody opens of it all the same is his alone.
func (c *fileCache) retire(s *fileSlot) { c.forget(s, true) }

func (c *fileCache) forget(s *fileSlot, retired bool) {
	c.mu.Lock()
	s.retired = s.retired || retired
	s.drops.Add(1)
	h := s.h.Swap(nil)
	if h != nil {
		c.remove(h)
	}
	c.mu.Unlock()
	if h != nil {
		h.unpin()
	}
}

// openCount is the number of files that are open, for tests and metrics.
func (c *fileCache) openCount() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.handles)
}

// Flags to open the files of a segment with.
const (
	openExisting = os.O_RDWR
	openCreate   = os.O_RDWR | os.O_CREATE
	openNew      = os.O_RDWR | os.O_CREATE | os.O_EXCL
)
