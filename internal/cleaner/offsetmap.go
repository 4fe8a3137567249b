package cleaner

import (
	"math/bits"

	"github.com/gregorhq/gregor/internal/log"
)

// slotSize is what one key takes, as in Apache Kafka: 16 bytes of hash, 8 of offset.
const slotSize = 24

// firstSlots is the size that a map begins with.
const firstSlots = 4096

// slot is one key. at is the offset + 1; 0 is an empty slot.
type slot struct {
	hi, lo uint64
	at     int64
}

// offsetMap holds the last offset of every key of a dirty section. It knows keys by
// their hash only, so it is bounded whatever the keys' size. It grows as it is
// filled, up to limit slots; while it does, the old slots exist beside the new ones.
type offsetMap struct {
	hash  hasher
	limit int // the most slots
	most  int // the most entries
	slots []slot
	n     int
	// latest is the offset up to which the log is in the map.
	latest int64
	// old is told of each offset in the map that a later one takes the place of.
	old *superseded
}

// newOffsetMap makes a map of at most memory bytes, of which the share load is used.
func newOffsetMap(h hasher, memory int64, load float64) *offsetMap {
	m := &offsetMap{hash: h, limit: int(max(memory/slotSize, 2)), latest: log.NoOffset}
	m.most = min(max(int(float64(m.limit)*load), 1), m.limit-1)
	return m
}

// find returns the slot of a key or the empty one where it belongs.
func (m *offsetMap) find(slots []slot, hi, lo uint64) *slot {
	i, _ := bits.Mul64(hi, uint64(len(slots)))
	for {
		s := &slots[i]
		if s.at == 0 || s.hi == hi && s.lo == lo {
			return s
		}
		if i++; i == uint64(len(slots)) {
			i = 0
		}
	}
}

// put notes that key was seen at offset, later than any before; false when the map
// is full.
func (m *offsetMap) put(key []byte, offset int64) bool {
	hi, lo := m.hash.sum(key)
	return m.putHash(slot{hi, lo, offset + 1})
}

// putHash is put for a key that was hashed before.
func (m *offsetMap) putHash(k slot) bool {
	if m.slots == nil {
		m.slots = make([]slot, min(firstSlots, m.limit))
	}
	s := m.find(m.slots, k.hi, k.lo)
	if s.at == 0 {
		if m.n >= m.most {
			return false
		}
		if len(m.slots) < m.limit && m.n >= len(m.slots)*3/4 {
			m.grow()
			s = m.find(m.slots, k.hi, k.lo)
		}
		m.n++
	} else if m.old != nil {
		m.old.add(s.at - 1)
	}
	*s = k
	m.latest = k.at - 1
	return true
}

func (m *offsetMap) grow() {
	next := make([]slot, min(2*len(m.slots), m.limit))
	for i := range m.slots {
		if s := &m.slots[i]; s.at != 0 {
			*m.find(next, s.hi, s.lo) = *s
		}
	}
	m.slots = next
}

// get returns the last offset of key, log.NoOffset when it is not in the map.
func (m *offsetMap) get(key []byte) int64 {
	hi, lo := m.hash.sum(key)
	return m.getHash(slot{hi: hi, lo: lo})
}

// getHash is get for a key that was hashed before.
func (m *offsetMap) getHash(k slot) int64 {
	if m.n == 0 {
		return log.NoOffset
	}
	return m.find(m.slots, k.hi, k.lo).at - 1
}

// utilization is how full the map is, of the size that it may have.
func (m *offsetMap) utilization() float64 { return float64(m.n) / float64(m.limit) }
