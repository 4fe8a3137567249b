package log

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/producer"
)

// finishSwaps removes temporary files and completes or undoes a compaction that
// was interrupted while it put its segments in place. changed says that the folder
// has to be listed again.
func (l *Log) finishSwaps(entries []fs.DirEntry) (changed bool, err error) {
	var swaps, cleaned []string
	minCleaned := int64(1<<63 - 1)
	for _, e := range entries {
		name := e.Name()
		switch {
		case e.IsDir():
		case strings.HasSuffix(name, suffixDeleted) && !strings.HasSuffix(name, suffixMetadataSnapshotDeleted),
			strings.HasSuffix(name, suffixIndex+".tmp"), strings.HasSuffix(name, suffixTimeIndex+".tmp"), strings.HasSuffix(name, suffixTxnIndex+".tmp"):
			changed = true
			if err := l.removeNamed(name); err != nil {
				return changed, err
			}
		case strings.HasSuffix(name, suffixCleaned):
			cleaned = append(cleaned, name)
			if base, _, ok := parseOffsetName(name); ok {
				minCleaned = min(minCleaned, base)
			}
		case strings.HasSuffix(name, suffixSwap):
			swaps = append(swaps, name)
		}
	}
	if len(swaps)+len(cleaned) == 0 {
		return changed, nil
	}
	// A swap file at or above a .cleaned one belongs to an operation that did not
	// come to its end.
	valid := swaps[:0]
	for _, name := range swaps {
		if base, _, ok := parseOffsetName(name); !ok || base >= minCleaned {
			if err := l.removeNamed(name); err != nil {
				return true, err
			}
			continue
		}
		valid = append(valid, name)
	}
	if len(cleaned) > 0 && len(valid) < len(swaps) {
		// Without the .cleaned files that tell them for unfinished, .swap files that
		// came back would be believed.
		if err := l.env.fs.SyncDir(l.Folder()); err != nil {
			return true, err
		}
	}
	for _, name := range cleaned {
		if err := l.removeNamed(name); err != nil {
			return true, err
		}
	}
	return true, l.swapIn(entries, valid)
}

func (l *Log) removeNamed(name string) error {
	return ignoreMissing(l.env.fs.Remove(filepath.Join(l.Folder(), name)))
}

// swapIn removes the segments that the .swap files replace and gives these their
// names.
func (l *Log) swapIn(entries []fs.DirEntry, swaps []string) error {
	ranges, err := l.swapRanges(swaps)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() || !replaced(e.Name(), ranges) {
			continue
		}
		l.env.logger.Info("removing a segment file that was compacted", "partition", l.tp.String(), "file", e.Name())
		if err := l.removeNamed(e.Name()); err != nil {
			return err
		}
	}
	// What was removed must not come back beside what takes its place.
	if err := l.env.fs.SyncDir(l.Folder()); err != nil {
		return err
	}
	return l.finishNames(swaps)
}

// endOfFile walks a file of batches and returns one past its last offset.
func (l *Log) endOfFile(name string, base int64) (int64, error) {
	f, err := l.env.fs.Open(filepath.Join(l.Folder(), name))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return 0, err
	}
	next := base
	_, damaged, err := scanBatches(f, 0, size, func(infos []batch.Info) error {
		next = infos[len(infos)-1].LastOffset + 1
		return nil
	})
	if err == nil && damaged != nil {
		l.env.logger.Warn("swap file is damaged", "partition", l.tp.String(), "file", name, "error", damaged)
	}
	return next, err
}

// recover checks the log after an unclean stop, batch by batch from the segment on
// that holds the recovery point. The segments before are durable with their
// indexes. The log ends before the first batch that is not whole and valid; l.mu
// is held.
func (l *Log) recover(recoveryPoint int64) error {
	v := l.view.Load()
	first := 0
	if recoveryPoint > v.segs[0].base {
		first = v.floor(recoveryPoint)
	}
	if err := l.loadEpochs(); err != nil {
		return err
	}
	state, err := l.producersAt(v.segs[first].base)
	if err != nil {
		return err
	}
	// What a snapshot at or below the recovery point speaks of is durable.
	l.dropSnapshots(func(offset int64) bool { return offset > max(v.segs[first].base, recoveryPoint) })
	for i := first; i < len(v.segs); i++ {
		s := v.segs[i]
		state.SetEndOffset(max(state.EndOffset(), s.base))
		if i > first {
			l.producers = state
			if err := l.writeSnapshot(s.base); err != nil {
				return l.ioError("writing a producer snapshot", err)
			}
			l.producers = nil
		}
		cut, err := l.recoverSegment(s, state)
		if err != nil {
			return err
		}
		next, _ := s.end()
		if i+1 == len(v.segs) {
			break
		}
		if cut || v.segs[i+1].base < next || l.lostBetween(next, v.segs[i+1].base, recoveryPoint) {
			if err := l.dropFrom(v, i+1); err != nil {
				return err
			}
			break
		}
		s.publish(v.segs[i+1].base, s.size())
	}
	return l.endRecovery(state)
}

// lostBetween says whether the records between the end of a segment and the base
// of the next are lost: whole batches at the end of an unsynced segment, while the
// next segment survived. Below the recovery point nothing can be lost, below the
// log start nothing matters, and where compaction was offsets are missing for good
// reason (docs/architecture/compaction.md).
func (l *Log) lostBetween(end, nextBase, recoveryPoint int64) bool {
	return end < nextBase && nextBase > max(recoveryPoint, l.start.Load(), l.gapsBelow)
}

// endRecovery makes the recovered log usable.
func (l *Log) endRecovery(state *producer.State) error {
	next := l.LogEndOffset()
	l.lowerPoint(next)
	if next < l.start.Load() {
		return l.restartAt(l.start.Load())
	}
	l.trimEpochs()
	state.SetEndOffset(next)
	l.producers = state
	// A snapshot at the end that the life before wrote may not be durable.
	l.snapshotDirty = true
	if !state.IsEmpty() {
		if err := l.writeSnapshot(next); err != nil {
			return l.ioError("writing a producer snapshot", err)
		}
	}
	return l.finishLoad(state)
}

// recoverSegment checks one segment, cuts off what is damaged, and builds its
// indexes, epochs and producer states. cut says that something was cut off.
func (l *Log) recoverSegment(s *segment, state *producer.State) (cut bool, err error) {
	size := s.size()
	f, err := l.openLog(s)
	if err != nil {
		return false, l.ioError("opening a segment", err)
	}
	defer f.unpin()
	x := newIndexBuilder(s.base, l.cfg.Load().IndexIntervalBytes)
	t := l.epochs.Load()
	var aborted []AbortedTxn
	var unfit error
	valid := int64(0)
	_, damaged, err := scanBatches(f.File, 0, size, func(infos []batch.Info) error {
		for i := range infos {
			if unfit = inSegment(&infos[i], s.base, x.next); unfit != nil {
				infos = infos[:i]
				break
			}
			x.add(&infos[i])
			valid = int64(infos[i].End())
		}
		t = t.extend(infos)
		list, err := replay(state, infos)
		aborted = append(aborted, list...)
		if err == nil {
			err = unfit
		}
		return err
	})
	if unfit != nil {
		damaged, err = unfit, nil
	}
	if err != nil {
		return false, l.ioError(fmt.Sprintf("reading segment %d", s.base), err)
	}
	if valid < size {
		l.env.logger.Warn("cutting off the invalid end of a segment", "partition", l.tp.String(), "segment", s.base, "position", valid, "bytes", size-valid, "cause", damaged)
		if err := f.Truncate(valid); err != nil {
			return false, l.ioError(fmt.Sprintf("truncating segment %d", s.base), err)
		}
	}
	if t != l.epochs.Load() {
		if err := l.writeEpochs(t); err != nil {
			return false, err
		}
		l.epochs.Store(t)
	}
	x.addTime()
	if err := l.install(s, x, false); err != nil {
		return false, l.ioError("rebuilding indexes", err)
	}
	if err := l.installTxns(s, aborted); err != nil {
		return false, err
	}
	s.publish(x.next, valid)
	return valid < size, nil
}

// dropFrom removes the segments from index i on, whose offsets lie beyond the end
// of a log that was cut.
func (l *Log) dropFrom(v *view, i int) error {
	for j := len(v.segs) - 1; j >= i; j-- {
		s := v.segs[j]
		l.env.logger.Warn("removing a segment beyond the end of the recovered log", "partition", l.tp.String(), "segment", s.base)
		l.dropFiles(s)
		if err := l.removeSegmentFiles(s.base); err != nil {
			return l.ioError(fmt.Sprintf("removing segment %d", s.base), err)
		}
		l.retireFiles(s)
		base := s.base
		l.dropSnapshots(func(offset int64) bool { return offset >= base })
	}
	if err := l.env.fs.SyncDir(l.Folder()); err != nil {
		return l.dir.fail(fmt.Sprintf("%s: syncing the folder", l.tp), err)
	}
	l.view.Store(&view{v.segs[:i:i]})
	return nil
}
