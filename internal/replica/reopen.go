package replica

import (
	"slices"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log"
)

// reopening are the partitions that are offline for a cause that passes: the disk was
// full, or no descriptors were left, when their log was to be made or their leadership
// written down. Manager.mu guards it.
type reopening map[partKey]bool

// offline notes that a partition cannot be used. Once for each that is tried again.
func (m *Manager) offline(p *Partition, what string, err error) {
	m.Stats.OfflineReplicaCount.Add(1)
	key := partKey{p.topicID, p.tp.Partition}
	if log.Passing(err) {
		if m.reopen[key] {
			return
		}
		if m.reopen == nil {
			m.reopen = reopening{}
		}
		m.reopen[key] = true
	}
	m.logger.Error(what, "partition", p.tp, "error", err)
}

// deleteLog deletes the log of a partition that is not here any more, if it is that
// topic's. What fails for a cause that passes is tried again: the next start would keep the
// log as a stray, for ever. Caller holds mu.
func (m *Manager) deleteLog(tp kafka.TopicPartition, id kafka.TopicID) {
	_, again := m.undeleted[tp]
	err := m.deleteLogOf(tp, id)
	switch {
	case err == nil && again:
		m.logger.Info("log deleted, after its deletion had failed", "partition", tp)
	case err != nil && !again:
		m.logger.Error("cannot delete log", "partition", tp, "error", err)
	}
	if !log.Passing(err) {
		delete(m.undeleted, tp)
		return
	}
	if m.undeleted == nil {
		m.undeleted = map[kafka.TopicPartition]kafka.TopicID{}
	}
	m.undeleted[tp] = id
}

// deleteLogOf deletes the log of tp unless it is another topic's, which could not be set
// aside. One that has no id yet belongs to the topic for which it was opened.
func (m *Manager) deleteLogOf(tp kafka.TopicPartition, id kafka.TopicID) error {
	if l := m.logs.Get(tp); l != nil {
		switch other, err := l.TopicID(); {
		case err != nil:
			return err
		case !other.IsZero() && other != id:
			return nil
		}
	}
	return m.logs.Delete(tp)
}

// hasLog says whether there is a log of tp in a directory that is online.
func (m *Manager) hasLog(tp kafka.TopicPartition) bool {
	l := m.logs.Get(tp)
	if l == nil {
		return false
	}
	path, _ := l.Dir()
	return !slices.ContainsFunc(m.logs.Dirs(), func(d log.DirInfo) bool { return d.Path == path && d.Offline != nil })
}

// deleteAgain deletes what could not be deleted, but for the logs of partitions that have
// come back since: they have theirs again. Caller holds mu.
func (m *Manager) deleteAgain() {
	for tp, id := range m.undeleted {
		if m.Get(tp.Topic, tp.Partition) != nil {
			delete(m.undeleted, tp)
			continue
		}
		m.deleteLog(tp, id)
	}
}

// Reopen tries again to open the partitions that are offline for a cause that passes, and
// to delete the logs whose deletion failed for one. The node calls it every second.
func (m *Manager) Reopen() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ctx.Err() == nil {
		m.deleteAgain()
	}
	img := m.image.Load()
	if len(m.reopen) == 0 || img == nil || m.ahead || m.ctx.Err() != nil {
		return
	}
	for key := range m.reopen {
		t, e := img.TopicByID(key.id), m.table.findID(key.id)
		if t == nil || e == nil || int(key.index) >= len(*e.parts.Load()) {
			delete(m.reopen, key)
			continue
		}
		reg, p := t.Partition(key.index), (*e.parts.Load())[key.index]
		if reg == nil || !reg.HasReplica(m.nodeID) || p == nil || p.Log() != nil {
			delete(m.reopen, key)
			continue
		}
		m.Stats.PartitionCount.Add(-1)
		m.Stats.OfflineReplicaCount.Add(-1)
		cfg := m.topicConfig(img, t.Name)
		again := m.createPartition(e, p.tp.Partition, reg, cfg)
		m.applyPartition(again, reg, cfg)
		m.reportDirectory(again, reg)
		parts := append([]*Partition(nil), *e.parts.Load()...)
		parts[key.index] = again
		e.parts.Store(&parts)
		if again.Log() != nil {
			delete(m.reopen, key)
			m.logger.Info("partition is online, its log could be opened", "partition", p.tp)
		}
	}
}
