package log

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/vfs"
)

func (m *Manager) open(ctx context.Context) error {
	if err := m.lockDirs(); err != nil {
		return err
	}
	if err := m.checkIdentity(); err != nil {
		return err
	}
	var wg sync.WaitGroup
	errs := make([]error, len(m.dirs))
	for i, d := range m.dirs {
		if d.err() != nil {
			continue
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			errs[i] = m.openDir(ctx, d)
		}()
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := m.keepOne(); err != nil {
		return err
	}
	m.dropFutures()
	m.finishMoves()
	for _, d := range m.dirs {
		if d.data && d.err() == nil {
			return nil
		}
	}
	if len(m.opts.Dirs) == 0 && m.metaDir != nil && m.metaDir.err() == nil {
		return nil
	}
	return kafka.KafkaStorageError.Errorf("none of the log directories %q can be used", m.opts.Dirs)
}

// lockDirs makes and locks the directories. Only one that is in use elsewhere, or
// named twice, is an error; others that fail are offline.
func (m *Manager) lockDirs() error {
	add := func(path string, data bool) error {
		path = filepath.Clean(path)
		for _, d := range m.dirs {
			if d.path != path {
				continue
			}
			if data {
				return fmt.Errorf("duplicate log directory %s", path)
			}
			m.metaDir = d
			return nil
		}
		d := &dataDir{env: m.env, path: path, data: data, epoch: -1, onOffline: m.opts.OnOffline}
		d.writeStarts = func() error { return m.checkpointDir(d, &logStartOffsets) }
		d.writePoints = func() error { return m.checkpointDir(d, &recoveryPoints) }
		d.space.headroom = m.opts.HeadroomBytes
		m.dirs = append(m.dirs, d)
		if !data {
			m.metaDir = d
		}
		return m.lockDir(d)
	}
	for _, path := range m.opts.Dirs {
		if err := add(path, true); err != nil {
			return err
		}
	}
	if m.opts.MetadataDir != "" {
		return add(m.opts.MetadataDir, false)
	}
	return nil
}

func (m *Manager) lockDir(d *dataDir) error {
	_, err := m.env.fs.Stat(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		m.env.logger.Info("log directory not found, creating it", "dir", d.path)
		if err = m.env.fs.MkdirAll(d.path, 0o755); err == nil {
			err = m.env.fs.SyncDir(filepath.Dir(d.path))
		}
	}
	if err != nil {
		d.fail("opening", err)
		return nil
	}
	lock, err := m.env.fs.Lock(filepath.Join(d.path, fileLock))
	if errors.Is(err, vfs.ErrLocked) {
		return fmt.Errorf("Failed to acquire lock on file .lock in %s. A Kafka instance in another process or thread is using this directory.%s: %w", d.path, lockHolder(m.env.fs, filepath.Join(d.path, fileLock)), err) //nolint:staticcheck // the text that users know
	}
	if err != nil {
		d.fail("locking", err)
		return nil
	}
	d.lock = lock
	return nil
}

// checkIdentity compares the meta.properties of all directories with each other
// and with the configuration, and completes what is missing.
func (m *Manager) checkIdentity() error {
	metas := make(map[*dataDir]MetaProperties)
	formatted := false
	for _, d := range m.dirs {
		if d.err() != nil {
			continue
		}
		meta, found, err := ReadMetaProperties(m.env.fs, d.path)
		if err != nil {
			if found {
				return err
			}
			d.fail("reading meta.properties", err)
			continue
		}
		if found {
			formatted = true
			if meta.ClusterID != "" && m.clusterID == "" {
				m.clusterID = meta.ClusterID
			}
			if meta.ClusterID != "" && meta.ClusterID != m.clusterID {
				return fmt.Errorf("Invalid cluster.id in: %s. Expected %s, but read %s", filepath.Join(d.path, fileMetaProperties), m.clusterID, meta.ClusterID) //nolint:staticcheck // the text that users know
			}
			if meta.NodeID != kafka.NoNode && meta.NodeID != m.opts.NodeID {
				return fmt.Errorf("Stored node id %d doesn't match previous node id %d in %s. If you moved your data, make sure your configured node id matches. If you intend to create a new node, you should remove all data in your data directories.", meta.NodeID, m.opts.NodeID, filepath.Join(d.path, fileMetaProperties)) //nolint:staticcheck // the text that users know
			}
		}
		metas[d] = meta
	}
	if !formatted && !m.opts.AllowUnformatted && len(metas) > 0 {
		return fmt.Errorf("No readable meta.properties files found.") //nolint:staticcheck,revive // the text that users know
	}
	ids := map[kafka.UUID]string{}
	for _, d := range m.dirs {
		meta, ok := metas[d]
		if !ok {
			continue
		}
		if meta.DirectoryID.IsZero() {
			meta = MetaProperties{Version: 1, ClusterID: m.clusterID, NodeID: m.opts.NodeID, DirectoryID: m.env.newDirectoryID()}
			if err := WriteMetaProperties(m.env.fs, d.path, meta); err != nil {
				d.fail("writing meta.properties", err)
				continue
			}
		}
		if other, dup := ids[meta.DirectoryID]; dup {
			return fmt.Errorf("Duplicate directory ID %s was found in both %s and %s", meta.DirectoryID, other, d.path) //nolint:staticcheck // the text that users know
		}
		ids[meta.DirectoryID] = d.path
		d.id = meta.DirectoryID
	}
	return nil
}

// openDir reads the state of one directory and opens its logs in parallel.
func (m *Manager) openDir(ctx context.Context, d *dataDir) error {
	if err := m.takeMarker(d); err != nil {
		d.fail("reading the clean shutdown marker", err)
		return nil
	}
	if !d.data {
		return nil
	}
	points := d.readOffsets(fileRecoveryPoints)
	marks := d.readOffsets(fileHighWatermarks)
	starts := d.readOffsets(fileLogStartOffsets)
	entries, err := m.env.fs.ReadDir(d.path)
	if err != nil {
		d.fail("listing", err)
		return nil
	}
	d.loadCleanPoints(entries)
	names := make(chan string)
	errs := make(chan error, m.opts.RecoveryThreads)
	for range m.opts.RecoveryThreads {
		go func() {
			var failed error
			for name := range names {
				if failed != nil || ctx.Err() != nil || d.err() != nil {
					continue
				}
				failed = m.openFolder(d, name, points, marks, starts)
			}
			errs <- failed
		}()
	}
	for _, e := range entries {
		folder, err := isPartition(m.env.fs, d.path, e)
		if err != nil {
			d.fail("looking at "+e.Name(), err)
			break
		}
		if folder {
			names <- e.Name()
		}
	}
	close(names)
	var all []error
	for range m.opts.RecoveryThreads {
		all = append(all, <-errs)
	}
	there := func(tp kafka.TopicPartition) bool { return m.holds(d, tp) }
	d.haunted(fileRecoveryPoints, points, there)
	d.haunted(fileHighWatermarks, marks, there)
	d.haunted(fileLogStartOffsets, starts, there)
	return errors.Join(append(all, ctx.Err())...)
}

// isPartition says whether an entry of a log directory is a partition's folder. That may
// be a link to one on another disk.
func isPartition(fsys vfs.FS, dir string, e fs.DirEntry) (bool, error) {
	if e.Name() == dirRemoteLogIndexCache || e.Name() == "lost+found" {
		return false, nil
	}
	if e.Type()&fs.ModeSymlink == 0 {
		return e.IsDir(), nil
	}
	info, err := fsys.Stat(filepath.Join(dir, e.Name()))
	return err == nil && info.IsDir(), ignoreMissing(err)
}

// holds says whether a log of tp is in the directory.
func (m *Manager) holds(d *dataDir, tp kafka.TopicPartition) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, from := range []map[kafka.TopicPartition]*Log{m.logs, m.future} {
		if l := from[tp]; l != nil && l.dir == d {
			return true
		}
	}
	return false
}

// takeMarker notes whether the last stop was clean and removes the marker, so that
// a crash from here on counts as one. After another stop the names in the directory may
// not be durable yet, which nobody would know of later.
func (m *Manager) takeMarker(d *dataDir) error {
	name := filepath.Join(d.path, fileCleanShutdown)
	data, err := vfs.ReadFile(m.env.fs, name)
	if errors.Is(err, fs.ErrNotExist) {
		return m.env.fs.SyncDir(d.path)
	}
	if err != nil {
		return err
	}
	if err := m.env.fs.Remove(name); err != nil {
		return err
	}
	if err := m.env.fs.SyncDir(d.path); err != nil {
		return err
	}
	d.clean, d.epoch = true, parseCleanShutdown(data)
	return nil
}

// openFolder opens what one folder of a directory holds. An error means that the
// directory must not be used by this node; failures of the disk take it offline.
func (m *Manager) openFolder(d *dataDir, name string, points, marks, starts map[kafka.TopicPartition]int64) error {
	folder := filepath.Join(d.path, name)
	tp, kind, err := parseFolder(name)
	if err != nil {
		return fmt.Errorf("log directory %s: %w", d.path, err)
	}
	if tp.Topic == kafka.MetadataTopic {
		return nil
	}
	switch kind {
	case folderDelete:
		m.mu.Lock()
		m.deleted[tp] = true
		m.mu.Unlock()
		m.env.tasks.removeFolderLater(d, m.opts.TopicConfig(tp.Topic).FileDeleteDelayMs, folder)
		return nil
	case folderStray:
		m.env.logger.Warn("found a stray partition", "folder", folder)
		m.mu.Lock()
		m.strays = append(m.strays, folder)
		m.mu.Unlock()
		return nil
	}
	p := loadParams{cfg: m.opts.TopicConfig(tp.Topic), start: starts[tp], recoveryPoint: NoOffset, hw: marks[tp], clean: d.clean}
	if rp, ok := points[tp]; ok {
		p.recoveryPoint = rp
	}
	// The topic's own configuration is not known yet, but how far it was compacted is.
	p.cleaned, p.compacted = d.cleanPoint(tp)
	l, err := m.env.openLog(d, folder, tp, kind, p)
	if coded(err) && !errors.Is(err, kafka.KafkaStorageError) {
		// What lies in the log cannot be recovered, and without the log the partition would
		// begin again, empty.
		d.fail("opening "+name, err)
	}
	if err != nil {
		if d.err() != nil {
			return nil
		}
		return err
	}
	return m.enter(l, kind)
}

// enter makes a log that Open found known, as that of its partition if it is the first.
func (m *Manager) enter(l *Log, kind folderKind) error {
	m.mu.Lock()
	into := m.logs
	if kind == folderFuture {
		into = m.future
	}
	other := into[l.tp]
	if other == nil {
		into[l.tp] = l
	} else if kind == folderFuture {
		m.futures = append(m.futures, l)
	}
	m.mu.Unlock()
	if other == nil || kind == folderFuture || m.addRival(other, l) {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.doubles[l.tp] != nil {
		return duplicateLogs(other, l.Folder())
	}
	m.doubles[l.tp] = l
	return nil
}
