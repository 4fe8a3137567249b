package log

import (
	"errors"
	"fmt"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/producer"
)

// TruncateTo removes everything at and after offset: what a follower does with
// records that its leader does not have. A batch that holds the offset goes as a
// whole. It reports whether something was removed.
// Below the high watermark nothing should be cut; it is allowed, and logged,
// because an unclean election may ask for it. Damage that stands between a lookup and
// offset goes too, with what lies behind it.
func (l *Log) TruncateTo(offset int64) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return false, err
	}
	if offset < 0 {
		return false, kafka.OffsetOutOfRange.Errorf("%s: cannot truncate to the negative offset %d", l.tp, offset)
	}
	if offset >= l.LogEndOffset() {
		// An epoch that was assigned at the end may have been another leader's.
		l.trimEpochs()
		return false, nil
	}
	if hw := l.hw.Load(); offset < hw {
		l.env.logger.Warn("truncating below the high watermark", "partition", l.tp.String(), "offset", offset, "highWatermark", hw)
	}
	v := l.view.Load()
	if offset < v.segs[0].base {
		if err := l.lowerPoints(offset); err != nil {
			return false, err
		}
		return true, l.restart(offset)
	}
	c, err := l.findCut(v, offset)
	if err != nil {
		return false, err
	}
	unpin, err := l.pinForCut(v.segs[c.seg])
	if err != nil {
		return false, err
	}
	defer unpin()
	state, err := l.prepareCut(c.offset)
	if err != nil {
		return false, err
	}
	l.gen.Add(1)
	err = l.truncate(v, c, state)
	l.gen.Add(1)
	if err != nil {
		// Half a truncation leaves segments that contradict the memory.
		l.broken = l.dir.fail(fmt.Sprintf("%s: truncating to offset %d", l.tp, offset), err)
		return false, l.broken
	}
	return true, nil
}

// prepareCut does what has to be done before the log is cut to end at offset, and may fail
// without harm: the checkpoints are lowered, the snapshots of what goes are removed, and the
// producers as of offset read.
func (l *Log) prepareCut(offset int64) (*producer.State, error) {
	if err := l.lowerPoints(offset); err != nil {
		return nil, err
	}
	if err := l.removeSnapshots(func(o int64) bool { return o > offset }); err != nil {
		return nil, err
	}
	return l.producersAt(offset)
}

// truncate cuts the files, makes that durable, and then the memory; l.mu is held
// and readers wait.
func (l *Log) truncate(v *view, c cutPoint, state *producer.State) error {
	i, s, offset := c.seg, v.segs[c.seg], c.offset
	for j := len(v.segs) - 1; j > i; j-- {
		if err := l.markDeleted(v.segs[j]); err != nil {
			return err
		}
	}
	if err := l.cutSegment(s, offset, c.size); err != nil {
		return err
	}
	l.tail.Store(nil)
	s.publish(offset, c.size)
	l.view.Store(&view{v.segs[: i+1 : i+1]})
	l.lowerStart(offset)
	l.flushed.Store(min(l.flushed.Load(), offset))
	l.hw.Store(min(l.hw.Load(), offset))
	l.dir.rpDirty.Store(true)
	l.dir.hwDirty.Store(true)
	if err := l.knowTimes(s); err != nil {
		return err
	}
	l.trimEpochs()
	l.producers = state
	l.refreshUnstable(l.hw.Load())
	return nil
}

// cutSegment cuts the log of a segment to size bytes and builds its indexes again
// from what is left, which becomes the active segment.
func (l *Log) cutSegment(s *segment, offset, size int64) error {
	f, err := l.openLog(s)
	if err != nil {
		return err
	}
	defer f.unpin()
	if err := f.Truncate(size); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := l.cutIndexes(s, offset); err != nil {
		return err
	}
	if size == 0 {
		s.created, s.rollTsKnown = l.now(), false
	}
	// A removed segment must not come back behind what is appended from here on, nor a
	// snapshot of what was cut.
	l.dirDirty = false
	return l.env.fs.SyncDir(l.Folder())
}

// cutIndexes removes the entries at and after offset from all indexes of s.
func (l *Log) cutIndexes(s *segment, offset int64) error {
	s.forget()
	if err := l.flushIndexes(s); err != nil {
		return err
	}
	f, err := l.openIndex(s)
	if err != nil {
		return err
	}
	defer f.unpin()
	n, err := countBelow(f.File, s.index.entries, offset-s.base)
	if err != nil {
		return err
	}
	if err := f.Truncate(int64(n) * offsetEntrySize); err != nil {
		return err
	}
	n, last, err := countOffsetEntries(f.File)
	if err != nil {
		return err
	}
	s.index.set(n, last)
	if err := l.cutTimes(s, offset); err != nil {
		return err
	}
	s.bytesSinceIndex = 0
	s.indexesDirty = true
	return l.cutTxns(s, offset)
}

// cutTimes removes the time index entries at and after offset. The largest
// timestamp is read again from what follows the last entry.
func (l *Log) cutTimes(s *segment, offset int64) error {
	f, err := l.openTimes(s)
	if err != nil {
		return err
	}
	defer f.unpin()
	entries, err := readTimeEntries(f.File)
	if errors.Is(err, errIndexDamaged) {
		entries, err = nil, nil
	}
	if err != nil {
		return err
	}
	n := 0
	for n < len(entries) && s.base+entries[n].rel < offset {
		n++
	}
	if err := f.Truncate(int64(n) * timeEntrySize); err != nil {
		return err
	}
	last := timeEntry{}
	if n > 0 {
		last = entries[n-1]
	}
	s.times.set(int32(n), last)
	s.maxTs, s.maxTsOff, s.tsKnown = s.times.lastTs, s.base+s.times.lastOff, false
	return nil
}

// cutTxns removes the aborted transactions whose marker is gone.
func (l *Log) cutTxns(s *segment, offset int64) error {
	s.txnLoad = false
	s.txns.Store(nil)
	txns, err := l.readTxns(s)
	if err != nil && !errors.Is(err, errIndexDamaged) {
		return err
	}
	n := 0
	for n < len(txns) && txns[n].LastOffset < offset {
		n++
	}
	if n < len(txns) || err != nil {
		return l.installTxns(s, txns[:n:n])
	}
	return l.loadTxns(s)
}

// TruncateFullyAndStartAt empties the log and begins it again at offset: what a
// follower does that has fallen out of its leader's log.
func (l *Log) TruncateFullyAndStartAt(offset int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	if offset < 0 {
		return kafka.OffsetOutOfRange.Errorf("%s: cannot begin at the negative offset %d", l.tp, offset)
	}
	if err := l.lowerPoints(offset); err != nil {
		return err
	}
	return l.restart(offset)
}

// lowerPoints takes back durably, before the log is cut to end at offset, what the checkpoints say
// of offsets from there on; l.mu is held. What is appended there later is not durable, nor
// compacted, and a recovery that believed so would take a hole for records that are there.
// Nor is it below the log start, where a recovery would remove it.
func (l *Log) lowerPoints(offset int64) error {
	if err := l.lowerCleanPoint(offset); err != nil {
		return err
	}
	v := l.view.Load()
	if l.flushed.Load() > offset {
		// The batch that holds offset goes as a whole: the segment's base is on the safe side.
		l.lowerPoint(min(offset, v.segs[v.floor(offset)].base))
	}
	l.lowerStart(max(offset, v.segs[0].base))
	return l.settlePoints()
}

// lowerPoint lowers the recovery point in memory; settlePoints comes before the next append.
func (l *Log) lowerPoint(offset int64) {
	if l.flushed.Load() > offset {
		l.flushed.Store(offset)
		l.pointBehind = true
	}
}

// lowerStart lowers the log start in memory; settlePoints comes before the next append.
func (l *Log) lowerStart(offset int64) {
	if l.start.Load() > offset {
		l.start.Store(offset)
		l.startBehind = true
	}
}

// settlePoints writes down a recovery point and a log start that were lowered; l.mu is
// held. Those of the metadata log are known from its snapshots and in no checkpoint.
func (l *Log) settlePoints() error {
	if l.tp.Topic == kafka.MetadataTopic {
		return nil
	}
	if l.pointBehind {
		l.dir.rpDirty.Store(true)
		if err := l.dir.writePoints(); err != nil {
			return err
		}
		l.pointBehind = false
	}
	if l.startBehind {
		l.dir.startDirty.Store(true)
		if err := l.dir.writeStarts(); err != nil {
			return err
		}
		l.startBehind = false
	}
	return nil
}

// restart replaces all segments by an empty one at offset; l.mu is held and the log
// is usable.
func (l *Log) restart(offset int64) error {
	if err := l.replaceAll(offset); err != nil {
		return err
	}
	l.producers.Reset(offset)
	l.refreshUnstable(l.hw.Load())
	return l.writeEpochs(&epochTable{})
}

// replaceAll removes every segment and snapshot and begins at offset, without epochs: the
// caller writes that down.
func (l *Log) replaceAll(offset int64) error {
	v := l.view.Load()
	l.gen.Add(1)
	defer l.gen.Add(1)
	err := func() error {
		for j := len(v.segs) - 1; j >= 0; j-- {
			if err := l.markDeleted(v.segs[j]); err != nil {
				return err
			}
		}
		l.dropSnapshots(func(int64) bool { return true })
		if err := l.env.fs.SyncDir(l.Folder()); err != nil {
			return err
		}
		if err := l.createSegmentFiles(offset); err != nil {
			return err
		}
		l.dirDirty = false
		return l.env.fs.SyncDir(l.Folder())
	}()
	if err != nil {
		l.broken = l.dir.fail(fmt.Sprintf("%s: beginning the log again at offset %d", l.tp, offset), err)
		return l.broken
	}
	s := l.freshSegment(offset, l.now())
	s.publish(offset, 0)
	l.tail.Store(nil)
	l.view.Store(&view{[]*segment{s}})
	// Before the generation is even again: whoever compares it takes both or none.
	l.epochs.Store(&epochTable{})
	l.start.Store(offset)
	l.flushed.Store(offset)
	l.hw.Store(offset)
	l.dir.rpDirty.Store(true)
	l.dir.hwDirty.Store(true)
	l.dir.startDirty.Store(true)
	return nil
}

// markDeleted takes the files of a segment out of use: they get a suffix now and
// are removed after file.delete.delay.ms. The log goes first: without it the
// indexes mean nothing to a restart. Names that changed before are made durable
// first, so that of several segments a power loss cannot bring back one from the
// middle: callers go from an end inwards.
func (l *Log) markDeleted(s *segment) error {
	if err := l.settleNames(); err != nil {
		return err
	}
	l.dirDirty = true
	l.dropFiles(s)
	name := l.path(s.base, suffixLog)
	if err := l.env.fs.Rename(name, name+suffixDeleted); ignoreMissing(err) != nil {
		return err
	}
	names := []string{name + suffixDeleted}
	for _, suffix := range []string{suffixIndex, suffixTimeIndex, suffixTxnIndex} {
		name := l.path(s.base, suffix)
		err := l.env.fs.Rename(name, name+suffixDeleted)
		if err == nil {
			names = append(names, name+suffixDeleted)
		} else if ignoreMissing(err) != nil {
			// An index without its log is removed by the next start.
			l.env.logger.Warn("index could not be marked as deleted", "file", name, "error", err)
		}
	}
	l.retireFiles(s)
	l.env.tasks.removeLater(l.dir, l.cfg.Load().FileDeleteDelayMs, names...)
	return nil
}
