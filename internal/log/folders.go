package log

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/vfs"
)

// Create returns the log of tp, creating it when absent, in the directory that
// docs/architecture/directories.md says for one that the metadata has in dirID, zero for
// none. A log that exists with another topic id is InconsistentTopicID.
func (m *Manager) Create(tp kafka.TopicPartition, id kafka.TopicID, dirID kafka.UUID, cfg config.Topic) (*Log, error) {
	m.create.Lock()
	defer m.create.Unlock()
	m.settleRivals(tp, id)
	if l := m.Get(tp); l != nil {
		return l, l.SetTopicID(id)
	}
	if l := m.adoptFuture(tp, id, cfg); l != nil {
		return l, nil
	}
	d, err := m.pickDir(tp, dirID)
	if err == nil {
		err = m.exorcise(d, tp)
	}
	if err != nil {
		return nil, err
	}
	l, err := m.newLog(d, filepath.Join(d.path, tp.String()), tp, folderCurrent, id, cfg)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.logs[tp] = l
	return l, nil
}

// newLog makes the folder and files of a log. The folder's name becomes durable
// with the log's first flush.
func (m *Manager) newLog(d *dataDir, folder string, tp kafka.TopicPartition, kind folderKind, id kafka.TopicID, cfg config.Topic) (*Log, error) {
	if err := d.err(); err != nil {
		return nil, err
	}
	if err := m.moveAside(d, folder, tp); err != nil {
		return nil, err
	}
	// What an older log of that name left in the checkpoint of compaction would be taken for
	// this one's as soon as the folder is there.
	if err := d.setCleanPoint(tp, NoOffset); err != nil {
		return nil, err
	}
	if err := m.env.fs.MkdirAll(folder, 0o755); err != nil {
		return nil, d.ioError("creating folder "+folder, err)
	}
	if !id.IsZero() {
		if err := m.writePartitionMetadata(folder, id); err != nil {
			return nil, d.ioError("writing partition.metadata in "+folder, err)
		}
	}
	l, err := m.env.openLog(d, folder, tp, kind, loadParams{cfg: cfg, recoveryPoint: NoOffset, clean: true})
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dirDirty, l.parentDirty = true, true
	l.topicID, l.idKnown = id, true
	if err := l.usable(); err != nil {
		return nil, err
	}
	d.rpDirty.Store(true)
	return l, nil
}

// moveAside marks a folder as deleted that is in the way of a new log: what a
// creation or deletion left that failed. No byte of it may appear in the new log
// (L10).
func (m *Manager) moveAside(d *dataDir, folder string, tp kafka.TopicPartition) error {
	exists, err := vfs.Exists(m.env.fs, folder)
	if err != nil {
		return d.ioError("looking for "+folder, err)
	}
	if !exists {
		return nil
	}
	m.env.logger.Warn("a folder is in the way of a new partition and is removed", "folder", folder)
	aside := filepath.Join(d.path, markedFolder(tp, folderDelete, m.env.unique()))
	if err = m.env.fs.Rename(folder, aside); err == nil {
		err = m.env.fs.SyncDir(d.path)
	}
	if err != nil {
		return d.ioError("moving "+folder+" aside", err)
	}
	m.env.tasks.removeFolderLater(d, m.opts.TopicConfig(tp.Topic).FileDeleteDelayMs, aside)
	return nil
}

// writePartitionMetadata writes the file so that it is whole or absent after a
// crash; the first flush of the log makes its name durable.
func (m *Manager) writePartitionMetadata(folder string, id kafka.TopicID) error {
	name := filepath.Join(folder, filePartitionMetadata)
	tmp := name + ".tmp"
	f, err := m.env.fs.OpenFile(tmp, openCreate, 0o644)
	if err != nil {
		return err
	}
	err = f.Truncate(0)
	if err == nil {
		err = writeFull(f, formatPartitionMetadata(id), 0)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return m.env.fs.Rename(tmp, name)
}

// Delete takes tp away: its folder is renamed at once, durably, and removed after
// file.delete.delay.ms. A future replica goes too.
func (m *Manager) Delete(tp kafka.TopicPartition) error {
	m.create.Lock()
	defer m.create.Unlock()
	if err := m.remove(m.future, tp, folderDelete); err != nil {
		return err
	}
	return m.remove(m.logs, tp, folderDelete)
}

// remove retires the log of tp and takes it out of a map. After a failure that
// passes the log goes on as before.
func (m *Manager) remove(from map[kafka.TopicPartition]*Log, tp kafka.TopicPartition, kind folderKind) error {
	m.mu.RLock()
	l := from[tp]
	m.mu.RUnlock()
	if l == nil {
		return nil
	}
	err := m.retire(l, kind)
	if err != nil && l.dir.err() == nil {
		l.gone.Store(nil)
		return err
	}
	m.mu.Lock()
	delete(from, tp)
	m.mu.Unlock()
	l.dir.leave(tp)
	return err
}

// Stray takes tp away but keeps its files, in a folder that is marked: the cluster
// does not know this replica.
func (m *Manager) Stray(tp kafka.TopicPartition) error {
	m.create.Lock()
	defer m.create.Unlock()
	l := m.Get(tp)
	if err := m.remove(m.logs, tp, folderStray); err != nil || l == nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.strays = append(m.strays, l.Folder())
	return nil
}

// retire ends a log's service and marks its folder.
func (m *Manager) retire(l *Log, kind folderKind) error {
	gone := kafka.UnknownTopicOrPartition.Errorf("the log of %s was removed from %s", l.tp, l.dir.path)
	l.gone.CompareAndSwap(nil, &gone)
	l.forgetCleanPoint()
	folder := filepath.Join(l.dir.path, markedFolder(l.tp, kind, m.env.unique()))
	if err := l.rename(folder, kind); err != nil {
		return err
	}
	l.retire()
	l.dir.rpDirty.Store(true)
	l.dir.hwDirty.Store(true)
	l.dir.startDirty.Store(true)
	if kind == folderDelete {
		m.env.tasks.removeFolderLater(l.dir, l.Config().FileDeleteDelayMs, folder)
	}
	return nil
}

// retire comes once the folder of a log that is gone is marked and nothing can bring the
// log back. Whoever still has it finds its files, until they are removed, but leaves none
// open.
func (l *Log) retire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.retired.Store(true)
	for _, s := range l.view.Load().segs {
		l.retireFiles(s)
	}
}

// rename moves the log's folder durably and has its files opened again under the
// new name. A folder that is missing has nothing to move (L3).
func (l *Log) rename(folder string, kind folderKind) error {
	if err := l.dir.err(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.view.Load().segs {
		l.dropFiles(s)
	}
	if err := l.env.fs.Rename(l.Folder(), folder); ignoreMissing(err) != nil {
		return l.dir.ioError(fmt.Sprintf("%s: renaming the folder", l.tp), err)
	} else if err == nil {
		// The name has changed, so there is no way back from a sync that fails.
		if err := l.env.fs.SyncDir(l.dir.path); err != nil {
			return l.dir.fail(fmt.Sprintf("%s: syncing the directory after the folder was renamed", l.tp), err)
		}
	}
	l.folder.Store(&folder)
	l.kind.Store(uint32(kind))
	l.tail.Store(nil)
	return nil
}

// OpenMetadata opens or creates the metadata log in MetadataDir. After an unclean
// stop it is checked from recoveryPoint on, which the caller knows from its
// snapshots; 0 checks all of it.
func (m *Manager) OpenMetadata(tp kafka.TopicPartition, id kafka.TopicID, cfg config.Topic, recoveryPoint int64) (*Log, error) {
	m.create.Lock()
	defer m.create.Unlock()
	d := m.metaDir
	if d == nil {
		return nil, errors.New("no metadata directory is configured")
	}
	if m.metadata != nil {
		return m.metadata, nil
	}
	folder := filepath.Join(d.path, tp.String())
	exists, err := vfs.Exists(m.env.fs, folder)
	if err != nil {
		return nil, d.ioError("looking for "+folder, err)
	}
	var l *Log
	if exists {
		p := loadParams{cfg: cfg, recoveryPoint: recoveryPoint, clean: d.clean}
		if d.clean {
			p.recoveryPoint = NoOffset // it is not the log end
		}
		if l, err = m.env.openLog(d, folder, tp, folderCurrent, p); err == nil {
			err = l.SetTopicID(id)
		}
	} else {
		l, err = m.newLog(d, folder, tp, folderCurrent, id, cfg)
	}
	if err != nil {
		return nil, err
	}
	m.metadata = l
	return l, nil
}
