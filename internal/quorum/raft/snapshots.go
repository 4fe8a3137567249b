package raft

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/storage"
)

// recoverSnapshots lists the snapshots, and brings log and snapshots together: a
// snapshot beyond the log replaces it, a snapshot below the log's start is of no
// use.
func (e *Engine) recoverSnapshots() error {
	ids, err := storage.ListSnapshots(e.o.FS, e.o.Dir)
	if err != nil {
		return err
	}
	if n := len(ids); n > 0 {
		newest, latest := ids[n-1], max(e.o.Log.LatestEpoch(), 0)
		beyond := newest.Epoch > latest || newest.Epoch == latest && newest.EndOffset > e.o.Log.LogEndOffset()
		if beyond && newest.EndOffset > 0 {
			if err := e.o.Log.TruncateFullyAndStartAt(newest.EndOffset); err != nil {
				return fmt.Errorf("beginning the metadata log at snapshot %s: %w", newest, err)
			}
		}
	}
	if err := e.restoreStart(ids); err != nil {
		return err
	}
	start := e.o.Log.LogStartOffset()
	for len(ids) > 0 && ids[0].EndOffset < start {
		if err := storage.RemoveSnapshot(e.o.FS, e.o.Dir, ids[0]); err != nil {
			return fmt.Errorf("removing snapshot %s, which is older than the log: %w", ids[0], err)
		}
		ids = ids[1:]
	}
	if start > 0 && len(ids) == 0 {
		return kafka.CorruptMessage.Errorf("the metadata log begins at offset %d and there is no snapshot that covers what is missing", start)
	}
	e.snapshots = ids
	if end := e.latestSnapshot().EndOffset; end > e.o.Log.LogEndOffset() {
		return kafka.CorruptMessage.Errorf("the metadata log ends at offset %d, before its newest snapshot %s", e.o.Log.LogEndOffset(), e.latestSnapshot())
	}
	e.o.Log.UpdateHighWatermark(e.latestSnapshot().EndOffset)
	return nil
}

// restoreStart brings back a start of the log that lies inside its first segment, of
// which the end of the known epochs is the trace: it is the first snapshot from which
// they reach on.
func (e *Engine) restoreStart(ids []storage.SnapshotID) error {
	l := e.o.Log
	known := func(offset kafka.Offset) bool {
		return offset >= l.LogEndOffset() || l.EpochForOffset(offset) != kafka.NoEpoch
	}
	if known(l.LogStartOffset()) {
		return nil
	}
	for _, id := range ids {
		if id.EndOffset <= l.LogStartOffset() || !known(id.EndOffset) {
			continue
		}
		l.UpdateHighWatermark(id.EndOffset)
		if _, err := l.AdvanceStart(id.EndOffset); err != nil {
			return fmt.Errorf("beginning the metadata log at snapshot %s: %w", id, err)
		}
		return nil
	}
	return kafka.CorruptMessage.Errorf("the leader epoch of the metadata log's first offset %d is not known", l.LogStartOffset())
}

// logBase is the snapshot at which raft's log begins: the oldest one when the log
// has lost its beginning, else offset 0.
func (e *Engine) logBase() storage.SnapshotID {
	if e.o.Log.LogStartOffset() > 0 {
		return e.snapshots[0]
	}
	return storage.SnapshotID{}
}

// deliverSnapshot gives the newest snapshot to every listener. The one that
// formatting leaves has no records and is skipped.
func (e *Engine) deliverSnapshot() error {
	e.mu.Lock()
	id := e.latestSnapshot()
	e.mu.Unlock()
	if id == storage.BootstrapSnapshotID {
		return nil
	}
	for _, l := range e.listeners {
		r, err := storage.OpenSnapshot(e.o.FS, e.o.Dir, id)
		if err != nil {
			return err
		}
		err = l.HandleSnapshot(r)
		if cerr := r.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return fmt.Errorf("loading snapshot %s: %w", id, err)
		}
	}
	return nil
}

// CreateSnapshot begins the snapshot of everything below id.EndOffset.
func (e *Engine) CreateSnapshot(id storage.SnapshotID, lastAppendTimeMs int64) (*storage.SnapshotWriter, error) {
	if hw := e.HighWatermark(); id.EndOffset > hw {
		return nil, fmt.Errorf("snapshot %s lies beyond the high watermark %d", id, hw)
	}
	e.mu.Lock()
	// The set in force may stand behind the end, where it may be cut off.
	newest, voters := e.latestSnapshot(), e.votersBelow(id.EndOffset)
	h := storage.SnapshotHeader{LastContainedLogTimeMs: lastAppendTimeMs, KRaftVersion: voters.kraftVersion}
	if h.KRaftVersion > 0 {
		h.Voters = voters.voters
	}
	e.mu.Unlock()
	if id.EndOffset <= newest.EndOffset {
		return nil, nil
	}
	if aligned, err := e.aligned(id.EndOffset); err != nil || !aligned {
		return nil, err
	}
	return storage.CreateSnapshot(e.o.FS, e.o.Dir, id, h, e.o.Clock.Now().UnixMilli())
}

// aligned says whether a batch begins at offset. Who fetches the log behind a
// snapshot gets whole batches, so no snapshot may end inside one; that can only be
// asked for while a transaction is open.
func (e *Engine) aligned(offset kafka.Offset) (bool, error) {
	end := e.o.Log.LogEndOffset()
	if offset >= end {
		return offset == end, nil
	}
	d, err := e.o.Log.Read(offset, 1, end, true)
	if err != nil {
		return false, fmt.Errorf("looking for a batch at offset %d: %w", offset, err)
	}
	defer d.Release()
	return d.FirstOffset == offset, nil
}

// SnapshotDone takes a complete snapshot into account and applies the retention of
// the metadata log: as long as two snapshots are left, the oldest goes when log
// and snapshots are too large or it is too old, and with it the log before the
// next one.
func (e *Engine) SnapshotDone(id storage.SnapshotID) {
	e.mu.Lock()
	if !e.latestSnapshot().Before(id) && len(e.snapshots) > 0 {
		e.mu.Unlock()
		return
	}
	e.snapshots = append(e.snapshots, id)
	e.forgetVotersBelow(id.EndOffset)
	e.mu.Unlock()
	for {
		old, next, ok := e.expired()
		if !ok {
			return
		}
		if err := e.dropBefore(old, next); err != nil {
			e.o.Logger.Warn("an old metadata snapshot could not be removed", "snapshot", old.String(), "error", err)
			return
		}
	}
}

// expired names the oldest snapshot and the one after it if the oldest must go. One that
// lies before the log is what a failure left.
func (e *Engine) expired() (old, next storage.SnapshotID, ok bool) {
	e.mu.Lock()
	ids, base := append([]storage.SnapshotID(nil), e.snapshots...), e.store.base
	e.mu.Unlock()
	if len(ids) < 2 {
		return old, next, false
	}
	old, next = ids[0], ids[1]
	if old.Before(base) {
		return old, next, true
	}
	if e.o.RetentionBytes >= 0 {
		total := e.o.Log.Size()
		for _, id := range ids {
			if fi, err := e.o.FS.Stat(filepath.Join(e.o.Dir, id.FileName())); err == nil {
				total += fi.Size()
			}
		}
		if total > e.o.RetentionBytes {
			return old, next, true
		}
	}
	if e.o.RetentionMs >= 0 {
		r, err := storage.OpenSnapshot(e.o.FS, e.o.Dir, old)
		if err != nil {
			return old, next, false
		}
		age := e.o.Clock.Now().UnixMilli() - r.Header.LastContainedLogTimeMs
		_ = r.Close() // only read from
		return old, next, age > e.o.RetentionMs
	}
	return old, next, false
}

// dropBefore makes next the oldest snapshot and the beginning of the log. The old one
// leaves the list last, so that it is tried again after a failure.
func (e *Engine) dropBefore(old, next storage.SnapshotID) error {
	e.mu.Lock()
	if e.store.base.Before(next) {
		e.store.base = next
	}
	e.mu.Unlock()
	if _, err := e.o.Log.AdvanceStart(next.EndOffset); err != nil {
		return err
	}
	if _, err := e.o.Log.DeleteOldSegments(e.o.Clock.Now().UnixMilli()); err != nil {
		return err
	}
	if err := storage.RemoveSnapshot(e.o.FS, e.o.Dir, old); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	e.mu.Lock()
	// A snapshot that was installed meanwhile has replaced the list.
	if len(e.snapshots) > 0 && e.snapshots[0] == old {
		e.snapshots = e.snapshots[1:]
	}
	e.mu.Unlock()
	e.o.Logger.Info("removed an old metadata snapshot and the log before the next one", "snapshot", old.String(), "logStartOffset", next.EndOffset)
	return nil
}

// oldestSnapshot is the one at which the log begins, the first of all while the log has
// its beginning. The caller holds mu.
func (e *Engine) oldestSnapshot() storage.SnapshotID {
	for _, id := range e.snapshots {
		if !id.Before(e.store.base) {
			return id
		}
	}
	return storage.SnapshotID{}
}
