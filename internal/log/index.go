package log

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/gregorhq/gregor/internal/vfs"
)

// Sizes of entries; see docs/formats/offset-index.md, time-index.md and
// transaction-index.md.
const (
	offsetEntrySize = 8
	timeEntrySize   = 12
	txnEntrySize    = 34
)

// indexTailEntries is how many entries of an index wait in memory before they are
// written together.
const indexTailEntries = 32

// errIndexDamaged says that an index contradicts its segment and has to be built
// again. It never leaves the package.
var errIndexDamaged = errors.New("index does not match its segment")

// relPos packs an offset relative to a segment's base and a position in its file.
// Of two entries of one segment the later one is the greater number.
func relPos(rel, pos int64) uint64 { return uint64(rel)<<32 | uint64(uint32(pos)) }

// relTail is a small set of (relative offset, position) pairs that one writer
// adds to and any reader searches without a lock: each slot is one word, any
// nonzero word is a true pair, and pairs only grow. Slots hold the newest pairs.
type relTail [indexTailEntries]atomic.Uint64

// floor returns the greatest pair whose offset is at most rel; 0 when there is
// none.
func (t *relTail) floor(rel int64) uint64 {
	var best uint64
	for i := range t {
		if v := t[i].Load(); v > best && int64(v>>32) <= rel {
			best = v
		}
	}
	return best
}

// floorPosition returns the greatest pair whose position is at most pos.
func (t *relTail) floorPosition(pos int64) uint64 {
	var best uint64
	for i := range t {
		if v := t[i].Load(); v > best && int64(uint32(v)) <= pos {
			best = v
		}
	}
	return best
}

func (t *relTail) clear() {
	for i := range t {
		t[i].Store(0)
	}
}

// offsetIndex is the offset index of one segment: a file of entries, and for an
// active segment the newest entries in memory. Log.mu guards everything but the
// atomics, which readers load without it.
type offsetIndex struct {
	ready   atomic.Bool // flushed is valid
	flushed atomic.Int32
	tail    atomic.Pointer[relTail]

	entries int32
	last    uint64
}

// add appends an entry; false when the entry must be left out because the tail
// could not be written. An index with an entry less is only slower.
func (x *offsetIndex) add(rel, pos int64) bool {
	if x.entries > 0 && int64(x.last>>32) >= rel {
		return true
	}
	if x.entries-x.flushed.Load() >= indexTailEntries {
		return false
	}
	t := x.tail.Load()
	if t == nil {
		t = new(relTail)
		x.tail.Store(t)
	}
	x.last = relPos(rel, pos)
	t[int(x.entries)%indexTailEntries].Store(x.last)
	x.entries++
	return true
}

func (x *offsetIndex) pending() int32 { return x.entries - x.flushed.Load() }

// flush writes the entries that are only in memory.
func (x *offsetIndex) flush(f vfs.File) error {
	n := x.pending()
	if n == 0 {
		return nil
	}
	var buf [indexTailEntries * offsetEntrySize]byte
	t := x.tail.Load()
	first := x.flushed.Load()
	for i := int32(0); i < n; i++ {
		v := t[int(first+i)%indexTailEntries].Load()
		binary.BigEndian.PutUint64(buf[i*offsetEntrySize:], v)
	}
	if err := writeFull(f, buf[:n*offsetEntrySize], int64(first)*offsetEntrySize); err != nil {
		return err
	}
	x.flushed.Store(x.entries)
	return nil
}

// set says how many entries the file holds; nothing is in memory any more.
func (x *offsetIndex) set(entries int32, last uint64) {
	x.entries, x.last = entries, last
	if t := x.tail.Load(); t != nil {
		t.clear()
	}
	x.flushed.Store(entries)
	x.ready.Store(true)
}

// timeIndex is the time index of one segment. Log.mu guards it; a search by time
// first has the entries that are in memory written.
type timeIndex struct {
	ready   bool
	entries int32
	lastTs  int64
	lastOff int64 // relative
	tail    []timeEntry
}

type timeEntry struct {
	ts  int64
	rel int64
}

// maybeAdd appends an entry when ts is beyond the last one's.
func (x *timeIndex) maybeAdd(ts, rel int64) {
	if ts <= x.lastTs && x.entries > 0 || ts < 0 || x.entries > 0 && rel < x.lastOff {
		return
	}
	if x.tail == nil {
		x.tail = make([]timeEntry, 0, indexTailEntries)
	}
	if len(x.tail) == cap(x.tail) && cap(x.tail) >= 4*indexTailEntries {
		// The file cannot be written; the newest time matters most.
		x.tail[len(x.tail)-1] = timeEntry{ts, rel}
	} else {
		x.tail = append(x.tail, timeEntry{ts, rel})
		x.entries++
	}
	x.lastTs, x.lastOff = ts, rel
}

// flush writes the entries that are only in memory.
func (x *timeIndex) flush(f vfs.File) error {
	if len(x.tail) == 0 {
		return nil
	}
	buf := make([]byte, 0, len(x.tail)*timeEntrySize)
	for _, e := range x.tail {
		buf = binary.BigEndian.AppendUint64(buf, uint64(e.ts))
		buf = binary.BigEndian.AppendUint32(buf, uint32(e.rel))
	}
	if err := writeFull(f, buf, int64(int(x.entries)-len(x.tail))*timeEntrySize); err != nil {
		return err
	}
	x.tail = x.tail[:0]
	return nil
}

// set says what the file holds.
func (x *timeIndex) set(entries int32, last timeEntry) {
	x.ready = true
	x.entries, x.lastTs, x.lastOff = entries, last.ts, last.rel
	if entries == 0 {
		x.lastTs, x.lastOff = NoTimestamp, 0
	}
	x.tail = x.tail[:0]
}

// writeFull writes all of b or fails.
func writeFull(f io.WriterAt, b []byte, off int64) error {
	n, err := f.WriteAt(b, off)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	return err
}

// readFull reads exactly len(b) bytes.
func readFull(f io.ReaderAt, b []byte, off int64) error {
	n, err := f.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// scratch is memory for reading headers and index entries.
type scratch struct{ b [4096]byte }

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// countOffsetEntries returns how many entries the file of an offset index holds,
// and the last one. The zero tail of a preallocated file does not count.
func countOffsetEntries(f vfs.File) (int32, uint64, error) {
	n, err := entryCount(f, offsetEntrySize)
	if err != nil || n == 0 {
		return 0, 0, err
	}
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	at := func(i int32) (uint64, error) {
		err := readFull(f, s.b[:offsetEntrySize], int64(i)*offsetEntrySize)
		return binary.BigEndian.Uint64(s.b[:]), err
	}
	last, err := at(n - 1)
	if err != nil {
		return 0, 0, err
	}
	if uint32(last) == 0 {
		lo, hi := int32(0), n-1 // the first zero position is in [lo, hi]
		for lo < hi {
			mid := lo + (hi-lo)/2
			e, err := at(mid)
			if err != nil {
				return 0, 0, err
			}
			if uint32(e) == 0 {
				hi = mid
			} else {
				lo = mid + 1
			}
		}
		if n = lo; n == 0 {
			return 0, 0, nil
		}
		if last, err = at(n - 1); err != nil {
			return 0, 0, err
		}
	}
	if int32(last>>32) < 0 || int32(last) <= 0 {
		return 0, 0, errIndexDamaged
	}
	return n, last, nil
}

// entryCount is the number of whole entries by the file's size.
func entryCount(f vfs.File, size int64) (int32, error) {
	n, err := f.Size()
	if err != nil {
		return 0, err
	}
	if n/size > 1<<31-1 {
		return 0, fmt.Errorf("%s has %d bytes: %w", f.Name(), n, errIndexDamaged)
	}
	if n%size != 0 {
		return 0, errIndexDamaged
	}
	return int32(n / size), nil
}

// findOffsetEntry returns the last of n entries with key(entry) <= target; 0 when
// there is none. byPosition searches the position column.
func findOffsetEntry(f io.ReaderAt, n int32, target int64, byPosition bool) (uint64, error) {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	const window = int32(len(s.b) / offsetEntrySize)
	lo, hi := int32(0), n // entries below lo are <= target, from hi on they are greater
	var best uint64
	for hi-lo > window {
		mid := lo + (hi-lo)/2
		if err := readFull(f, s.b[:offsetEntrySize], int64(mid)*offsetEntrySize); err != nil {
			return 0, err
		}
		e := binary.BigEndian.Uint64(s.b[:])
		if offsetKey(e, byPosition) <= target {
			best, lo = e, mid+1
		} else {
			hi = mid
		}
	}
	if lo == hi {
		return best, nil
	}
	b := s.b[:(hi-lo)*offsetEntrySize]
	if err := readFull(f, b, int64(lo)*offsetEntrySize); err != nil {
		return 0, err
	}
	for ; len(b) > 0; b = b[offsetEntrySize:] {
		e := binary.BigEndian.Uint64(b)
		if offsetKey(e, byPosition) > target {
			break
		}
		best = e
	}
	return best, nil
}

// countBelow returns how many of n entries have a relative offset below rel.
func countBelow(f io.ReaderAt, n int32, rel int64) (int32, error) {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	lo, hi := int32(0), n
	for lo < hi {
		mid := lo + (hi-lo)/2
		if err := readFull(f, s.b[:offsetEntrySize], int64(mid)*offsetEntrySize); err != nil {
			return 0, err
		}
		if int64(binary.BigEndian.Uint32(s.b[:])) < rel {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo, nil
}

func offsetKey(e uint64, byPosition bool) int64 {
	if byPosition {
		return int64(uint32(e))
	}
	return int64(e >> 32)
}

func parseTimeEntry(b []byte) timeEntry {
	return timeEntry{int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint32(b[8:]))}
}

// readTimeEntries reads a whole time index and checks that it grows. The zero
// tail of a preallocated file does not count.
func readTimeEntries(f vfs.File) ([]timeEntry, error) {
	n, err := entryCount(f, timeEntrySize)
	if err != nil {
		return nil, err
	}
	return readTimes(f, n)
}

// readTimes reads the first n entries of a time index, which the file is known to have,
// and checks that they grow.
func readTimes(f io.ReaderAt, n int32) ([]timeEntry, error) {
	if n == 0 {
		return nil, nil
	}
	b := make([]byte, int64(n)*timeEntrySize)
	if err := readFull(f, b, 0); err != nil {
		return nil, err
	}
	return parseTimeEntries(b)
}

// parseTimeEntries decodes and checks the entries of a time index.
func parseTimeEntries(b []byte) ([]timeEntry, error) {
	n := len(b) / timeEntrySize
	entries := make([]timeEntry, 0, n)
	for i := 0; i < n; i++ {
		e := parseTimeEntry(b[i*timeEntrySize:])
		if e.ts == 0 && e.rel == 0 && i > 0 {
			break
		}
		if i > 0 && (e.ts <= entries[i-1].ts || e.rel < entries[i-1].rel) || e.ts < 0 || e.rel > 1<<31-1 {
			return nil, errIndexDamaged
		}
		entries = append(entries, e)
	}
	if len(entries) == 1 && entries[0] == (timeEntry{}) && n > 1 {
		entries = entries[:0]
	}
	return entries, nil
}

// lastTimeEntry returns the number of entries of a time index and the last one,
// reading only its end unless the file has a zero tail.
func lastTimeEntry(f vfs.File) (int32, timeEntry, error) {
	n, err := entryCount(f, timeEntrySize)
	if err != nil || n == 0 {
		return 0, timeEntry{ts: NoTimestamp}, err
	}
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	if err := readFull(f, s.b[:timeEntrySize], int64(n-1)*timeEntrySize); err != nil {
		return 0, timeEntry{}, err
	}
	e := parseTimeEntry(s.b[:])
	if e == (timeEntry{}) {
		entries, err := readTimeEntries(f)
		if err != nil || len(entries) == 0 {
			return 0, timeEntry{ts: NoTimestamp}, err
		}
		return int32(len(entries)), entries[len(entries)-1], nil
	}
	if e.ts < 0 || e.rel > 1<<31-1 {
		return 0, timeEntry{}, errIndexDamaged
	}
	return n, e, nil
}

// parseTxnEntries decodes a transaction index of the segment with the given base.
func parseTxnEntries(b []byte, base int64) ([]AbortedTxn, error) {
	if len(b)%txnEntrySize != 0 {
		return nil, errIndexDamaged
	}
	txns := make([]AbortedTxn, 0, len(b)/txnEntrySize)
	for ; len(b) > 0; b = b[txnEntrySize:] {
		if b[0] != 0 {
			return nil, errIndexDamaged
		}
		t := AbortedTxn{
			ProducerID:       int64(binary.BigEndian.Uint64(b[2:])),
			FirstOffset:      int64(binary.BigEndian.Uint64(b[10:])),
			LastOffset:       int64(binary.BigEndian.Uint64(b[18:])),
			LastStableOffset: int64(binary.BigEndian.Uint64(b[26:])),
		}
		if n := len(txns); t.LastOffset < base || n > 0 && t.LastOffset <= txns[n-1].LastOffset {
			return nil, errIndexDamaged
		}
		txns = append(txns, t)
	}
	return txns, nil
}

// appendTxnEntry encodes one entry.
func appendTxnEntry(b []byte, t AbortedTxn) []byte {
	b = append(b, 0, 0)
	b = binary.BigEndian.AppendUint64(b, uint64(t.ProducerID))
	b = binary.BigEndian.AppendUint64(b, uint64(t.FirstOffset))
	b = binary.BigEndian.AppendUint64(b, uint64(t.LastOffset))
	return binary.BigEndian.AppendUint64(b, uint64(t.LastStableOffset))
}
