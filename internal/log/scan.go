package log

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/vfs"
)

// scanWindow is how much of a segment is read at once when all of it is looked at.
const scanWindow = 1 << 20

// scanBatches reads a file from a batch's beginning on, and calls each for the
// whole and valid batches of every window; Pos of the infos counts from the
// beginning of the file. It returns where the valid part ends; damaged says that
// something follows there that is not a whole and valid batch, and why. each may
// stop the scan by an error, which is returned.
func scanBatches(f io.ReaderAt, from, size int64, each func(infos []batch.Info) error) (end int64, damaged, err error) {
	var infos []batch.Info
	buf := make([]byte, min(scanWindow, max(size-from, 0)))
	pos := from
	for pos < size {
		b := buf[:min(int64(len(buf)), size-pos)]
		if err := readFull(f, b, pos); err != nil {
			return pos, nil, err
		}
		infos, damaged = batch.AppendInfos(infos[:0], b)
		used := 0
		if n := len(infos); n > 0 {
			used = infos[n-1].End()
			for i := range infos {
				infos[i].Pos += int(pos)
			}
			if err := each(infos); err != nil {
				return pos, nil, err
			}
		}
		pos += int64(used)
		if damaged != nil {
			return pos, damaged, nil
		}
		if used > 0 {
			continue
		}
		// Not one whole batch: read as much as it says it has, if the file has it.
		n, ok, err := batch.NextSize(b)
		if err != nil {
			return pos, err, nil
		}
		if !ok || int64(n) > size-pos {
			return pos, kafka.CorruptMessage.Errorf("batch at byte %d is cut off at byte %d", pos, size), nil
		}
		buf = make([]byte, n)
	}
	return pos, nil, nil
}

// indexBuilder makes the indexes of a segment from its batches, as appending them
// would.
type indexBuilder struct {
	base, interval int64
	since          int64
	offsets        []uint64
	times          []timeEntry
	maxTs, maxOff  int64
	next           int64 // one past the last offset
}

func newIndexBuilder(base int64, interval int) *indexBuilder {
	return &indexBuilder{base: base, interval: int64(interval), maxTs: NoTimestamp, maxOff: base, next: base}
}

func (x *indexBuilder) add(b *batch.Info) {
	if b.MaxTimestamp > x.maxTs {
		x.maxTs, x.maxOff = b.MaxTimestamp, b.LastOffset
	}
	if x.since > x.interval {
		x.offsets = append(x.offsets, relPos(b.LastOffset-x.base, int64(b.Pos)))
		x.addTime()
		x.since = 0
	}
	x.since += int64(b.Size)
	x.next = b.LastOffset + 1
}

func (x *indexBuilder) addTime() {
	if n := len(x.times); x.maxTs >= 0 && (n == 0 || x.maxTs > x.times[n-1].ts) {
		x.times = append(x.times, timeEntry{x.maxTs, x.maxOff - x.base})
	}
}

// offsetBytes and timeBytes are the contents of the files.
func (x *indexBuilder) offsetBytes() []byte {
	b := make([]byte, 0, len(x.offsets)*offsetEntrySize)
	for _, e := range x.offsets {
		b = append(b, byte(e>>56), byte(e>>48), byte(e>>40), byte(e>>32), byte(e>>24), byte(e>>16), byte(e>>8), byte(e))
	}
	return b
}

func (x *indexBuilder) timeBytes() []byte {
	b := make([]byte, 0, len(x.times)*timeEntrySize)
	for _, e := range x.times {
		t, r := uint64(e.ts), uint32(e.rel)
		b = append(b, byte(t>>56), byte(t>>48), byte(t>>40), byte(t>>32), byte(t>>24), byte(t>>16), byte(t>>8), byte(t), byte(r>>24), byte(r>>16), byte(r>>8), byte(r))
	}
	return b
}

// install makes the built indexes those of the segment. With durable the files
// are replaced so that a crash leaves the old or the new ones; without it they are
// written in place, for segments that a restart would build again anyway.
func (l *Log) install(s *segment, x *indexBuilder, durable bool) error {
	if err := l.replaceIndex(&s.indexFile, l.path(s.base, suffixIndex), x.offsetBytes(), durable); err != nil {
		return err
	}
	var last uint64
	if n := len(x.offsets); n > 0 {
		last = x.offsets[n-1]
	}
	s.index.set(int32(len(x.offsets)), last)
	if err := l.replaceIndex(&s.timeFile, l.path(s.base, suffixTimeIndex), x.timeBytes(), durable); err != nil {
		return err
	}
	var lastTime timeEntry
	if n := len(x.times); n > 0 {
		lastTime = x.times[n-1]
	}
	s.times.set(int32(len(x.times)), lastTime)
	s.maxTs, s.maxTsOff, s.tsKnown = x.maxTs, x.maxOff, true
	s.bytesSinceIndex = x.since
	s.indexesDirty = !durable
	return nil
}

// replaceIndex writes an index file anew. A reader may open it at any time: after the
// rename nobody gets the old one any more.
func (l *Log) replaceIndex(slot *fileSlot, name string, data []byte, durable bool) error {
	write := writeInPlace
	if durable {
		write = vfs.WriteFileAtomic
	}
	l.env.files.drop(slot)
	err := write(l.env.fs, name, data)
	l.env.files.drop(slot)
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}

// writeInPlace replaces a file's content without making it durable. One that has the
// content is left alone: most indexes that a recovery builds are there already.
func writeInPlace(fsys vfs.FS, name string, data []byte) error {
	if same, err := holdsExactly(fsys, name, data); err != nil || same {
		return err
	}
	f, err := fsys.OpenFile(name, openCreate, 0o644)
	if err != nil {
		return err
	}
	err = f.Truncate(0)
	if err == nil && len(data) > 0 {
		err = writeFull(f, data, 0)
	}
	return errors.Join(err, f.Close())
}

// holdsExactly says whether a file has this content and nothing else.
func holdsExactly(fsys vfs.FS, name string, data []byte) (bool, error) {
	info, err := fsys.Stat(name)
	if err != nil || info.Size() != int64(len(data)) {
		return false, ignoreMissing(err)
	}
	if len(data) == 0 {
		return true, nil
	}
	have, err := vfs.ReadFile(fsys, name)
	return bytes.Equal(have, data), err
}

// repair builds the offset and time index of a segment again while the log is in
// use, because a lookup found one of them damaged or missing.
func (l *Log) repair(s *segment) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.err(); err != nil {
		return err
	}
	return l.repairLocked(s)
}

func (l *Log) repairLocked(s *segment) error {
	if !l.holds(s) {
		return nil // its files are another segment's by now
	}
	l.env.logger.Warn("rebuilding damaged or missing indexes", "partition", l.tp.String(), "segment", s.base, "bytes", s.size())
	x := newIndexBuilder(s.base, l.cfg.Load().IndexIntervalBytes)
	err := l.scanSegment(s, 0, s.size(), func(infos []batch.Info) error {
		for i := range infos {
			x.add(&infos[i])
		}
		return nil
	})
	if err != nil {
		return err
	}
	x.addTime()
	if err := l.install(s, x, true); err != nil {
		return l.ioError("rebuilding indexes", err)
	}
	return nil
}

// holds says whether the segment is still in the list.
func (l *Log) holds(s *segment) bool {
	v := l.view.Load()
	return v.segs[v.floor(s.base)] == s
}

// repairTxns builds the transaction index of a segment again, from the producer
// state at its base.
func (l *Log) repairTxns(s *segment) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.err(); err != nil {
		return err
	}
	if !l.holds(s) {
		return nil
	}
	state, err := l.producersAt(s.base)
	if err != nil {
		return err
	}
	var aborted []AbortedTxn
	err = l.scanSegment(s, 0, s.size(), func(infos []batch.Info) error {
		list, err := replay(state, infos)
		aborted = append(aborted, list...)
		return err
	})
	if err != nil {
		return err
	}
	return l.installTxns(s, aborted)
}

// scanSegment calls each for the valid batches of the first size bytes of a
// segment from position from on. Damage ends the scan and is logged: what follows
// it cannot be used, but it lies below the recovery point and is kept.
func (l *Log) scanSegment(s *segment, from, size int64, each func(infos []batch.Info) error) error {
	f, err := l.openLog(s)
	if err != nil {
		return l.ioError("opening a segment", err)
	}
	defer f.unpin()
	end, damaged, err := scanBatches(f.File, from, size, each)
	if err != nil {
		return l.ioError(fmt.Sprintf("reading segment %d", s.base), err)
	}
	if damaged != nil {
		l.env.logger.Error("segment is damaged below the recovery point", "partition", l.tp.String(), "segment", s.base, "position", end, "error", damaged)
	}
	return nil
}

// installTxns replaces the transaction index of a segment.
func (l *Log) installTxns(s *segment, aborted []AbortedTxn) error {
	name := l.path(s.base, suffixTxnIndex)
	l.env.files.drop(&s.txnFile)
	if len(aborted) == 0 {
		had := s.hasTxns.Swap(false)
		s.txns.Store(&aborted)
		s.txnDone, s.txnLoad = 0, true
		if !had {
			return nil
		}
		if err := ignoreMissing(l.env.fs.Remove(name)); err != nil {
			return l.ioError("removing "+name, err)
		}
		return nil
	}
	var b []byte
	for _, t := range aborted {
		b = appendTxnEntry(b, t)
	}
	if err := vfs.WriteFileAtomic(l.env.fs, name, b); err != nil {
		return l.ioError("writing "+name, err)
	}
	s.txns.Store(&aborted)
	s.txnDone, s.txnLoad = len(aborted), true
	s.hasTxns.Store(true)
	return nil
}

// inSegment says whether a batch may follow one that ends at next in the segment
// with the given base (docs/formats/segment.md).
func inSegment(b *batch.Info, base, next int64) error {
	switch {
	case b.Magic == batch.MagicV2 && b.BaseOffset < next, b.LastOffset < next:
		return kafka.CorruptMessage.Errorf("batch at byte %d has offsets %d to %d, expected at least %d", b.Pos, b.BaseOffset, b.LastOffset, next)
	case b.LastOffset < b.BaseOffset, b.LastOffset-base > math.MaxInt32:
		return kafka.CorruptMessage.Errorf("batch at byte %d has offsets %d to %d, out of the range of segment %d", b.Pos, b.BaseOffset, b.LastOffset, base)
	}
	return nil
}
