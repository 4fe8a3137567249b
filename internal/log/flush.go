package log

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"github.com/gregorhq/gregor/internal/vfs"
)

// flushGroup lets concurrent flushes of one log share a sync: one is in flight,
// whoever comes meanwhile waits for it and then goes on together. mu is never held
// during a file operation.
type flushGroup struct {
	mu     sync.Mutex
	cond   *sync.Cond // made for the first waiter
	active bool
}

// Flush makes everything written so far durable, indexes included.
func (l *Log) Flush() error {
	if err := l.FlushTo(l.LogEndOffset()); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	act := l.view.Load().active()
	if err := l.flushIndexes(act); err != nil {
		return err
	}
	if err := l.flushTxns(act); err != nil {
		return err
	}
	if act.indexesDirty {
		return l.syncIndexes(act)
	}
	return nil
}

// FlushTo returns when everything below offset is durable. A sync that fails takes
// the directory offline and is never repeated.
func (l *Log) FlushTo(offset int64) error {
	g := &l.flush
	for l.flushed.Load() < offset {
		if err := l.err(); err != nil {
			return err
		}
		g.mu.Lock()
		if g.active {
			if g.cond == nil {
				g.cond = sync.NewCond(&g.mu)
			}
			g.cond.Wait()
			g.mu.Unlock()
			continue
		}
		if l.flushed.Load() >= offset {
			// The sync that was in flight when this was looked at has ended since.
			g.mu.Unlock()
			continue
		}
		g.active = true
		g.mu.Unlock()
		if offset > l.LogEndOffset() {
			offset = l.LogEndOffset()
		}
		begin := l.env.clock.Now()
		err := l.syncOnce(offset)
		l.env.flushes.Observe(int64(l.env.clock.Since(begin)))
		g.mu.Lock()
		g.active = false
		if g.cond != nil {
			g.cond.Broadcast()
		}
		g.mu.Unlock()
		if err != nil {
			return err
		}
		if end := l.LogEndOffset(); offset > end {
			offset = end // cut off by a truncation meanwhile
		}
	}
	return l.err()
}

// syncOnce syncs what lies between the flushed offset and the log end, or only the
// sealed segments if offset is in one. The active segment's indexes are left out: a
// restart builds them again, since the segment that holds the recovery point is
// always checked.
func (l *Log) syncOnce(offset int64) error {
	gen := l.gen.Load()
	v := l.view.Load()
	target, _ := v.active().end()
	n := len(v.segs)
	if base := v.active().base; offset <= base && base < target {
		target, n = base, n-1
	}
	for i := v.floor(l.flushed.Load()); i < n; i++ {
		s := v.segs[i]
		if err := l.syncLog(s); err != nil {
			return l.flushError(s, err)
		}
		if i == len(v.segs)-1 {
			break
		}
		l.mu.Lock()
		err := l.syncIndexes(s)
		l.mu.Unlock()
		if err != nil {
			return err
		}
		if err := l.syncSnapshot(v.segs[i+1].base); err != nil {
			return l.flushError(s, err)
		}
	}
	if err := l.syncNames(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gen.Load() == gen && gen%2 == 0 && target > l.flushed.Load() {
		if act := v.active(); n == len(v.segs) && act != l.view.Load().active() {
			// It was sealed during the sync, when that was not known to cover it.
			if err := l.syncIndexes(act); err != nil {
				return err
			}
		}
		l.flushed.Store(target)
		l.dir.rpDirty.Store(true)
	}
	l.flushMs.Store(l.now())
	return nil
}

// syncNames makes the files' names durable, and for a new log the folder's.
func (l *Log) syncNames() error {
	l.mu.Lock()
	names, parent := l.dirDirty, l.parentDirty
	l.dirDirty, l.parentDirty = false, false
	l.dirSyncs++
	l.mu.Unlock()
	var err error
	if names {
		err = l.env.fs.SyncDir(l.Folder())
	}
	if parent && err == nil {
		err = l.env.fs.SyncDir(l.dir.path)
	}
	l.mu.Lock()
	l.dirSyncs--
	if err != nil {
		l.dirDirty, l.parentDirty = l.dirDirty || names, l.parentDirty || parent
	}
	l.mu.Unlock()
	if err != nil {
		return l.flushError(l.view.Load().active(), err)
	}
	return nil
}

// settleNames makes the names in the folder durable before others follow: segments come
// from the end and go from the beginning, one after the other, so that a power loss
// leaves no hole among them; l.mu is held.
func (l *Log) settleNames() error {
	if !l.dirDirty && l.dirSyncs == 0 {
		return nil
	}
	if err := l.env.fs.SyncDir(l.Folder()); err != nil {
		return err
	}
	l.dirDirty = false
	return nil
}

// syncLog syncs a segment's log.
func (l *Log) syncLog(s *segment) error {
	f, err := l.openLog(s)
	if err != nil {
		return &openError{err}
	}
	defer f.unpin()
	f.dirty.Store(false)
	return f.Sync()
}

// openError marks a failure to open a file, which unlike a failed sync may pass. That
// there are no descriptors left is always one: it is the opening of a directory to sync.
type openError struct{ error }

func (e *openError) Unwrap() error { return e.error }

// flushError judges a failed sync. A segment that was deleted meanwhile needs no
// sync (L3); everything else takes the directory offline, whatever the cause: the
// pages that could not be written may be gone (L5).
func (l *Log) flushError(s *segment, err error) error {
	if p := l.gone.Load(); p != nil {
		return *p
	}
	if errors.Is(err, fs.ErrNotExist) {
		v := l.view.Load()
		if v.segs[v.floor(s.base)] != s {
			return nil
		}
	}
	doing := fmt.Sprintf("syncing segment %d", s.base)
	if open := (*openError)(nil); errors.As(err, &open) || outOfFiles(err) {
		return l.ioError(doing, err)
	}
	return l.dir.fail(fmt.Sprintf("%s: %s", l.tp, doing), err)
}

// syncIndexes syncs the index files of a segment; l.mu is held.
func (l *Log) syncIndexes(s *segment) error {
	if !s.indexesDirty {
		return nil
	}
	sync := func(h *handle, err error) error {
		if err != nil {
			return &openError{err}
		}
		defer h.unpin()
		return h.Sync()
	}
	err := sync(l.openIndex(s))
	if err == nil {
		err = sync(l.openTimes(s))
	}
	if err == nil && s.hasTxns.Load() {
		err = sync(l.openTxns(s))
	}
	if err != nil {
		return l.flushError(s, err)
	}
	s.indexesDirty = false
	return nil
}

// syncSnapshot syncs the producer snapshot that was written when the segment at
// base began. It is only a cache: one that is missing is no failure.
func (l *Log) syncSnapshot(base int64) error {
	f, err := l.env.fs.OpenFile(l.path(base, suffixSnapshot), openExisting, 0o644)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return &openError{err}
	}
	defer f.Close()
	return f.Sync()
}

// NeedsFlush says whether flush.messages asks for a flush before what was appended
// may be acknowledged.
func (l *Log) NeedsFlush() bool {
	n := l.cfg.Load().FlushMessages
	return n > 0 && l.LogEndOffset()-l.flushed.Load() >= n
}

// flushDue says whether flush.ms asks for a flush.
func (l *Log) flushDue(nowMs int64) bool {
	ms := l.cfg.Load().FlushMs
	return ms < 1<<62 && l.LogEndOffset() > l.flushed.Load() && nowMs-l.flushMs.Load() >= ms
}

// writeSnapshot writes the producer state as of offset, which is the log end or
// the base of the segment that begins there; l.mu is held. It is synced with the
// segment before it.
func (l *Log) writeSnapshot(offset int64) error {
	if n := len(l.snapshots); n > 0 && l.snapshots[n-1] >= offset {
		return nil
	}
	return l.writeSnapshotData(offset, l.producers.AppendSnapshot(nil))
}

// writeSnapshotData writes a producer snapshot of offset, which is above those there are.
func (l *Log) writeSnapshotData(offset int64, data []byte) error {
	name := l.path(offset, suffixSnapshot)
	f, err := l.env.fs.OpenFile(name, openCreate, 0o644)
	if err != nil {
		return err
	}
	err = f.Truncate(0)
	if err == nil {
		err = writeFull(f, data, 0)
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return errors.Join(err, ignoreMissing(l.env.fs.Remove(name)))
	}
	l.snapshots, l.snapshotDirty = append(l.snapshots, offset), true
	return nil
}

// ignoreMissing drops "does not exist", for removals.
func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// dropSnapshots removes the snapshots for which drop says so; l.mu is held. One that
// cannot be removed is no failure, for callers to whom it is only a waste.
func (l *Log) dropSnapshots(drop func(offset int64) bool) {
	for _, offset := range l.snapshots {
		if !drop(offset) {
			continue
		}
		if err := l.removeSnapshot(offset); err != nil {
			l.env.logger.Warn("producer snapshot could not be removed", "partition", l.tp.String(), "offset", offset, "error", err)
		}
	}
	l.snapshots = slices.DeleteFunc(l.snapshots, drop)
}

// removeSnapshots is dropSnapshots for a caller to whom one that stays is a failure.
func (l *Log) removeSnapshots(drop func(offset int64) bool) error {
	for _, offset := range l.snapshots {
		if !drop(offset) {
			continue
		}
		if err := l.removeSnapshot(offset); err != nil {
			return l.ioError(fmt.Sprintf("removing the producer snapshot of offset %d", offset), err)
		}
	}
	l.snapshots = slices.DeleteFunc(l.snapshots, drop)
	return nil
}

// removeSnapshot removes a snapshot's file. Its name must not come back after a power
// loss, when the log may have other records up to its offset.
func (l *Log) removeSnapshot(offset int64) error {
	err := l.env.fs.Remove(l.path(offset, suffixSnapshot))
	l.dirDirty = l.dirDirty || err == nil
	return ignoreMissing(err)
}

// readSnapshot reads the snapshot file of an offset.
func (l *Log) readSnapshot(offset int64) ([]byte, error) {
	return vfs.ReadFile(l.env.fs, l.path(offset, suffixSnapshot))
}
