package log

import (
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/vfs"
)

// logsIn lists the logs of a directory, future ones only if asked for.
func (m *Manager) logsIn(d *dataDir, future bool) []*Log {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var list []*Log
	for _, l := range m.logs {
		if l.dir == d {
			list = append(list, l)
		}
	}
	if future {
		for _, l := range m.future {
			if l.dir == d {
				list = append(list, l)
			}
		}
	}
	return list
}

// checkpointFile is one of a directory's checkpoints: its name, the flag that logs raise
// when what it holds has changed, and the offset that it has of a log, if any.
type checkpointFile struct {
	name   string
	dirty  func(*dataDir) *atomic.Bool
	future bool // with future logs
	offset func(*Log) (int64, bool)
}

var (
	recoveryPoints = checkpointFile{fileRecoveryPoints, func(d *dataDir) *atomic.Bool { return &d.rpDirty }, true,
		func(l *Log) (int64, bool) { return l.RecoveryPoint(), true }}
	logStartOffsets = checkpointFile{fileLogStartOffsets, func(d *dataDir) *atomic.Bool { return &d.startDirty }, true,
		func(l *Log) (int64, bool) {
			start := l.LogStartOffset()
			return start, start > l.view.Load().segs[0].base
		}}
	highWatermarks = checkpointFile{fileHighWatermarks, func(d *dataDir) *atomic.Bool { return &d.hwDirty }, true,
		func(l *Log) (int64, bool) { return l.HighWatermark(), true }}
)

// checkpoint replaces a checkpoint of each directory in which something changed.
func (m *Manager) checkpoint(f *checkpointFile) error {
	var errs []error
	for _, d := range m.dirs {
		if d.data && d.err() == nil {
			errs = append(errs, m.checkpointDir(d, f))
		}
	}
	return errors.Join(errs...)
}

// checkpointDir replaces a checkpoint of one directory if something changed. What
// changed before the call is in the file when it returns nil, also if somebody else was
// writing it.
func (m *Manager) checkpointDir(d *dataDir, f *checkpointFile) error {
	d.gathering.Lock()
	defer d.gathering.Unlock()
	// The flag goes down before the offsets are read: a change meanwhile asks for
	// another round.
	if !f.dirty(d).Swap(false) {
		return nil
	}
	gone := d.ghosts.before()
	offsets := map[kafka.TopicPartition]int64{}
	for _, l := range m.logsIn(d, f.future) {
		if o, ok := f.offset(l); ok {
			offsets[l.tp] = o
		}
	}
	if err := d.writeOffsets(f.name, offsets); err != nil {
		f.dirty(d).Store(true)
		return err
	}
	d.ghosts.written(f.name, gone)
	return nil
}

// CheckpointRecoveryPoints writes recovery-point-offset-checkpoint.
func (m *Manager) CheckpointRecoveryPoints() error { return m.checkpoint(&recoveryPoints) }

// CheckpointLogStartOffsets writes log-start-offset-checkpoint.
func (m *Manager) CheckpointLogStartOffsets() error { return m.checkpoint(&logStartOffsets) }

// CheckpointHighWatermarks writes replication-offset-checkpoint, with those of future logs:
// one that becomes the current one has its own after a crash.
func (m *Manager) CheckpointHighWatermarks() error { return m.checkpoint(&highWatermarks) }

// DeleteOldSegments applies retention to every log that does not compact, and the
// log start offset to those that do. It returns the bytes that were freed.
func (m *Manager) DeleteOldSegments() (freed int64) {
	now := m.env.clock.Now().UnixMilli()
	for _, l := range m.Logs() {
		if l.err() != nil {
			continue
		}
		n, err := l.DeleteOldSegments(now)
		freed += n
		if err != nil {
			m.env.logger.Warn("retention failed", "partition", l.tp.String(), "error", err)
		}
	}
	return freed
}

// FlushDirtyLogs applies flush.ms.
func (m *Manager) FlushDirtyLogs() {
	now := m.env.clock.Now().UnixMilli()
	for _, l := range m.Logs() {
		if l.err() == nil && l.flushDue(now) {
			if err := l.Flush(); err != nil {
				m.env.logger.Warn("periodic flush failed", "partition", l.tp.String(), "error", err)
			}
		}
	}
}

// ExpireProducers drops producer states that are idle for too long.
func (m *Manager) ExpireProducers() {
	now := m.env.clock.Now().UnixMilli()
	for _, l := range m.Logs() {
		l.expireProducers(now)
	}
}

// Close flushes everything, writes the checkpoints and, for each directory where
// all of it worked, the clean shutdown marker with brokerEpoch; then it unlocks.
func (m *Manager) Close(brokerEpoch int64) error {
	m.env.tasks.stop()
	m.create.Lock()
	defer m.create.Unlock()
	if m.closed {
		return nil
	}
	var wg sync.WaitGroup
	errs := make([]error, len(m.dirs))
	for i, d := range m.dirs {
		wg.Add(1)
		go func() {
			defer wg.Done()
			errs[i] = m.closeDir(d)
		}()
	}
	wg.Wait()
	for i, d := range m.dirs {
		d.rpDirty.Store(true)
		d.hwDirty.Store(true)
		d.startDirty.Store(true)
		errs[i] = errors.Join(errs[i], d.err())
	}
	checkpoints := errors.Join(m.CheckpointRecoveryPoints(), m.CheckpointLogStartOffsets(), m.CheckpointHighWatermarks())
	for i, d := range m.dirs {
		if errs[i] != nil || checkpoints != nil || d.err() != nil {
			continue
		}
		if err := vfs.WriteFileAtomic(m.env.fs, filepath.Join(d.path, fileCleanShutdown), formatCleanShutdown(brokerEpoch)); err != nil {
			errs[i] = d.ioError("writing the clean shutdown marker", err)
		}
	}
	m.release()
	return errors.Join(append(errs, checkpoints)...)
}

// minClosers is how many logs of a directory are closed at a time at least: they wait for
// syncs, and a file system does what it is asked for at the same time in one commit.
const minClosers = 32

// closeDir flushes and closes the logs of one directory.
func (m *Manager) closeDir(d *dataDir) error {
	logs := m.logsIn(d, true)
	if m.metadata != nil && m.metadata.dir == d {
		logs = append(logs, m.metadata)
	}
	closers := max(m.opts.RecoveryThreads, minClosers)
	work := make(chan *Log)
	errs := make(chan error, closers)
	for range closers {
		go func() {
			var all error
			for l := range work {
				if err := l.close(); err != nil && all == nil {
					all = err
				}
			}
			errs <- all
		}()
	}
	for _, l := range logs {
		work <- l
	}
	close(work)
	var all []error
	for range closers {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

// close makes the log durable with everything that a lazy start needs: the last
// time index entry and a producer snapshot at the end. A log that was not used
// since it was opened is as it was.
func (l *Log) close() error {
	if l.gone.Load() != nil || !l.loaded.Load() {
		return l.dir.err()
	}
	closed := kafka.KafkaStorageError.Errorf("the log of %s is closed", l.tp)
	defer l.gone.CompareAndSwap(nil, &closed)
	if err := l.sealForClose(); err != nil {
		return err
	}
	if err := l.Flush(); err != nil {
		return err
	}
	l.mu.Lock()
	dirty := l.snapshotDirty
	l.snapshotDirty = false
	l.mu.Unlock()
	if dirty {
		if err := l.syncSnapshot(l.LogEndOffset()); err != nil {
			return l.flushError(l.view.Load().active(), err)
		}
	}
	return l.syncNames()
}

// sealForClose writes what only memory holds.
func (l *Log) sealForClose() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	if l.epochsDirty {
		if err := l.writeEpochs(l.epochs.Load()); err != nil {
			return err
		}
	}
	act := l.view.Load().active()
	if err := l.knowTimes(act); err != nil {
		return err
	}
	act.times.maybeAdd(act.maxTs, act.maxTsOff-act.base)
	if end := l.LogEndOffset(); end > 0 {
		before := len(l.snapshots)
		if err := l.writeSnapshot(end); err != nil {
			return l.ioError("writing a producer snapshot", err)
		}
		l.dirDirty = l.dirDirty || len(l.snapshots) != before
	}
	return nil
}

// Abort closes files and locks and writes nothing, as if the process had died.
func (m *Manager) Abort() {
	m.env.tasks.stop()
	m.create.Lock()
	defer m.create.Unlock()
	if m.closed {
		return
	}
	logs := []*Log{}
	for _, d := range m.dirs {
		logs = append(logs, m.logsIn(d, true)...)
	}
	if m.metadata != nil {
		logs = append(logs, m.metadata)
	}
	for _, l := range logs {
		closed := kafka.KafkaStorageError.Errorf("the log of %s is closed", l.tp)
		l.gone.CompareAndSwap(nil, &closed)
	}
	m.release()
}

// release closes what is open; m.create is held.
func (m *Manager) release() {
	m.closed = true
	m.env.files.closeIdle()
	m.env.tail.close()
	for _, d := range m.dirs {
		if d.lock != nil {
			if err := d.lock.Close(); err != nil {
				m.env.logger.Warn("unlocking failed", "dir", d.path, "error", err)
			}
		}
	}
}
