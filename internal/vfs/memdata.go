package vfs

import "slices"

const (
	memPage = 4096
	// maxVersions and maxCuts bound how many states between two syncs a page remembers; maxSizes does so for the size.
	maxVersions = 3
	maxCuts     = 6
	maxSizes    = 16
)

// page is a piece of a file, up to memPage bytes; what is missing at its end is zeros. A frozen page never changes
// again and may be shared by several files and by several Mems.
type page struct {
	frozen bool
	data   []byte
}

// pageHistory is what happened to a page since the last sync. A disk may hold any of these states, because the page
// cache may be written back at any moment.
type pageHistory struct {
	// versions are frozen pages from before something was overwritten.
	versions []*page
	// cuts are the lengths that the page had before something was appended to it, the latest maxCuts of them.
	cuts    [maxCuts]int16
	numCuts int
}

// memSlot is one page of a file: as it is, as it is on disk, and what lies between. history is nil if both are the same.
type memSlot struct {
	cur, dur *page
	history  *pageHistory
}

// memData is the content of a file. The mutex of its Mem guards it.
type memData struct {
	size, durSize int64
	slots         []memSlot
	// shared: another memData uses the same array of slots, which must be copied before it is changed.
	shared bool
	dirty  []int // indexes of slots that have a history
	// sizes are sizes the file had since the last sync; numSizes counts all of them, also those overwritten.
	sizes    []int64
	numSizes int
}

// clean tells whether everything is on disk.
func (d *memData) clean() bool { return len(d.dirty) == 0 && d.numSizes == 0 }

// readAt copies what the file has at off and returns how much that is.
func (d *memData) readAt(p []byte, off int64) int {
	if off >= d.size {
		return 0
	}
	n := int(min(int64(len(p)), d.size-off))
	for done := 0; done < n; {
		at := off + int64(done)
		in := int(at % memPage)
		chunk := p[done:min(n, done+memPage-in)]
		copied := 0
		if i := int(at / memPage); i < len(d.slots) {
			if pg := d.slots[i].cur; pg != nil && in < len(pg.data) {
				copied = copy(chunk, pg.data[in:])
			}
		}
		clear(chunk[copied:])
		done += len(chunk)
	}
	return n
}

// writeAt stores p at off.
func (d *memData) writeAt(p []byte, off int64) {
	for len(p) > 0 {
		in := int(off % memPage)
		chunk := p[:min(len(p), memPage-in)]
		d.writePage(int(off/memPage), in, chunk)
		p, off = p[len(chunk):], off+int64(len(chunk))
		if off > d.size {
			d.setSize(off)
		}
	}
}

// writePage stores chunk at position in of page i.
func (d *memData) writePage(i, in int, chunk []byte) {
	s := d.touch(i)
	if filled := d.size - int64(i)*memPage; int64(in) >= filled {
		s.history.cut(int(max(filled, 0)))
	} else {
		s.keepVersion()
	}
	pg := s.writable(in + len(chunk))
	copy(pg.data[in:], chunk)
}

// truncate sets the size; bytes cut off are gone also if the file grows again.
func (d *memData) truncate(size int64) {
	if size == d.size {
		return
	}
	for i := int(size / memPage); i < len(d.slots); i++ {
		keep := int(max(size-int64(i)*memPage, 0))
		pg := d.slots[i].cur
		if pg == nil || len(pg.data) <= keep {
			continue
		}
		s := d.touch(i)
		s.keepVersion()
		s.cur = nil
		if keep > 0 {
			s.cur = &page{data: slices.Clone(pg.data[:keep])}
		}
	}
	d.setSize(size)
}

// setSize changes the size and remembers the old one.
func (d *memData) setSize(size int64) {
	if len(d.sizes) < maxSizes {
		d.sizes = append(d.sizes, d.size)
	} else {
		d.sizes[d.numSizes%maxSizes] = d.size
	}
	d.numSizes++
	d.size = size
}

// sync makes the present state the one on disk.
func (d *memData) sync() {
	if d.clean() {
		return
	}
	d.unshare(0)
	for _, i := range d.dirty {
		s := &d.slots[i]
		s.cur.freeze()
		s.dur, s.history = s.cur, nil
	}
	d.dirty, d.sizes, d.numSizes = d.dirty[:0], d.sizes[:0], 0
	d.durSize = d.size
	d.slots = d.slots[:min(len(d.slots), int((d.size+memPage-1)/memPage))]
}

// touch returns slot i, marked as different from the disk.
func (d *memData) touch(i int) *memSlot {
	d.unshare(i + 1)
	s := &d.slots[i]
	if s.history == nil {
		s.history = &pageHistory{}
		d.dirty = append(d.dirty, i)
	}
	return s
}

// unshare makes the array of slots this file's own and at least n long.
func (d *memData) unshare(n int) {
	if d.shared {
		d.slots = append(make([]memSlot, 0, max(n, len(d.slots))), d.slots...)
		d.shared = false
	}
	for len(d.slots) < n {
		d.slots = append(d.slots, memSlot{})
	}
}

// keepVersion freezes the present page as a state that may be on disk, as long as there is room for one.
func (s *memSlot) keepVersion() {
	if s.cur == nil || s.cur == s.dur || len(s.history.versions) == maxVersions {
		return
	}
	s.cur.freeze()
	s.history.versions = append(s.history.versions, s.cur)
}

// writable returns the slot's page, at least n bytes long and free to be changed. A page is never shortened in place, so
// the room behind its data is zero.
func (s *memSlot) writable(n int) *page {
	switch {
	case s.cur == nil:
		s.cur = &page{}
	case s.cur.frozen:
		s.cur = &page{data: append(make([]byte, 0, max(n, len(s.cur.data))), s.cur.data...)}
	}
	pg := s.cur
	if had := len(pg.data); had < n {
		if n <= cap(pg.data) {
			pg.data = pg.data[:n]
		} else {
			bigger := make([]byte, n, min(memPage, max(n, 2*had)))
			copy(bigger, pg.data)
			pg.data = bigger
		}
	}
	return pg
}

// cut remembers that the page was once n bytes long.
func (h *pageHistory) cut(n int) {
	h.cuts[h.numCuts%maxCuts] = int16(n)
	h.numCuts++
}

// freeze ends changes of the page. Once frozen it may be read by other Mems, so it is not written again, not even the
// flag.
func (p *page) freeze() {
	if p != nil && !p.frozen {
		p.frozen = true
	}
}
