package cleaner

// superseded is a set of offsets: the records of a dirty section of which a later one
// with their key was seen while the section was read. With it the second reading needs
// neither their hashes nor the key map, which is much larger than the processor's caches.
// It has a bit an offset, in pages that are made when they are needed. When the offsets
// lie so far apart that the pages would take more than limit bytes, it is given up, and
// the key map answers.
type superseded struct {
	from  int64
	limit int
	pages []*page
	bytes int
	full  bool
}

const pageBits = 1 << 12

type page [pageBits / 64]uint64

// newSuperseded makes an empty set of offsets from on.
func newSuperseded(from int64, limit int) *superseded { return &superseded{from: from, limit: limit} }

// add notes that the record at offset is superseded.
func (s *superseded) add(offset int64) {
	if s.full {
		return
	}
	i := uint64(offset - s.from)
	n := i / pageBits
	if n >= uint64(len(s.pages)) {
		grown := max(n+1, uint64(2*len(s.pages)))
		if more := (grown - uint64(len(s.pages))) * 8; more > uint64(s.limit-s.bytes) {
			s.giveUp()
			return
		}
		s.bytes += int(grown-uint64(len(s.pages))) * 8
		s.pages = append(s.pages, make([]*page, grown-uint64(len(s.pages)))...)
	}
	if s.pages[n] == nil {
		if s.bytes += pageBits / 8; s.bytes > s.limit {
			s.giveUp()
			return
		}
		s.pages[n] = new(page)
	}
	s.pages[n][i%pageBits/64] |= 1 << (i % 64)
}

func (s *superseded) giveUp() { s.full, s.pages = true, nil }

// has says whether the record at offset, which was read, is superseded.
func (s *superseded) has(offset int64) bool {
	i := uint64(offset - s.from)
	n := i / pageBits
	return n < uint64(len(s.pages)) && s.pages[n] != nil && s.pages[n][i%pageBits/64]&(1<<(i%64)) != 0
}
