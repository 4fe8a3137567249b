package replica

import (
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

// Reopen tries again to open the partitions that are offline for a cause that passes.
// The node calls it every second.
func (m *Manager) Reopen() {
	m.mu.Lock()
	defer m.mu.Unlock()
	img := m.image.Load()
	if len(m.reopen) == 0 || img == nil || m.ctx.Err() != nil {
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
		parts := append([]*Partition(nil), *e.parts.Load()...)
		parts[key.index] = again
		e.parts.Store(&parts)
		if again.Log() != nil {
			delete(m.reopen, key)
			m.logger.Info("partition is online, its log could be opened", "partition", p.tp)
		}
	}
}
