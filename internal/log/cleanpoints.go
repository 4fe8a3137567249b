package log

import (
	"io/fs"
	"sync"

	"github.com/gregorhq/gregor/internal/kafka"
)

// fileCleanPoints is the checkpoint of compaction (docs/formats/offset-checkpoints.md).
const fileCleanPoints = "cleaner-offset-checkpoint"

// cleanPoints is the content of a directory's cleaner-offset-checkpoint: for each
// partition the first offset that compaction has not looked at. behind says that the
// file may have another content than offsets. mu guards all and the file, and is the
// innermost lock but that of the directory's checkpoints.
//
// An offset that is too high would let old values outlive a tombstone, so whatever
// lowers or removes one is in the file before the log changes.
type cleanPoints struct {
	mu      sync.Mutex
	offsets map[kafka.TopicPartition]int64
	behind  bool
}

// loadCleanPoints reads the checkpoint. An entry without a folder is of a log that
// is gone, and must not be taken for that of a later one with its name.
func (d *dataDir) loadCleanPoints(entries []fs.DirEntry) {
	c := &d.cleaned
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offsets = d.readOffsets(fileCleanPoints)
	folders := make(map[string]bool, len(entries))
	for _, e := range entries {
		folders[e.Name()] = true
	}
	for tp := range c.offsets {
		if !folders[tp.String()] {
			delete(c.offsets, tp)
			c.behind = true
		}
	}
}

// cleanPoint returns the entry of a partition.
func (d *dataDir) cleanPoint(tp kafka.TopicPartition) (int64, bool) {
	c := &d.cleaned
	c.mu.Lock()
	defer c.mu.Unlock()
	offset, ok := c.offsets[tp]
	return offset, ok
}

// setCleanPoint replaces the entry of a partition, or removes it with NoOffset. The
// file has it when the result is nil; after a failure an entry that was to go or to
// become lower is lower at least in memory.
func (d *dataDir) setCleanPoint(tp kafka.TopicPartition, offset int64) error {
	c := &d.cleaned
	c.mu.Lock()
	defer c.mu.Unlock()
	old, ok := c.offsets[tp]
	if !c.behind && (ok && old == offset || !ok && offset == NoOffset) {
		return nil
	}
	next := make(map[kafka.TopicPartition]int64, len(c.offsets)+1)
	for k, v := range c.offsets {
		next[k] = v
	}
	if offset == NoOffset {
		delete(next, tp)
	} else {
		next[tp] = offset
	}
	err := d.writeOffsets(fileCleanPoints, next)
	c.behind = err != nil
	if err == nil || offset < old {
		c.offsets = next
	}
	return err
}

// CleanPoint is the first offset that compaction has not looked at; ok is false when
// it has not looked at the log at all.
func (l *Log) CleanPoint() (offset int64, ok bool) {
	if l.IsFuture() {
		return 0, false
	}
	return l.dir.cleanPoint(l.tp)
}

// lowerCleanPoint is called before the log is cut to end at offset.
func (l *Log) lowerCleanPoint(offset int64) error {
	if p, ok := l.CleanPoint(); ok && p > offset {
		return l.dir.setCleanPoint(l.tp, offset)
	}
	return nil
}

// forgetCleanPoint is called before the log's folder loses its name: neither a later
// log of that name nor one in another directory may take the entry for its own. A
// copy in another directory may hold records that compaction removed here after
// they were copied, so it begins anew. The log is gone already: with l.mu no round that
// found it usable before can write an entry after.
func (l *Log) forgetCleanPoint() {
	if l.IsFuture() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.dir.setCleanPoint(l.tp, NoOffset); err != nil {
		// The next start drops an entry without a folder, newLog one of another log.
		l.env.logger.Warn("entry of a removed log stays in the cleaner checkpoint", "partition", l.tp.String(), "error", err)
	}
}
