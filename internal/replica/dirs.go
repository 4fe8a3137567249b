package replica

import (
	"path/filepath"
	"slices"

	"github.com/gregorhq/gregor/internal/isr"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log"
	"github.com/gregorhq/gregor/internal/metadata"
)

// Several log directories (docs/architecture/directories.md): where a replica is made, what
// the controller is told of it, what follows from a directory that fails.

// errMayBeOffline says that the replica may be in a directory that is offline: it must not
// be made anew in another.
var errMayBeOffline = kafka.KafkaStorageError.Errorf("the replica may be in a log directory that is offline")

// createLog opens or creates the log of a partition. existed says that it was there.
// Caller holds Manager.mu.
func (m *Manager) createLog(tp kafka.TopicPartition, id kafka.TopicID, reg *metadata.Partition, cfg *topicConfig) (l *log.Log, existed bool, err error) {
	if l := m.logs.Get(tp); l != nil {
		if other, err := l.TopicID(); err == nil && !other.IsZero() && other != id {
			m.setAside(tp, "its topic id is "+other.String())
		}
	}
	existed = m.logs.Get(tp) != nil
	dir := reg.Directory(m.nodeID)
	if dir == metadata.DirMigrating {
		dir = metadata.DirUnassigned
	}
	if !existed && m.booting && dir == metadata.DirUnassigned && m.counted(reg) && m.logs.AnyOffline() {
		return nil, false, errMayBeOffline
	}
	l, err = m.logs.Create(tp, id, dir, cfg.Topic)
	if err == nil {
		// A log of before topic ids gets one; one of another topic is an error here.
		err = l.SetTopicID(id)
	}
	return l, existed, err
}

// counted says whether the controller may count on this broker to have the partition's
// records.
func (m *Manager) counted(reg *metadata.Partition) bool {
	return reg.InISR(m.nodeID) || reg.InELR(m.nodeID) || slices.Contains(reg.LastKnownELR, m.nodeID)
}

// resumeMove goes on with a move between directories that the broker's last run began.
func (m *Manager) resumeMove(p *Partition, l *log.Log) {
	future := m.logs.Future(p.tp)
	if future == nil {
		return
	}
	if id, err := future.TopicID(); err != nil || id != p.topicID {
		m.logger.Warn("future log of another topic deleted", "partition", p.tp, "topicID", id, "error", err)
		m.deleteFuture(p.tp)
		return
	}
	m.mover.begin(p, l, future)
}

func (m *Manager) deleteFuture(tp kafka.TopicPartition) {
	if err := m.logs.DeleteFuture(tp); err != nil {
		m.logger.Error("cannot delete a future log", "partition", tp, "error", err)
	}
}

// strayFutures sets future logs aside that have no current log and no partition.
func (m *Manager) strayFutures(img *metadata.Image) {
	for _, l := range m.logs.Futures() {
		tp := l.TopicPartition()
		if reg := img.Partition(tp.Topic, tp.Partition); reg != nil && reg.HasReplica(m.nodeID) {
			continue
		}
		m.logger.Warn("stray future log set aside", "partition", tp)
		if err := m.logs.StrayFuture(tp); err != nil {
			m.logger.Error("cannot set stray future log aside", "partition", tp, "error", err)
		}
	}
}

// reportDirectory has the controller told where p is if it thinks otherwise. Caller holds
// Manager.mu.
func (m *Manager) reportDirectory(p *Partition, reg *metadata.Partition) {
	l := p.Log()
	if l == nil {
		return
	}
	if _, id := l.Dir(); id != reg.Directory(m.nodeID) && !m.mover.told(p) {
		m.assign(p, id, nil)
	}
}

// DirectoriesTold says whether the metadata, as far as it was applied here, has every replica
// of this broker in the directory in which it is. If not, the next start may be one without a
// directory of which the controller does not know what was in it.
func (m *Manager) DirectoriesTold() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	img := m.image.Load()
	if img == nil || !m.dirsSupported.Load() {
		return true // nothing can be told, nor is anything concluded from it
	}
	told := true
	m.All(func(p *Partition) {
		reg := m.registration(img, p)
		if reg == nil || !reg.HasReplica(m.nodeID) {
			return
		}
		dir := reg.Directory(m.nodeID)
		if l := p.Log(); l != nil {
			_, id := l.Dir()
			told = told && id == dir
		} else if dir == metadata.DirUnassigned || dir == metadata.DirMigrating {
			told = false // it may be in a directory that is offline
		}
	})
	return told
}

// directoriesKnown notes whether the metadata can say where replicas are. When it first
// can, all are compared. Caller holds Manager.mu.
func (m *Manager) directoriesKnown(img *metadata.Image) {
	v, ok := img.MetadataVersion()
	if !ok || !v.DirectoryAssignmentSupported() || m.dirsSupported.Swap(true) {
		return
	}
	m.All(func(p *Partition) {
		if reg := m.registration(img, p); reg != nil {
			m.reportDirectory(p, reg)
		}
	})
}

// registration is what the image says of p, nil for nothing.
func (m *Manager) registration(img *metadata.Image, p *Partition) *metadata.Partition {
	if t := img.TopicByID(p.topicID); t != nil {
		return t.Partition(p.tp.Partition)
	}
	return nil
}

var _ isr.Brokers = (*Partition)(nil)

// Eligible makes a partition the isr.Brokers of its mind: it says which replicas may be in
// sync. One in a directory that is offline may not, though its broker lives: the high
// watermark must not wait for it as for one that is about to come back.
func (p *Partition) Eligible(id int32) (epoch int64, ok bool) {
	img := p.m.image.Load()
	if img == nil {
		return -1, false
	}
	b := img.Broker(id)
	if b == nil || !b.Active() {
		return -1, false
	}
	if reg := p.m.registration(img, p); reg != nil && !b.HasOnlineDirectory(reg.Directory(id)) {
		return -1, false
	}
	return b.Epoch, true
}

// AlterLogDir moves this broker's replica of a partition into the directory at path, or
// gives up a move when it is there already. A replica that is yet to come will be made
// there: that is REPLICA_NOT_AVAILABLE all the same.
func (m *Manager) AlterLogDir(tp kafka.TopicPartition, path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	path = filepath.Clean(path)
	dirs := m.logs.Dirs()
	at := slices.IndexFunc(dirs, func(d log.DirInfo) bool { return d.Path == path })
	switch {
	case at < 0:
		return kafka.LogDirNotFound.Errorf("Log directory %s is not found in the config.", path)
	case dirs[at].Offline != nil:
		return kafka.KafkaStorageError.Errorf("Log directory %s is offline", path)
	}
	dir := dirs[at].ID
	p := m.Get(tp.Topic, tp.Partition)
	if p == nil {
		if m.logs.Cordoned(path) {
			return cordoned(path)
		}
		if img := m.image.Load(); img != nil && img.Partition(tp.Topic, tp.Partition) != nil {
			m.logs.Prefer(tp, dir)
		}
		return kafka.ReplicaNotAvailable.Errorf("there is no replica of %s yet", tp)
	}
	l := p.Log()
	if l == nil {
		return kafka.KafkaStorageError.Errorf("Partition %s is offline", tp)
	}
	if _, id := l.Dir(); id == dir {
		m.mover.cancel(p, "its current directory was asked for")
		return nil
	}
	if m.logs.Cordoned(path) {
		return cordoned(path)
	}
	if m.mover.target(p) == dir {
		return nil
	}
	m.mover.cancel(p, "another directory was asked for")
	future, err := m.logs.CreateFuture(tp, dir)
	if err != nil {
		return err
	}
	m.mover.begin(p, l, future)
	return nil
}

func cordoned(path string) error {
	return kafka.InvalidReplicaAssignment.Errorf("Log directory %s is cordoned", path)
}

// DirFailed takes the partitions of a log directory offline. It is what the log
// manager's OnOffline calls: it returns at once, since it may be called under a
// partition's lock.
func (m *Manager) DirFailed(dir string) {
	m.start(func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		n := 0
		m.All(func(p *Partition) {
			l := p.Log()
			if l == nil {
				return
			}
			path, id := l.Dir()
			told := false
			if path == dir {
				told = m.mover.drop(p)
			} else if m.mover.targetFailed(p, dir) {
				m.assign(p, id, nil)
			}
			// A move, out of the directory or into it, may have got done before it could be
			// dropped.
			if path, id := p.Log().Dir(); path == dir {
				n++
				m.takeOffline(p, id, told)
			}
		})
		m.Stats.OfflineReplicaCount.Add(int64(n))
		m.logger.Error("log directory failed, its partitions are offline", "dir", dir, "partitions", n)
	})
}

// takeOffline ends the service of a partition whose directory, which has that id, failed.
// The controller learns of the directory by the heartbeat; that the replica is in it must
// be told if it may think otherwise, as after a move that was told and not done.
func (m *Manager) takeOffline(p *Partition, id kafka.UUID, told bool) {
	m.countLeader(p, false)
	p.close(kafka.KafkaStorageError, &m.wakes)
	m.updateFetcher(p)
	m.wakes.run()
	var reg *metadata.Partition
	if img := m.image.Load(); img != nil {
		reg = m.registration(img, p)
	}
	if told || reg != nil && reg.Directory(m.nodeID) != id {
		m.assign(p, id, nil)
	}
}
