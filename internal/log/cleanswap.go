package log

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/invariant"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/vfs"
)

// CleanedSegment is a segment in the making that takes the place of others. Its
// files have the suffix .cleaned until Swap. Exactly one of Swap and Discard is
// called.
type CleanedSegment struct {
	c       *Cleaning
	base    int64
	file    vfs.File
	index   *indexBuilder
	aborted []AbortedTxn
	out     []byte // appended and not in the file yet
	size    int64  // with out
	written int64
	// endedBelow is one past the last transaction marker that was left out.
	endedBelow int64
}

// NewSegment begins a segment at base, which is that of the first segment that it
// replaces. size is the size of all that it replaces: the indexes of what is left of
// them stay within segment.index.bytes, by entries that are further apart.
func (c *Cleaning) NewSegment(base, size int64) (*CleanedSegment, error) {
	cfg := c.l.cfg.Load()
	interval := int64(cfg.IndexIntervalBytes)
	if n := int64(cfg.SegmentIndexBytes/timeEntrySize) - 1; n > 0 {
		interval = max(interval, size/n)
	}
	s := &CleanedSegment{c: c, base: base, index: newIndexBuilder(base, int(interval)), out: c.out[:0]}
	// What a round left that failed is not to be mixed with this one.
	if err := s.remove(); err != nil {
		return nil, c.l.ioError(fmt.Sprintf("removing leftovers of segment %d", base), err)
	}
	f, err := c.l.env.fs.OpenFile(s.name(suffixLog), openNew, 0o644)
	if err != nil {
		return nil, c.l.ioError(fmt.Sprintf("creating the compacted segment %d", base), err)
	}
	s.file = f
	return s, nil
}

func (s *CleanedSegment) name(suffix string) string {
	return s.c.l.path(s.base, suffix+suffixCleaned)
}

// Size is how many bytes were appended.
func (s *CleanedSegment) Size() int64 { return s.size }

// NextOffset is one past the last offset that was appended, the base at first.
func (s *CleanedSegment) NextOffset() int64 { return s.index.next }

// Buffer is memory to append a batch to, for Append.
func (s *CleanedSegment) Buffer() []byte { return s.out }

// Append takes out, which is Buffer with at most one whole batch added.
func (s *CleanedSegment) Append(out []byte) error {
	b := out[len(s.out):]
	if len(b) == 0 {
		return nil
	}
	info, err := batch.Peek(b)
	if err != nil {
		return err
	}
	info.Pos = int(s.size)
	if err := inSegment(&info, s.base, s.index.next); err != nil {
		return err
	}
	s.size += int64(len(b))
	if s.size > 1<<31-1 {
		return kafka.RecordListTooLarge.Errorf("%s: what compaction leaves of segment %d has more bytes than a segment can have", s.c.l.tp, s.base)
	}
	s.index.add(&info)
	s.out = out
	if len(s.out) < len(s.c.buf) {
		return nil
	}
	return s.flush()
}

// AddAborted notes an aborted transaction whose marker is in the segment.
func (s *CleanedSegment) AddAborted(t AbortedTxn) { s.aborted = append(s.aborted, t) }

// DropMarker notes that a transaction marker at offset is left out. A producer snapshot
// from before it may have the transaction, which a start with that snapshot would find
// open for ever, so such snapshots go first.
func (s *CleanedSegment) DropMarker(offset int64) { s.endedBelow = max(s.endedBelow, offset+1) }

// dropStaleSnapshots removes the producer snapshots from before the markers that were
// left out.
func (s *CleanedSegment) dropStaleSnapshots() error {
	l := s.c.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	return l.removeSnapshots(func(offset int64) bool { return offset < s.endedBelow })
}

func (s *CleanedSegment) flush() error {
	if err := s.c.l.dir.admitWork(len(s.out)); err != nil {
		return err
	}
	if err := writeFull(s.file, s.out, s.written); err != nil {
		return s.c.l.ioError(fmt.Sprintf("writing the compacted segment %d", s.base), err)
	}
	s.written += int64(len(s.out))
	s.out = s.out[:0]
	return nil
}

// Discard removes what was written. An error is not worth reporting twice: the next
// round and the next start remove it too.
func (s *CleanedSegment) Discard() {
	if s.file != nil {
		_ = s.file.Close() // nothing in it is kept
		s.file = nil
	}
	if s.c.l.err() == nil {
		if err := s.remove(); err != nil {
			s.c.l.env.logger.Warn("leftovers of a compaction could not be removed", "partition", s.c.l.tp.String(), "segment", s.base, "error", err)
		}
	}
}

func (s *CleanedSegment) remove() error {
	for _, suffix := range segmentSuffixes {
		if err := ignoreMissing(s.c.l.env.fs.Remove(s.name(suffix))); err != nil {
			return err
		}
	}
	return nil
}

// finish makes all files of the segment durable, under their .cleaned names. Its log gets
// the time at which the last one that it replaces was written, by which records without a
// timestamp expire.
func (s *CleanedSegment) finish(modified time.Time) error {
	l := s.c.l
	if len(s.out) > 0 {
		if err := s.flush(); err != nil {
			return err
		}
	}
	err := s.file.Sync()
	err = errors.Join(err, s.file.Close())
	s.file = nil
	s.c.out = s.out
	if err != nil {
		return l.dir.fail(fmt.Sprintf("%s: syncing the compacted segment %d", l.tp, s.base), err)
	}
	if err := l.env.fs.Chtimes(s.name(suffixLog), modified); err != nil {
		return l.ioError(fmt.Sprintf("setting the time of the compacted segment %d", s.base), err)
	}
	s.index.addTime()
	if err := s.writeIndex(suffixIndex, s.index.offsetBytes()); err != nil {
		return err
	}
	if err := s.writeIndex(suffixTimeIndex, s.index.timeBytes()); err != nil {
		return err
	}
	if len(s.aborted) > 0 {
		var b []byte
		for _, t := range s.aborted {
			b = appendTxnEntry(b, t)
		}
		if err := s.writeIndex(suffixTxnIndex, b); err != nil {
			return err
		}
	}
	if err := s.removeForeign(); err != nil {
		return l.ioError("removing leftovers of an earlier compaction", err)
	}
	if err := s.dropStaleSnapshots(); err != nil {
		return err
	}
	// The names must be there before the first of them changes: a .swap without its
	// transaction index would be believed. And the stale snapshots must not come back.
	if err := l.env.fs.SyncDir(l.Folder()); err != nil {
		return l.dir.fail(fmt.Sprintf("%s: syncing the folder", l.tp), err)
	}
	return nil
}

// removeForeign removes the .cleaned files of other segments, which only a failed
// removal can have left: a restart that finds one takes a .swap above it for
// unfinished.
func (s *CleanedSegment) removeForeign() error {
	l := s.c.l
	entries, err := l.env.fs.ReadDir(l.Folder())
	if err != nil {
		return err
	}
	for _, e := range entries {
		base, _, ok := parseOffsetName(e.Name())
		if !strings.HasSuffix(e.Name(), suffixCleaned) || ok && base == s.base {
			continue
		}
		if err := l.removeNamed(e.Name()); err != nil {
			return err
		}
	}
	return nil
}

func (s *CleanedSegment) writeIndex(suffix string, data []byte) error {
	l := s.c.l
	f, err := l.env.fs.OpenFile(s.name(suffix), openNew, 0o644)
	if err != nil {
		return l.ioError(fmt.Sprintf("creating an index of the compacted segment %d", s.base), err)
	}
	if len(data) > 0 {
		if err = writeFull(f, data, 0); err != nil {
			_ = f.Close() // the write is what failed
			return l.ioError(fmt.Sprintf("writing an index of the compacted segment %d", s.base), err)
		}
	}
	if err = errors.Join(f.Sync(), f.Close()); err != nil {
		return l.dir.fail(fmt.Sprintf("%s: syncing an index of the compacted segment %d", l.tp, s.base), err)
	}
	return nil
}

// Swap puts s in the place of the n segments from the first on, durably. After an
// error nothing of s is left, or the directory is offline and a restart completes
// the swap or undoes it.
func (c *Cleaning) Swap(first, n int, s *CleanedSegment) error {
	last := c.segs[first+n-1]
	invariant.Check(s.base == c.segs[first].base, "%s: compacted segment %d takes the place of %d", c.l.tp, s.base, c.segs[first].base)
	var err error
	if n > 1 && s.index.next <= last.base {
		err = fmt.Errorf("%s: compacted segment %d ends at %d and does not reach %d", c.l.tp, s.base, s.index.next, last.base)
	}
	modified := int64(0)
	if err == nil {
		modified, err = c.ModTime(first + n - 1)
	}
	if err == nil {
		err = s.finish(time.UnixMilli(modified))
	}
	if err == nil {
		err = c.swap(first, n, s)
	}
	if err != nil {
		s.Discard()
	}
	return err
}

func (c *Cleaning) swap(first, n int, s *CleanedSegment) error {
	l := c.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	if err := c.Check(); err != nil {
		return err
	}
	v := l.view.Load()
	at := v.floor(s.base)
	for i := range n {
		if at+i >= len(v.segs)-1 || v.segs[at+i] != c.segs[first+i] {
			return fmt.Errorf("%s: %w", l.tp, ErrCleaningAborted)
		}
	}
	old := v.segs[at : at+n]
	l.gen.Add(1)
	err := l.renameSwap(s, old)
	if err == nil {
		segs := make([]*segment, 0, len(v.segs)-n+1)
		segs = append(append(segs, v.segs[:at]...), s.install(c.ends[first+n-1], old[n-1].jitter))
		l.view.Store(&view{append(segs, v.segs[at+n:]...)})
		l.dropSnapshots(func(o int64) bool { return o > s.base && o <= old[n-1].base })
	}
	l.gen.Add(1)
	if err != nil {
		// Half a swap: which files have which name is for a restart to find out.
		l.broken = l.dir.fail(fmt.Sprintf("%s: putting the compacted segment %d in place", l.tp, s.base), err)
		return l.broken
	}
	c.gen = l.gen.Load()
	return nil
}

// renameSwap renames the files, in the order that lets a crash at any point be
// completed or undone (docs/architecture/compaction.md). Every SyncDir is a point
// that power loss cannot cross backwards.
func (l *Log) renameSwap(s *CleanedSegment, old []*segment) error {
	suffixes := []string{suffixTxnIndex, suffixTimeIndex, suffixIndex, suffixLog}
	if len(s.aborted) == 0 {
		suffixes = suffixes[1:]
	}
	for _, suffix := range suffixes {
		name := l.path(s.base, suffix)
		if err := l.env.fs.Rename(name+suffixCleaned, name+suffixSwap); err != nil {
			return err
		}
	}
	if err := l.env.fs.SyncDir(l.Folder()); err != nil {
		return err
	}
	for _, o := range old {
		if err := l.setAside(o); err != nil {
			return err
		}
	}
	if err := l.env.fs.SyncDir(l.Folder()); err != nil {
		return err
	}
	// The log goes first, and durably: as long as it is a .swap, a restart removes
	// what has the segment's plain names.
	for i := len(suffixes) - 1; i >= 0; i-- {
		name := l.path(s.base, suffixes[i])
		if err := l.env.fs.Rename(name+suffixSwap, name); err != nil {
			return err
		}
		if suffixes[i] == suffixLog {
			if err := l.env.fs.SyncDir(l.Folder()); err != nil {
				return err
			}
		}
	}
	l.dirDirty = true
	return nil
}

// setAside marks the files of a segment that a compacted one replaces as deleted.
func (l *Log) setAside(s *segment) error {
	l.dropFiles(s)
	var names []string
	for _, suffix := range []string{suffixLog, suffixIndex, suffixTimeIndex, suffixTxnIndex} {
		name := l.path(s.base, suffix)
		err := l.env.fs.Rename(name, name+suffixDeleted)
		if err == nil {
			names = append(names, name+suffixDeleted)
		} else if suffix == suffixLog || !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	l.retireFiles(s)
	l.env.tasks.removeLater(l.dir, l.cfg.Load().FileDeleteDelayMs, names...)
	return nil
}

// install is the memory of the segment, which ends where the last one that it
// replaces ended.
func (s *CleanedSegment) install(end, jitter int64) *segment {
	x := s.index
	seg := newSegment(s.base, s.c.l.now())
	seg.jitter = jitter
	var last uint64
	if n := len(x.offsets); n > 0 {
		last = x.offsets[n-1]
	}
	seg.index.set(int32(len(x.offsets)), last)
	var lastTime timeEntry
	if n := len(x.times); n > 0 {
		lastTime = x.times[n-1]
	}
	seg.times.set(int32(len(x.times)), lastTime)
	seg.maxTs, seg.maxTsOff, seg.tsKnown = x.maxTs, x.maxOff, true
	seg.hasTxns.Store(len(s.aborted) > 0)
	seg.publish(end, s.size)
	return seg
}

// swapRange is what one .swap log replaces: the segments with a base in
// [base, end). Its own base always counts, however little is left of it.
type swapRange struct{ base, end int64 }

// swapRanges reads how far the .swap logs reach.
func (l *Log) swapRanges(swaps []string) ([]swapRange, error) {
	var ranges []swapRange
	for _, name := range swaps {
		base, suffix, _ := parseOffsetName(name)
		if suffix != suffixLog+suffixSwap {
			continue
		}
		end, err := l.endOfFile(name, base)
		if err != nil {
			return nil, err
		}
		ranges = append(ranges, swapRange{base, max(end, base+1)})
	}
	return ranges, nil
}

// replaced says whether a file, named as readdir returned it, belongs to a segment
// that a .swap replaces. A producer snapshot at the first base stays true.
func replaced(name string, ranges []swapRange) bool {
	base, suffix, ok := parseOffsetName(name)
	if !ok || strings.HasSuffix(name, suffixSwap) {
		return false
	}
	for _, r := range ranges {
		if base < r.base || base >= r.end {
			continue
		}
		switch suffix {
		case suffixLog, suffixIndex, suffixTimeIndex, suffixTxnIndex:
			return true
		case suffixSnapshot:
			return base > r.base
		}
	}
	return false
}

// finishNames gives the .swap files their names, logs first: an index that is found
// without its .swap log belongs to a log that has its name already.
func (l *Log) finishNames(swaps []string) error {
	rename := func(logs bool) error {
		for _, name := range swaps {
			if _, suffix, _ := parseOffsetName(name); (suffix == suffixLog+suffixSwap) != logs {
				continue
			}
			l.env.logger.Info("completing an interrupted swap", "partition", l.tp.String(), "file", name)
			from := filepath.Join(l.Folder(), name)
			if err := l.env.fs.Rename(from, strings.TrimSuffix(from, suffixSwap)); err != nil {
				return err
			}
		}
		return l.env.fs.SyncDir(l.Folder())
	}
	if err := rename(true); err != nil {
		return err
	}
	return rename(false)
}
