package log

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path/filepath"
	"sync/atomic"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/vfs"
)

// segment is one N.log with its indexes (docs/formats/segment.md). It holds no
// open file; fileSlots do while the files are in use.
//
// The atomics may be read by anyone; everything else belongs to Log.mu.
type segment struct {
	base int64

	// endpoint packs the next offset, relative to base, and the size of the file:
	// what readers may see. One word, so that both change together.
	endpoint atomic.Uint64
	// recent holds where the newest batches begin, hints where readers stopped. A
	// truncation leaves both to the readers that it overtakes.
	recent atomic.Pointer[relTail]
	hints  atomic.Pointer[hintSet]

	log, indexFile, timeFile, txnFile fileSlot

	index offsetIndex
	times timeIndex

	// maxTs is the largest timestamp and maxTsOff the last offset of its batch,
	// valid once tsKnown.
	maxTs, maxTsOff int64
	tsKnown         bool
	// rollTs is the first batch's largest timestamp, valid once rollTsKnown.
	rollTs          int64
	rollTsKnown     bool
	created         int64
	jitter          int64
	bytesSinceIndex int64
	futureSaid      bool // that its records are from the future was logged

	recentN uint32
	txns    atomic.Pointer[[]AbortedTxn] // all entries of txnindex, once read
	txnLoad bool                         // txns is valid
	hasTxns atomic.Bool                  // txnindex exists or has entries
	txnDone int                          // entries of txns that are in the file

	// indexesDirty says that index files were written since they were synced.
	indexesDirty bool
}

func newSegment(base, nowMs int64) *segment {
	s := &segment{base: base, created: nowMs, maxTs: NoTimestamp}
	s.hints.Store(new(hintSet))
	s.times.lastTs = NoTimestamp
	return s
}

// publish makes everything below next, and size bytes of the file, visible.
func (s *segment) publish(next, size int64) {
	s.endpoint.Store(relPos(next-s.base, size))
}

// end returns the next offset and the size that are visible, which belong
// together.
func (s *segment) end() (next, size int64) {
	e := s.endpoint.Load()
	return s.base + int64(e>>32), int64(uint32(e))
}

func (s *segment) size() int64 { return int64(uint32(s.endpoint.Load())) }

// noteBatch remembers where a batch begins; Log.mu is held and the bytes are not
// visible yet.
func (s *segment) noteBatch(baseOffset, pos int64) {
	t := s.recent.Load()
	if t == nil {
		t = new(relTail)
		s.recent.Store(t)
	}
	t[s.recentN%indexTailEntries].Store(relPos(baseOffset-s.base, pos))
	s.recentN++
}

// hintSet is a small set of (relative offset, position) pairs that any reader adds to
// and searches without a lock.
type hintSet struct {
	pairs [4]atomic.Uint64
	next  atomic.Uint32 // the pair to replace next
}

// note remembers that the batch for the offset rel begins at pos. A reader loads the set
// before it makes sure that the log is still the one in which it found that out: then a
// truncation that it does not see has not emptied this set, but will put another in its
// place.
func (h *hintSet) note(rel, pos int64) {
	if pos == 0 || rel > math.MaxInt32 {
		return
	}
	v := relPos(rel, pos)
	for i := range h.pairs {
		if h.pairs[i].Load() == v {
			return
		}
	}
	h.pairs[h.next.Add(1)%uint32(len(h.pairs))].Store(v)
}

// floor returns the greatest pair whose offset is at most rel; 0 when there is none.
func (h *hintSet) floor(rel int64) uint64 {
	var best uint64
	for i := range h.pairs {
		if v := h.pairs[i].Load(); v > best && int64(v>>32) <= rel {
			best = v
		}
	}
	return best
}

// forget drops every remembered position, for a truncation: Log.gen is odd.
func (s *segment) forget() {
	s.hints.Store(new(hintSet))
	s.recent.Store(nil)
	s.recentN = 0
}

// path names a file of a segment.
func (l *Log) path(base int64, suffix string) string {
	return filepath.Join(*l.folder.Load(), offsetName(base)+suffix)
}

// openLog returns the pinned handle of the segment's log.
func (l *Log) openLog(s *segment) (*handle, error) {
	if h := s.log.cached(); h != nil {
		return h, nil
	}
	return l.env.files.open(&s.log, l.path(s.base, suffixLog), openExisting)
}

// openIndex returns the pinned handle of the offset index.
func (l *Log) openIndex(s *segment) (*handle, error) {
	if h := s.indexFile.cached(); h != nil {
		return h, nil
	}
	return l.env.files.open(&s.indexFile, l.path(s.base, suffixIndex), openExisting)
}

// openTimes returns the pinned handle of the time index.
func (l *Log) openTimes(s *segment) (*handle, error) {
	if h := s.timeFile.cached(); h != nil {
		return h, nil
	}
	return l.env.files.open(&s.timeFile, l.path(s.base, suffixTimeIndex), openExisting)
}

func (s *segment) slots() [4]*fileSlot {
	return [...]*fileSlot{&s.log, &s.indexFile, &s.timeFile, &s.txnFile}
}

// dropFiles forgets the segment's open files.
func (l *Log) dropFiles(s *segment) {
	for _, slot := range s.slots() {
		l.env.files.drop(slot)
	}
}

// retireFiles comes after dropFiles, once the files have lost their names for good: it
// forgets what was opened in between, and nothing of the segment stays open from then on.
func (l *Log) retireFiles(s *segment) {
	for _, slot := range s.slots() {
		l.env.files.retire(slot)
	}
}

// headers walks batch headers of a file through a small window.
type headers struct {
	f     io.ReaderAt
	size  int64 // bytes of the file that may be looked at
	buf   *scratch
	start int64
	n     int
}

func (h *headers) close() { scratches.Put(h.buf) }

func newHeaders(f io.ReaderAt, size int64) headers {
	return headers{f: f, size: size, buf: scratches.Get().(*scratch)}
}

// at reads the header of the batch at pos.
func (h *headers) at(pos int64) (batch.Info, error) {
	want := min(int64(batch.PeekSize), h.size-pos)
	if pos < h.start || pos+want > h.start+int64(h.n) {
		n := int(min(int64(len(h.buf.b)), h.size-pos))
		if n <= 0 {
			return batch.Info{}, io.ErrUnexpectedEOF
		}
		h.start, h.n = pos, 0
		if err := readFull(h.f, h.buf.b[:n], pos); err != nil {
			return batch.Info{}, err
		}
		h.n = n
	}
	info, err := batch.Peek(h.buf.b[pos-h.start : h.n])
	if err != nil {
		return info, err
	}
	if pos+int64(info.Size) > h.size {
		return info, kafka.CorruptMessage.Errorf("batch of %d bytes at %d ends beyond byte %d", info.Size, pos, h.size)
	}
	info.Pos = int(pos)
	return info, nil
}

// place is where a batch lies.
type place struct {
	pos  int64
	size int64 // 0 when not known
	base int64
}

// locate finds the first batch of s whose last offset is at least offset, among
// the first size bytes; ok is false when there is none.
func (l *Log) locate(s *segment, offset, size int64) (p place, ok bool, err error) {
	start, entry, exact, err := l.searchStart(s, offset)
	if err != nil {
		return p, false, err
	}
	if exact && start < size {
		return place{pos: start, base: offset}, true, nil
	}
	if start >= size {
		// The batch of an entry at or below offset begins before any bound on it.
		if entry != 0 {
			return p, false, errIndexDamaged
		}
		return p, false, nil
	}
	f, err := l.openLog(s)
	if err != nil {
		return p, false, err
	}
	defer f.unpin()
	h := newHeaders(f, size)
	defer h.close()
	for pos := start; pos < size; {
		info, err := h.at(pos)
		if pos == start && entry != 0 && (err != nil && damagedBytes(err) || err == nil && info.LastOffset != s.base+int64(entry>>32)) {
			return p, false, errIndexDamaged
		}
		if err != nil {
			return p, false, l.corrupt(s, pos, err)
		}
		if info.LastOffset >= offset {
			return place{pos, int64(info.Size), info.BaseOffset}, true, nil
		}
		pos += int64(info.Size)
	}
	return p, false, nil
}

// searchStart returns a position at or before the batch for offset. entry is the
// index entry that gave it, if one did; exact says that the batch begins with
// offset.
func (l *Log) searchStart(s *segment, offset int64) (pos int64, entry uint64, exact bool, err error) {
	rel := offset - s.base
	if rel <= 0 {
		return 0, 0, false, nil
	}
	if t := s.recent.Load(); t != nil {
		if v := t.floor(rel); v != 0 {
			return int64(uint32(v)), 0, int64(v>>32) == rel, nil
		}
	}
	hint := s.hints.Load().floor(rel)
	if int64(hint>>32) == rel {
		return int64(uint32(hint)), 0, true, nil
	}
	e, err := l.indexFloor(s, rel, false)
	if err != nil {
		return 0, 0, false, err
	}
	if uint32(hint) > uint32(e) {
		return int64(uint32(hint)), 0, false, nil
	}
	return int64(uint32(e)), e, false, nil
}

// indexFloor returns the last index entry whose offset, or position, is at most
// target; 0 when there is none.
func (l *Log) indexFloor(s *segment, target int64, byPosition bool) (uint64, error) {
	if !s.index.ready.Load() {
		if err := l.readyIndex(s); err != nil {
			return 0, err
		}
	}
	if t := s.index.tail.Load(); t != nil {
		var v uint64
		if byPosition {
			v = t.floorPosition(target)
		} else {
			v = t.floor(target)
		}
		if v != 0 {
			return v, nil
		}
	}
	// Entries leave the tail only after flushed covers them, so it is read last.
	n := s.index.flushed.Load()
	if n == 0 {
		return 0, nil
	}
	f, err := l.openIndex(s)
	if err != nil {
		return 0, missingIsDamage(err)
	}
	defer f.unpin()
	e, err := findOffsetEntry(f, n, target, byPosition)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = errIndexDamaged
	}
	return e, err
}

// missingIsDamage turns "does not exist" into a reason to build an index again.
func missingIsDamage(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return errIndexDamaged
	}
	return err
}

// readyIndex reads how long the offset index is, under the mutex.
func (l *Log) readyIndex(s *segment) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.readyIndexLocked(s)
}

func (l *Log) readyIndexLocked(s *segment) error {
	if s.index.ready.Load() {
		return nil
	}
	f, err := l.openIndex(s)
	if err != nil {
		return missingIsDamage(err)
	}
	defer f.unpin()
	n, last, err := countOffsetEntries(f)
	if err != nil {
		return err
	}
	if n > 0 && int64(uint32(last)) >= s.size() {
		return errIndexDamaged
	}
	s.index.set(n, last)
	return nil
}

// readyTimesLocked reads the end of the time index, and the segment's largest
// timestamp with it.
func (l *Log) readyTimesLocked(s *segment) error {
	if s.times.ready {
		return nil
	}
	f, err := l.openTimes(s)
	if err != nil {
		return missingIsDamage(err)
	}
	defer f.unpin()
	n, last, err := lastTimeEntry(f)
	if err != nil {
		return err
	}
	// An entry that cannot be compared, since bytes on the way to its batch are damaged,
	// counts: those must not keep the segment, and all behind it, from retention.
	if err := l.verifyTime(s, n, last); err != nil && !damagedBytes(err) {
		return err
	}
	s.times.set(n, last)
	if !s.tsKnown {
		s.maxTs, s.maxTsOff, s.tsKnown = s.times.lastTs, s.base+s.times.lastOff, true
	}
	return nil
}

// verifyTime compares the last entry of a time index with the batch that it speaks
// of: retention and searches believe it. Without an entry the first batch must have
// no timestamp.
func (l *Log) verifyTime(s *segment, n int32, last timeEntry) error {
	next, size := s.end()
	if size == 0 && n == 0 {
		return nil
	}
	if n > 0 && s.base+last.rel >= next {
		return errIndexDamaged
	}
	pos := int64(0)
	if n > 0 {
		if err := l.readyIndexLocked(s); err != nil {
			return err
		}
		p, ok, err := l.locate(s, s.base+last.rel, size)
		if err != nil {
			return err
		}
		if !ok {
			return errIndexDamaged
		}
		pos = p.pos
	}
	info, err := l.headerAt(s, pos)
	if err != nil {
		return err
	}
	if n > 0 && (info.LastOffset != s.base+last.rel || info.MaxTimestamp != last.ts) || n == 0 && info.MaxTimestamp >= 0 && s != l.view.Load().active() {
		return errIndexDamaged
	}
	return nil
}

// damagedBytes tells bytes that are not a batch from a failed read.
func damagedBytes(err error) bool {
	return errors.Is(err, kafka.CorruptMessage) || errors.Is(err, io.ErrUnexpectedEOF)
}

// corrupt describes damaged bytes with the place where they lie. A failed read is
// returned as it is.
func (l *Log) corrupt(s *segment, pos int64, err error) error {
	if !damagedBytes(err) {
		return err
	}
	l.env.suspected(l, s.base)
	return kafka.CorruptMessage.Errorf("%s at byte %d: %w", l.path(s.base, suffixLog), pos, err)
}

// view is the list of a log's segments, ordered by base; the last one is active.
// It never changes.
type view struct {
	segs []*segment
}

func (v *view) active() *segment { return v.segs[len(v.segs)-1] }

// floor returns the index of the last segment with base <= offset, 0 when all are
// above.
func (v *view) floor(offset int64) int {
	lo, hi := 0, len(v.segs)
	for lo < hi {
		mid := (lo + hi) / 2
		if v.segs[mid].base <= offset {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return max(lo-1, 0)
}

// endOf returns the offset at which segment i ends.
func (v *view) endOf(i int) int64 {
	if i+1 < len(v.segs) {
		return v.segs[i+1].base
	}
	next, _ := v.segs[i].end()
	return next
}

// createSegmentFiles makes the files of a new segment. Leftovers of the same name,
// from a roll that was not published, are replaced.
func (l *Log) createSegmentFiles(base int64) error {
	for _, suffix := range []string{suffixIndex, suffixTimeIndex, suffixLog} {
		name := l.path(base, suffix)
		f, err := l.env.fs.OpenFile(name, openNew, 0o644)
		if errors.Is(err, fs.ErrExist) {
			if err = l.env.fs.Remove(name); err == nil {
				f, err = l.env.fs.OpenFile(name, openNew, 0o644)
			}
		}
		if err != nil {
			return fmt.Errorf("creating %s: %w", name, err)
		}
		if err := f.Close(); err != nil {
			return fmt.Errorf("creating %s: %w", name, err)
		}
	}
	name := l.path(base, suffixTxnIndex)
	if err := l.env.fs.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing %s: %w", name, err)
	}
	return nil
}

var _ vfs.File = (*handle)(nil)
