package vfs

import (
	"io/fs"
	"maps"
	"math/rand"
	"slices"
	"syscall"
)

// CrashMode says what kind of crash Mem.Crash models.
type CrashMode int

const (
	// ProcessKill ends the process only: everything written is still there, synced or not. What was not synced stays
	// unsynced: a later PowerLoss may still take it.
	ProcessKill CrashMode = iota
	// PowerLoss leaves what was synced, and of the rest an arbitrary part chosen by the random source: each page of a
	// file may be old, new, a state between, or torn at 512 bytes to 4 KiB; the size may be any the file had; a changed
	// directory entry may be old or new, whereby a rename happens wholly or not at all, and changes of one entry are
	// kept in their order.
	PowerLoss
)

// Crash returns what is left after a crash as a new, independent file system without locks and open files. The same
// state and the same random source give the same result. m and its open files go on as if nothing had happened, so one
// run can be crashed in many ways.
func (m *Mem) Crash(rng *rand.Rand, mode CrashMode) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	after := NewMem()
	after.now = m.now
	if mode == ProcessKill {
		c := memCloner{copies: make(map[*memNode]*memNode)}
		after.root = c.clone(m.root)
		after.pending = c.clonePending(m.pending)
		return after
	}
	l := powerLoss{rng: rng, dirs: m.surviving(rng), copies: make(map[*memNode]*memNode)}
	after.root = l.copyNode(m.root)
	return after
}

// SyncDir makes the changes of a directory durable, and with them the earlier changes of the same entries elsewhere.
func (m *Mem) SyncDir(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, err := m.walk(split(name))
	if err == nil && dir.entries == nil {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return &fs.PathError{Op: "syncdir", Path: name, Err: err}
	}
	keep := make([]bool, len(m.pending))
	for i := range m.pending {
		keep[i] = m.pending[i].touches(dir)
	}
	closeOver(m.pending, keep)
	gone := map[*memNode]bool{}
	rest := m.pending[:0]
	for i, op := range m.pending {
		if !keep[i] {
			rest = append(rest, op)
			continue
		}
		for _, c := range op.changes[:op.n] {
			c.entry.dir.durable[c.entry.name].markGone(gone)
			setEntry(c.entry.dir.durable, c)
		}
	}
	clear(m.pending[len(rest):])
	m.pending = slices.DeleteFunc(rest, func(op dirOp) bool { return op.isIn(gone) })
	return nil
}

// markGone adds n and the directories below it to the set if no name leads to them any more: changes inside them can
// never be seen again.
func (n *memNode) markGone(gone map[*memNode]bool) {
	if n == nil || n.durable == nil || !n.unlinked || gone[n] {
		return
	}
	gone[n] = true
	for _, child := range n.durable {
		child.markGone(gone)
	}
}

// touches tells whether op changes an entry of dir.
func (op *dirOp) touches(dir *memNode) bool {
	for _, c := range op.changes[:op.n] {
		if c.entry.dir == dir {
			return true
		}
	}
	return false
}

// isIn tells whether op changes only directories of the set.
func (op *dirOp) isIn(dirs map[*memNode]bool) bool {
	for _, c := range op.changes[:op.n] {
		if !dirs[c.entry.dir] {
			return false
		}
	}
	return true
}

// closeOver adds to the kept operations the earlier ones that changed the same entries, so that no entry sees its
// changes out of order.
func closeOver(ops []dirOp, keep []bool) {
	kept := map[dirEntry]bool{}
	for i := len(ops) - 1; i >= 0; i-- {
		op := &ops[i]
		for _, c := range op.changes[:op.n] {
			keep[i] = keep[i] || kept[c.entry]
		}
		if !keep[i] {
			continue
		}
		for _, c := range op.changes[:op.n] {
			kept[c.entry] = true
		}
	}
}

// surviving chooses which pending changes reached the disk and returns the directories that they alter.
func (m *Mem) surviving(rng *rand.Rand) map[*memNode]map[string]*memNode {
	keep := make([]bool, len(m.pending))
	switch rng.Intn(4) {
	case 0: // nothing
	case 1, 2: // everything up to some point
		for i := range rng.Intn(len(keep) + 1) {
			keep[i] = true
		}
	case 3:
		for i := range keep {
			keep[i] = rng.Intn(2) == 0
		}
		closeOver(m.pending, keep)
	}
	dirs := map[*memNode]map[string]*memNode{}
	for i, op := range m.pending {
		if !keep[i] {
			continue
		}
		for _, c := range op.changes[:op.n] {
			entries := dirs[c.entry.dir]
			if entries == nil {
				entries = maps.Clone(c.entry.dir.durable)
				dirs[c.entry.dir] = entries
			}
			setEntry(entries, c)
		}
	}
	return dirs
}

// memCloner copies a tree with its durable and its pending state, each node once.
type memCloner struct{ copies map[*memNode]*memNode }

func (c memCloner) clone(n *memNode) *memNode {
	if n == nil {
		return nil
	}
	if done := c.copies[n]; done != nil {
		return done
	}
	n2 := &memNode{mode: n.mode, modTime: n.modTime, unlinked: n.unlinked}
	c.copies[n] = n2
	if n.data != nil {
		n2.data = n.data.clone()
		return n2
	}
	n2.entries, n2.durable = c.cloneEntries(n.entries), c.cloneEntries(n.durable)
	return n2
}

func (c memCloner) cloneEntries(entries map[string]*memNode) map[string]*memNode {
	copied := make(map[string]*memNode, len(entries))
	for name, n := range entries {
		copied[name] = c.clone(n)
	}
	return copied
}

func (c memCloner) clonePending(ops []dirOp) []dirOp {
	ops = slices.Clone(ops)
	for i := range ops {
		for j := range ops[i].changes[:ops[i].n] {
			change := &ops[i].changes[j]
			change.entry.dir, change.to = c.clone(change.entry.dir), c.clone(change.to)
		}
	}
	return ops
}

// clone copies content and history; pages are shared.
func (d *memData) clone() *memData {
	if d.clean() {
		d.shared = true
		return &memData{size: d.size, durSize: d.durSize, slots: d.slots, shared: true}
	}
	d2 := &memData{
		size: d.size, durSize: d.durSize, slots: slices.Clone(d.slots), dirty: slices.Clone(d.dirty),
		sizes: slices.Clone(d.sizes), numSizes: d.numSizes,
	}
	for _, i := range d2.dirty {
		s := &d2.slots[i]
		s.cur.freeze()
		history := *s.history
		history.versions = slices.Clone(history.versions)
		s.history = &history
	}
	return d2
}

// powerLoss builds the tree that a power loss leaves.
type powerLoss struct {
	rng    *rand.Rand
	dirs   map[*memNode]map[string]*memNode // directories that pending changes alter
	copies map[*memNode]*memNode
}

func (l *powerLoss) copyNode(n *memNode) *memNode {
	if done := l.copies[n]; done != nil {
		return done
	}
	n2 := &memNode{mode: n.mode, modTime: n.modTime}
	l.copies[n] = n2
	if n.data != nil {
		n2.data = l.copyData(n.data)
		return n2
	}
	entries := l.dirs[n]
	if entries == nil {
		entries = n.durable
	}
	n2.entries = make(map[string]*memNode, len(entries))
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		n2.entries[name] = l.copyNode(entries[name])
	}
	n2.durable = maps.Clone(n2.entries)
	return n2
}

// copyData chooses what is left of a file.
func (l *powerLoss) copyData(d *memData) *memData {
	if d.clean() {
		return d.clone()
	}
	size, choose := d.size, func(s *memSlot) *page { return s.cur }
	switch l.rng.Intn(6) {
	case 0: // nothing since the last sync
		size, choose = d.durSize, func(s *memSlot) *page { return s.dur }
	case 1: // everything
	case 2: // a size from before, all content below it
		size = l.chooseSize(d)
	default:
		size, choose = l.chooseSize(d), l.choosePage
	}
	numSlots := int((size + memPage - 1) / memPage)
	slots := make([]memSlot, min(numSlots, len(d.slots)))
	for i := range slots {
		pg := d.slots[i].dur
		if d.slots[i].history != nil {
			d.slots[i].cur.freeze()
			pg = choose(&d.slots[i])
		}
		if end := size - int64(i)*memPage; pg != nil && int64(len(pg.data)) > end {
			pg = &page{frozen: true, data: pg.data[:end:end]}
		}
		slots[i] = memSlot{cur: pg, dur: pg}
	}
	return &memData{size: size, durSize: size, slots: slots}
}

// chooseSize picks a size: on disk, present, in between, or from the history.
func (l *powerLoss) chooseSize(d *memData) int64 {
	switch pick := l.rng.Intn(5); {
	case pick == 0:
		return d.durSize
	case pick == 1 && len(d.sizes) > 0:
		return d.sizes[l.rng.Intn(len(d.sizes))]
	case pick == 2:
		low, high := min(d.size, d.durSize), max(d.size, d.durSize)
		return low + l.rng.Int63n(high-low+1)
	}
	return d.size
}

// choosePage picks the state of one page that differs from the disk.
func (l *powerLoss) choosePage(s *memSlot) *page {
	switch l.rng.Intn(5) {
	case 0:
		return s.dur
	case 1:
		return s.cur
	case 2:
		return l.between(s)
	case 3:
		return l.tear(s.dur, s.cur)
	default:
		return l.tear(s.dur, l.between(s))
	}
}

// between picks a state that the page had since the last sync.
func (l *powerLoss) between(s *memSlot) *page {
	h := s.history
	cuts := min(h.numCuts, maxCuts)
	total := cuts + len(h.versions)
	if total == 0 {
		return s.cur
	}
	pick := l.rng.Intn(total)
	if pick >= cuts {
		return h.versions[pick-cuts]
	}
	if s.cur == nil {
		return nil
	}
	end := min(int(h.cuts[pick]), len(s.cur.data))
	return &page{frozen: true, data: s.cur.data[:end:end]}
}

// tear mixes two states of a page in units of 512 bytes to 4 KiB: a prefix of the new one, or any subset.
func (l *powerLoss) tear(older, newer *page) *page {
	unit := 512 << l.rng.Intn(4)
	prefix := -1
	if l.rng.Intn(2) == 0 {
		prefix = l.rng.Intn(memPage/unit + 1)
	}
	mixed := make([]byte, memPage)
	if older != nil {
		copy(mixed, older.data)
	}
	for i := range memPage / unit {
		take := i < prefix
		if prefix < 0 {
			take = l.rng.Intn(2) == 0
		}
		if !take {
			continue
		}
		sector := mixed[i*unit : (i+1)*unit]
		clear(sector)
		if newer != nil && i*unit < len(newer.data) {
			copy(sector, newer.data[i*unit:])
		}
	}
	return &page{frozen: true, data: mixed}
}
