package log

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/kafka"
)

// Moves between directories, as docs/architecture/directories.md describes them.

// Futures lists the logs that are on their way to another directory, in no order.
func (m *Manager) Futures() []*Log {
	m.mu.RLock()
	defer m.mu.RUnlock()
	list := make([]*Log, 0, len(m.future))
	for _, l := range m.future {
		list = append(list, l)
	}
	return list
}

// CreateFuture begins a replica of tp in the directory with id dirID, to which the
// current one is to move; one that is there already is returned. While a directory is
// offline there is none: it may hold another future replica.
func (m *Manager) CreateFuture(tp kafka.TopicPartition, dirID kafka.UUID) (*Log, error) {
	m.create.Lock()
	defer m.create.Unlock()
	current := m.Get(tp)
	if current == nil {
		return nil, kafka.UnknownTopicOrPartition.Errorf("%s is not on this broker", tp)
	}
	if err := current.err(); err != nil {
		return nil, err
	}
	d, err := m.dirByID(dirID)
	if err != nil {
		return nil, err
	}
	if d == current.dir {
		return nil, kafka.KafkaStorageError.Errorf("%s is already in %s", tp, d.path)
	}
	if l := m.Future(tp); l != nil {
		if l.dir != d {
			return nil, kafka.KafkaStorageError.Errorf("%s is on its way to %s already", tp, l.dir.path)
		}
		return l, l.err()
	}
	if err := m.noneOffline(); err != nil {
		return nil, err
	}
	name := markedFolder(tp, folderFuture, m.env.unique())
	if len(name) > maxFolderName {
		return nil, kafka.InvalidTopicException.Errorf("The topic name is too long.")
	}
	id, err := current.TopicID()
	if err == nil {
		err = m.exorcise(d, tp)
	}
	if err != nil {
		return nil, err
	}
	folder := filepath.Join(d.path, name)
	l, err := m.newLog(d, folder, tp, folderFuture, id, *current.Config())
	if err != nil {
		// What is left of it would be taken for a move that began.
		m.env.tasks.removeFolderLater(d, 0, folder)
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.future[tp] = l
	return l, nil
}

// dirByID finds the directory that is to get a replica.
func (m *Manager) dirByID(id kafka.UUID) (*dataDir, error) {
	for _, d := range m.dirs {
		if d.data && d.id == id && !id.IsZero() {
			return d, d.err()
		}
	}
	return nil, kafka.LogDirNotFound.Errorf("no log directory has the id %s", id)
}

// noneOffline fails while a directory for partitions is offline.
func (m *Manager) noneOffline() error {
	for _, d := range m.dirs {
		if d.data && d.err() != nil {
			return kafka.KafkaStorageError.Errorf("log directory %s is offline", d.path)
		}
	}
	return nil
}

// AnyOffline says whether a directory for partitions is offline.
func (m *Manager) AnyOffline() bool { return m.noneOffline() != nil }

// BeginMoving keeps compaction away from the log while it is copied, and while a part of
// it was: compaction could remove a tombstone whose value was copied already. A round that
// is under way has to end before anything is copied.
func (l *Log) BeginMoving() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.moving.Store(true)
}

// Compacting says whether a round of compaction is under way. After BeginMoving none
// begins.
func (l *Log) Compacting() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cleaning
}

// EndMoving lets compaction look at the log again.
func (l *Log) EndMoving() { l.moving.Store(false) }

// Moving says whether the log is being copied to another directory.
func (l *Log) Moving() bool { return l.moving.Load() }

// Moved says that the log was replaced by its copy in another directory, or is about to
// be: whoever waits for that finds the copy.
func (l *Log) Moved() bool { return l.moved.Load() }

// Generation changes whenever bytes below the log end may have changed: with every
// truncation and every swap of compacted segments. It is odd while that is under way.
func (l *Log) Generation() uint64 { return l.gen.Load() }

// SwapFuture puts the future log of tp in the place of the current one, which is
// deleted. The caller makes sure that nobody appends to either and that both hold the
// same records. If the swap fails and the current log's directory is online, the current
// log serves on.
func (m *Manager) SwapFuture(tp kafka.TopicPartition) (*Log, error) {
	m.create.Lock()
	defer m.create.Unlock()
	old, l := m.Get(tp), m.Future(tp)
	if old == nil || l == nil {
		return nil, kafka.UnknownTopicOrPartition.Errorf("%s has no future replica on this broker", tp)
	}
	if a, b := old.LogEndOffset(), l.LogEndOffset(); a != b {
		return nil, kafka.KafkaStorageError.Errorf("the future log of %s ends at %d, the current one at %d", tp, b, a)
	}
	if err := l.inherit(old); err != nil {
		return nil, err
	}
	if err := m.swap(old, l); err != nil {
		return nil, err
	}
	m.mu.Lock()
	m.logs[tp] = l
	delete(m.future, tp)
	m.mu.Unlock()
	old.retire()
	old.dir.leave(tp)
	l.takeProducers(old)
	for _, d := range []*dataDir{old.dir, l.dir} {
		d.rpDirty.Store(true)
		d.hwDirty.Store(true)
		d.startDirty.Store(true)
	}
	m.env.tasks.removeFolderLater(old.dir, l.Config().FileDeleteDelayMs, old.Folder())
	return l, nil
}

// swap renames the current log out of the way and then the future one to its name, each
// durably; after a failure of the second the first is undone.
func (m *Manager) swap(old, l *Log) error {
	gone := error(kafka.NotLeaderOrFollower.Errorf("the log of %s has moved from %s to %s", old.tp, old.dir.path, l.dir.path))
	old.moved.Store(true)
	old.gone.Store(&gone)
	old.forgetCleanPoint()
	current := old.Folder()
	err := old.rename(filepath.Join(old.dir.path, markedFolder(old.tp, folderDelete, m.env.unique())), folderDelete)
	if err == nil {
		if err = l.rename(filepath.Join(l.dir.path, l.tp.String()), folderCurrent); err == nil {
			return nil
		}
		if undo := old.rename(current, folderCurrent); undo != nil {
			err = errors.Join(err, undo)
			old.dir.fail(old.tp.String()+": undoing a move to "+l.dir.path, err)
		}
	}
	old.gone.Store(nil)
	old.moved.Store(false)
	return err
}

// inherit takes over from the log that is to be replaced what its records do not hold,
// durably: leader epochs in which nothing was written (KAFKA-20961) and the state of
// producers whose records are gone; and what is in force: configuration, log start, high
// watermark.
func (l *Log) inherit(old *Log) error {
	if err := errors.Join(old.Load(), l.Load()); err != nil {
		return err
	}
	table, cfg := old.epochs.Load(), *old.cfg.Load()
	old.mu.Lock()
	snapshot := old.producers.AppendSnapshot(nil)
	old.mu.Unlock()
	l.cfg.Store(&cfg)
	l.UpdateHighWatermark(old.HighWatermark())
	if err := l.inheritFiles(old.LogStartOffset(), table, snapshot); err != nil {
		return err
	}
	return l.Flush()
}

func (l *Log) inheritFiles(start int64, table *epochTable, snapshot []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	if _, err := l.advanceStart(min(start, l.hw.Load())); err != nil {
		return err
	}
	if err := l.writeEpochs(table); err != nil {
		return err
	}
	l.epochs.Store(table)
	end := l.LogEndOffset()
	l.dropSnapshots(func(offset int64) bool { return offset >= end })
	if err := l.writeSnapshotData(end, snapshot); err != nil {
		return l.ioError("writing a producer snapshot", err)
	}
	l.dirDirty = true
	return nil
}

// takeProducers makes the producer state of the log that was replaced this one's: it
// knows more than a snapshot holds, such as questions to coordinators under way.
func (l *Log) takeProducers(old *Log) {
	old.mu.Lock()
	state := old.producers
	old.producers = old.newProducers()
	old.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.producers = state
	l.refreshUnstable(l.hw.Load())
}

// DeleteFuture gives up the replica of tp that was on its way.
func (m *Manager) DeleteFuture(tp kafka.TopicPartition) error {
	m.create.Lock()
	defer m.create.Unlock()
	return m.remove(m.future, tp, folderDelete)
}

// StrayFuture sets the future replica of tp aside, as Stray does with the current one.
func (m *Manager) StrayFuture(tp kafka.TopicPartition) error {
	m.create.Lock()
	defer m.create.Unlock()
	l := m.Future(tp)
	if err := m.remove(m.future, tp, folderStray); err != nil || l == nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.strays = append(m.strays, l.Folder())
	return nil
}

func duplicateLogs(l *Log, folder string) error {
	return fmt.Errorf("Duplicate log directories for %s are found in both %s and %s. It is likely because log directory failure happened while broker was replacing current replica with future replica. Recover broker from this failure by manually deleting one of the two directories for this partition. It is recommended to delete the partition in the log directory that is known to have failed recently.", l.tp, l.Folder(), folder) //nolint:staticcheck // the text that users know
}

// keepOne decides between two current logs of one partition, which a directory that
// failed in the last step of a move can leave, here or in Apache Kafka: both have the
// records up to then, and the one that went on serving all others. The other is set
// aside as a stray.
func (m *Manager) keepOne() error {
	for tp, second := range m.doubles {
		keep, drop := m.logs[tp], second
		a, err := keep.TopicID()
		b, err2 := drop.TopicID()
		if err = errors.Join(err, err2); err != nil || a != b {
			return errors.Join(duplicateLogs(keep, drop.Folder()), err)
		}
		if ea, eb := keep.LatestEpoch(), drop.LatestEpoch(); ea < eb || ea == eb && keep.LogEndOffset() < drop.LogEndOffset() {
			keep, drop = drop, keep
		}
		m.env.logger.Warn("two logs of one partition, as an interrupted move leaves them: the one that ends later stays, the other is set aside",
			"partition", tp.String(), "kept", keep.Folder(), "logEndOffset", keep.LogEndOffset(), "setAside", drop.Folder(), "itsLogEndOffset", drop.LogEndOffset())
		m.logs[tp] = drop
		if err := m.remove(m.logs, tp, folderStray); err != nil {
			return errors.Join(duplicateLogs(keep, drop.Folder()), err)
		}
		m.logs[tp] = keep
		m.strays = append(m.strays, drop.Folder())
	}
	m.doubles = nil
	return nil
}

// dropFutures deletes future logs that no move began, but an attempt that failed: those
// beside the longest one, and one in the directory of the current log.
func (m *Manager) dropFutures() {
	drop := func(l *Log) {
		if err := m.retire(l, folderDelete); err != nil {
			m.env.logger.Warn("a future log that is not needed could not be removed", "folder", l.Folder(), "error", err)
		}
		l.dir.leave(l.tp)
	}
	for tp, l := range m.future {
		if current := m.logs[tp]; current != nil && current.dir == l.dir {
			drop(l)
			delete(m.future, tp)
		}
	}
	for _, l := range m.futures {
		keep, current := m.future[l.tp], m.logs[l.tp]
		switch {
		case current != nil && current.dir == l.dir, keep != nil && keep.LogEndOffset() >= l.LogEndOffset():
			drop(l)
			continue
		case keep != nil:
			drop(keep)
		}
		m.future[l.tp] = l
	}
	m.futures = nil
}

// finishMoves completes a move between directories that a crash stopped after the
// current log was marked as deleted and before the future one got its name: the
// only way to a future log and a deleted one without a current one. While a
// directory is offline the current one may be in it.
func (m *Manager) finishMoves() {
	if m.AnyOffline() {
		return
	}
	for tp, l := range m.future {
		if m.logs[tp] == nil && m.deleted[tp] {
			m.promote(tp, l)
		}
	}
	m.deleted = nil
}

// promote makes a future log without a current one the current one.
func (m *Manager) promote(tp kafka.TopicPartition, l *Log) bool {
	if err := l.rename(filepath.Join(l.dir.path, tp.String()), folderCurrent); err != nil {
		m.env.logger.Warn("interrupted move could not be completed", "partition", tp.String(), "error", err)
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.logs[tp] = l
	delete(m.future, tp)
	return true
}

// adoptFuture takes the future log of tp for the current one, which is gone with its
// disk: it has more records than an empty log. m.create is held.
func (m *Manager) adoptFuture(tp kafka.TopicPartition, id kafka.TopicID, cfg config.Topic) *Log {
	l := m.Future(tp)
	if l == nil || l.err() != nil || m.AnyOffline() {
		return nil
	}
	if have, err := l.TopicID(); err != nil || have != id {
		return nil
	}
	if !m.promote(tp, l) {
		return nil
	}
	l.Reconfigure(cfg)
	m.env.logger.Warn("the current log is gone, its copy that was on its way to another directory takes its place and may lack records",
		"partition", tp.String(), "dir", l.dir.path, "logEndOffset", l.LogEndOffset())
	return l
}
