//go:build linux

package main

import "sync"

// row is what is known of one key.
type row struct {
	sent, acked uint64 // versions
	offset      int64  // of acked
	deleted     bool   // acked is a tombstone
	read        uint64 // by the reader that follows
	final       uint64 // by the reader in the end
	finalOffset int64
	finalGone   bool
}

// tableCheck judges a compacted topic. Versions of a key begin at one. mu guards rows.
type tableCheck struct {
	bad *findings

	mu      sync.Mutex
	rows    []row
	found   int // records of the last reading
	written uint64
}

func newTableCheck(keys int, bad *findings) *tableCheck {
	return &tableCheck{bad: bad, rows: make([]row, keys)}
}

// next is the version to write.
func (c *tableCheck) next(key int) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rows[key].sent++
	return c.rows[key].sent
}

func (c *tableCheck) ack(key int, version uint64, offset int64, tombstone bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.written++
	r := &c.rows[key]
	if version != r.acked+1 || offset <= r.offset && r.acked > 0 {
		c.bad.add("table: key %d: version %d is acknowledged at offset %d after version %d at offset %d", key, version, offset, r.acked, r.offset)
	}
	r.acked, r.offset, r.deleted = version, offset, tombstone
}

// follow judges a record of the reader that follows the writers. A partition's records
// come by rising offsets.
func (c *tableCheck) follow(key int, version uint64, offset int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := &c.rows[key]
	if version <= r.read || version > r.sent {
		c.bad.add("table: key %d: version %d at offset %d is read after version %d, %d were sent", key, version, offset, r.read, r.sent)
		return
	}
	r.read = version
}

// behind is how many keys the following reader has not the last version of.
func (c *tableCheck) behind() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.rows {
		if c.rows[i].read < c.rows[i].acked {
			n++
		}
	}
	return n
}

// last judges a record of the reading from the beginning, in the end.
func (c *tableCheck) last(key int, version uint64, offset int64, tombstone bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.found++
	r := &c.rows[key]
	if version <= r.final || version > r.sent {
		c.bad.add("table: in the end key %d has version %d at offset %d behind version %d, %d were sent", key, version, offset, r.final, r.sent)
		return
	}
	r.final, r.finalOffset, r.finalGone = version, offset, tombstone
}

// settle judges that reading: every key has what was acknowledged last. Only a tombstone
// may be gone, with all that was before it.
func (c *tableCheck) settle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key := range c.rows {
		r := &c.rows[key]
		switch {
		case r.final == 0 && (r.deleted || r.acked == 0):
		case r.final != r.acked || r.finalOffset != r.offset || r.finalGone != r.deleted:
			c.bad.add("table: in the end key %d has version %d at offset %d (tombstone %v), acknowledged is version %d at offset %d (tombstone %v)",
				key, r.final, r.finalOffset, r.finalGone, r.acked, r.offset, r.deleted)
		}
	}
}
