package log

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"slices"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/producer"
	"github.com/gregorhq/gregor/internal/vfs"
)

// loadParams is what the directory's checkpoints say about a partition.
type loadParams struct {
	cfg           config.Topic
	start         int64 // checkpointed log start, 0 when there is none
	recoveryPoint int64 // NoOffset when there is none
	hw            int64
	clean         bool // the directory was stopped cleanly
	// compacted says that offsets below cleaned may be missing for good reason.
	compacted bool
	cleaned   int64
}

// openLog lists a partition's folder and makes its Log. After a clean stop no file
// is opened: the log end is the recovery point, and everything else is read when
// the log is first used. Otherwise the log is recovered here.
func (e *env) openLog(d *dataDir, folder string, tp kafka.TopicPartition, kind folderKind, p loadParams) (*Log, error) {
	l := &Log{env: e, dir: d, tp: tp, ours: ownTopic(tp.Topic)}
	l.folder.Store(&folder)
	l.cfg.Store(&p.cfg)
	l.kind.Store(uint32(kind))
	l.unstable.Store(noUnstable)
	l.hw.Store(max(p.hw, 0))
	now := l.now()
	l.flushMs.Store(now)

	l.mu.Lock()
	defer l.mu.Unlock()
	segs, swapped, err := l.list(now)
	if err != nil {
		return nil, l.ioError("listing "+folder, err)
	}
	l.gapsBelow = p.cleaned
	if p.cfg.CleanupCompact || p.compacted && swapped {
		l.gapsBelow = math.MaxInt64
	}
	// What a process wrote that was killed may not be durable yet.
	l.dirDirty = !p.clean
	if len(segs) == 0 {
		if segs, err = l.firstSegment(p.start, now); err != nil {
			return nil, err
		}
		p.clean, p.recoveryPoint = true, NoOffset
	}
	l.view.Store(&view{segs})
	l.start.Store(max(p.start, segs[0].base))
	last := segs[len(segs)-1]
	hint := p.recoveryPoint
	if p.clean && hint >= l.start.Load() && hint >= last.base && (hint > last.base) == (last.size() > 0) {
		last.publish(hint, last.size())
		l.flushed.Store(hint)
		l.boundWatermark()
		return l, nil
	}
	l.flushed.Store(max(p.recoveryPoint, 0))
	if p.clean {
		err = l.load()
	} else {
		err = l.recover(max(p.recoveryPoint, 0))
	}
	if err != nil {
		return nil, err
	}
	return l, nil
}

// ownTopic says whether the cluster itself lives by the topic.
func ownTopic(name string) bool {
	return kafka.InternalTopic(name) || name == kafka.MetadataTopic || name == kafka.RemoteMetadataTopic
}

// list removes what an interrupted operation left and returns the segments by
// what readdir and stat say (docs/formats/segment.md, temporary names). swapped says
// that there were files of segments that others may have replaced.
func (l *Log) list(nowMs int64) (segs []*segment, swapped bool, err error) {
	folder := l.Folder()
	entries, err := l.env.fs.ReadDir(folder)
	if err != nil {
		return nil, false, err
	}
	if swapped, err = l.finishSwaps(entries); err != nil {
		return nil, false, err
	} else if swapped {
		if entries, err = l.env.fs.ReadDir(folder); err != nil {
			return nil, false, err
		}
	}
	l.snapshots = l.snapshots[:0]
	txns := map[int64]bool{}
	var orphans []string
	for _, e := range entries {
		base, suffix, ok := parseOffsetName(e.Name())
		if !ok || e.IsDir() {
			continue
		}
		switch suffix {
		case suffixLog:
			info, err := follow(l.env.fs, folder, e)
			if err != nil {
				return nil, false, err
			}
			s := newSegment(base, nowMs)
			if info.Size() > 1<<31-1 {
				return nil, false, fmt.Errorf("%s has %d bytes, more than a segment can have", e.Name(), info.Size())
			}
			s.publish(base, info.Size())
			segs = append(segs, s)
		case suffixSnapshot:
			l.snapshots = append(l.snapshots, base)
		case suffixTxnIndex:
			txns[base] = true
			orphans = append(orphans, e.Name())
		case suffixIndex, suffixTimeIndex:
			orphans = append(orphans, e.Name())
		}
	}
	slices.SortFunc(segs, func(a, b *segment) int { return compare(a.base, b.base) })
	slices.Sort(l.snapshots)
	for i, s := range segs {
		s.hasTxns.Store(txns[s.base])
		s.jitter = l.env.jitter(l.cfg.Load())
		if i+1 < len(segs) {
			s.publish(segs[i+1].base, s.size())
		}
	}
	return segs, swapped, l.removeOrphans(orphans, segs)
}

// follow describes an entry of a folder, or the file that it is a link to.
func follow(fsys vfs.FS, folder string, e fs.DirEntry) (fs.FileInfo, error) {
	if e.Type()&fs.ModeSymlink != 0 {
		return fsys.Stat(filepath.Join(folder, e.Name()))
	}
	return e.Info()
}

// removeOrphans removes indexes whose log does not exist.
func (l *Log) removeOrphans(indexes []string, segs []*segment) error {
	for _, name := range indexes {
		base, _, _ := parseOffsetName(name)
		if _, ok := slices.BinarySearchFunc(segs, base, func(s *segment, b int64) int { return compare(s.base, b) }); ok {
			continue
		}
		l.env.logger.Warn("removing an index without a segment", "partition", l.tp.String(), "file", name)
		if err := ignoreMissing(l.env.fs.Remove(filepath.Join(l.Folder(), name))); err != nil {
			return err
		}
	}
	return nil
}

func compare(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// firstSegment makes the first segment of a log that has none.
func (l *Log) firstSegment(base, nowMs int64) ([]*segment, error) {
	if err := l.createSegmentFiles(base); err != nil {
		return nil, l.ioError("creating the first segment", err)
	}
	l.dirDirty = true
	s := l.freshSegment(base, nowMs)
	s.publish(base, 0)
	return []*segment{s}, nil
}

// boundWatermark keeps the high watermark between log start and log end.
func (l *Log) boundWatermark() {
	l.hw.Store(min(max(l.hw.Load(), l.start.Load()), l.LogEndOffset()))
}

// load reads what a cleanly stopped log needs before its first use: the epochs, the
// end of the active segment, the producer state; l.mu is held.
func (l *Log) load() error {
	v := l.view.Load()
	act := v.active()
	hint, size := act.end()
	next, recovered, err := l.findEnd(act, size)
	if err != nil || recovered {
		return err
	}
	if hint != next && size > 0 {
		if hint != act.base {
			l.env.logger.Warn("the log ends elsewhere than the recovery point checkpoint says", "partition", l.tp.String(), "checkpoint", hint, "logEndOffset", next)
		}
		act.publish(next, size)
	}
	if next < l.start.Load() {
		return l.restartAt(l.start.Load())
	}
	// After a clean stop everything that is there is durable.
	l.flushed.Store(next)
	if err := l.loadEpochs(); err != nil {
		return err
	}
	l.trimEpochs()
	state, err := l.producersAt(next)
	if err != nil {
		return err
	}
	return l.finishLoad(state)
}

// finishLoad makes the log usable with the producer state at its end.
func (l *Log) finishLoad(state *producer.State) error {
	act := l.view.Load().active()
	if err := l.readyTxns(act); err != nil {
		return err
	}
	if err := l.readyIndexLocked(act); errors.Is(err, errIndexDamaged) {
		if err := l.repairLocked(act); err != nil {
			return err
		}
	} else if err != nil {
		return l.ioError("reading an offset index", err)
	}
	if err := l.readyTimes(act); err != nil {
		return err
	}
	l.producers = state
	l.boundWatermark()
	l.refreshUnstable(l.hw.Load())
	l.dropStraySnapshots()
	l.loaded.Store(true)
	return nil
}

// readyTxns has the transaction index of the active segment in memory, which a marker adds to.
func (l *Log) readyTxns(s *segment) error {
	if s.txnLoad {
		return nil
	}
	err := l.loadTxns(s)
	if errors.Is(err, errIndexDamaged) {
		return l.rebuildActiveTxns(s)
	}
	if err != nil {
		return l.ioError("reading a transaction index", err)
	}
	return nil
}

func (l *Log) rebuildActiveTxns(s *segment) error {
	state, err := l.producersAt(s.base)
	if err != nil {
		return err
	}
	var aborted []AbortedTxn
	if err := l.scanSegment(s, 0, s.size(), func(infos []batch.Info) error {
		list, err := replay(state, infos)
		aborted = append(aborted, list...)
		return err
	}); err != nil {
		return err
	}
	return l.installTxns(s, aborted)
}

// readyTimes makes the largest timestamp of a segment known; for the active one
// it also looks at what came after the last entry.
func (l *Log) readyTimes(s *segment) error {
	err := l.readyTimesLocked(s)
	if errors.Is(err, errIndexDamaged) {
		return l.repairLocked(s)
	}
	if err != nil {
		return l.ioError("reading a time index", err)
	}
	return nil
}

// findEnd returns the offset at which a segment of size bytes ends, walking the
// headers from the last index entry on. Bytes that are not a batch there mean that
// the clean shutdown marker told wrong: the log is recovered from that segment on, and
// then it is loaded, and its file may be shorter than size.
func (l *Log) findEnd(s *segment, size int64) (next int64, recovered bool, err error) {
	if size == 0 {
		return s.base, false, nil
	}
	if err := l.readyIndexLocked(s); errors.Is(err, errIndexDamaged) {
		return 0, true, l.recover(s.base)
	} else if err != nil {
		return 0, false, l.ioError("reading an offset index", err)
	}
	f, err := l.openLog(s)
	if err != nil {
		return 0, false, l.ioError("opening the active segment", err)
	}
	defer f.unpin()
	h := newHeaders(f, size)
	defer h.close()
	pos := int64(uint32(s.index.last))
	next = s.base
	for first := true; pos < size; first = false {
		info, err := h.at(pos)
		if err == nil && first && s.index.last != 0 && info.LastOffset != s.base+int64(s.index.last>>32) {
			err = kafka.CorruptMessage.Errorf("the last index entry does not match")
		}
		if err == nil {
			err = inSegment(&info, s.base, next)
		}
		if err != nil {
			if !damagedBytes(err) {
				return 0, false, l.ioError("reading the active segment", err)
			}
			l.env.logger.Warn("the active segment does not end as after a clean stop", "partition", l.tp.String(), "position", pos, "error", err)
			return 0, true, l.recover(s.base)
		}
		next, pos = info.LastOffset+1, pos+int64(info.Size)
	}
	return next, false, nil
}

// restartAt begins the log again at offset because its files end below the log
// start: they were tampered with, or lost what a checkpoint still knows.
func (l *Log) restartAt(offset int64) error {
	l.env.logger.Warn("removing all segments because the log ends below its start", "partition", l.tp.String(), "logEndOffset", l.LogEndOffset(), "logStartOffset", offset)
	l.producers = l.newProducers()
	if err := l.replaceAll(offset); err != nil {
		return err
	}
	if err := l.writeEpochs(&epochTable{}); err != nil {
		return err
	}
	l.producers.Reset(offset)
	l.lowerPoint(offset)
	return l.finishLoad(l.producers)
}
