package replica

import (
	"errors"
	"slices"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/isr"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
)

// Apply makes the partitions of this broker what img says; delta is what changed
// since the image of the call before. It runs on the loader's goroutine, before img
// is published.
//
// The first call takes everything from img and ignores delta. It must come with an
// image that has caught up with the controller: logs that it does not know are
// strays, and are set aside.
func (m *Manager) Apply(delta *metadata.Delta, img *metadata.Image) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.image.Store(img)
	if m.first {
		m.first, m.booting = false, true
		defer func() { m.booting = false }()
		m.setStraysAside(img)
		m.strayFutures(img)
		m.directoriesKnown(img)
		for t := range img.Topics() {
			m.applyTopic(img, t.Name, t.ID, t.Partitions())
		}
		return
	}
	m.directoriesKnown(img)
	for t := range delta.DeletedTopics() {
		m.deleteTopic(t)
	}
	for t := range delta.ChangedTopics() {
		m.applyTopic(img, t.Name, t.ID, t.Partitions())
	}
	for _, r := range delta.ChangedConfigs() {
		if r.Type != metadata.ResourceTopic {
			continue
		}
		if e := m.table.find(r.Name); e != nil {
			m.reconfigureTopic(img, e, false)
		}
	}
	if m.ahead {
		m.ahead = false
		m.table.all(func(e *topicEntry) { m.reconfigureTopic(img, e, false) })
	}
}

// Reconfigure applies a changed broker configuration to every partition, since it
// holds the defaults of the topics' configurations. The Apply of the image that has the
// change comes after it: until then no min.insync.replicas is lowered.
func (m *Manager) Reconfigure(cfg *config.Broker) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.config, m.defaults = cfg, nil
	m.maxLagMs.Store(cfg.ReplicaLagTimeMaxMs)
	old := m.settings.Swap(deriveSettings(cfg))
	m.throttles.configure(m, cfg)
	if old.fetchers != m.settings.Load().fetchers {
		m.All(m.updateFetcher)
	}
	m.ahead = true
	if img := m.image.Load(); img != nil {
		m.table.all(func(e *topicEntry) { m.reconfigureTopic(img, e, true) })
	}
}

// Image is the image that Apply was given last, also while it works on it; nil before the
// first. No partition here is from a newer one.
func (m *Manager) Image() *metadata.Image { return m.image.Load() }

// applyTopic brings the given partitions of a topic to their new state.
func (m *Manager) applyTopic(img *metadata.Image, name string, id kafka.TopicID, changed func(func(int32, *metadata.Partition) bool)) {
	e := m.table.find(name)
	if e != nil && e.id != id {
		// The old topic's deletion comes before; this is the belt to those braces.
		m.dropTopic(e)
		e = nil
	}
	fresh := e == nil
	if fresh {
		e = &topicEntry{name: name, id: id}
		e.parts.Store(&[]*Partition{})
	}
	var cfg *topicConfig
	parts := append([]*Partition(nil), *e.parts.Load()...)
	any := false
	for index, reg := range changed {
		if !reg.HasReplica(m.nodeID) {
			if int(index) < len(parts) && parts[index] != nil {
				m.dropPartition(parts[index], kafka.NotLeaderOrFollower)
				parts[index] = nil
				any = true
			}
			continue
		}
		if cfg == nil {
			cfg = m.topicConfig(img, name)
		}
		for int(index) >= len(parts) {
			parts = append(parts, nil)
		}
		if parts[index] == nil {
			parts[index] = m.createPartition(e, index, reg, cfg)
			any = true
		}
		m.applyPartition(parts[index], reg, cfg)
		m.reportDirectory(parts[index], reg)
	}
	if !any {
		return
	}
	e.parts.Store(&parts)
	if fresh {
		m.table.put(e)
	} else if !slices.ContainsFunc(parts, func(p *Partition) bool { return p != nil }) {
		m.table.remove(e) // its metrics end, as in Kafka
	}
}

// createPartition opens or creates the log. A partition whose directory is offline
// exists too: it answers KAFKA_STORAGE_ERROR.
func (m *Manager) createPartition(e *topicEntry, index int32, reg *metadata.Partition, cfg *topicConfig) *Partition {
	tp, id := kafka.TopicPartition{Topic: e.name, Partition: index}, e.id
	p := &Partition{m: m, tp: tp, topicID: id, topic: &e.stats}
	v := &view{cfg: cfg, leaderID: isr.NoNode, leaderEpoch: kafka.NoEpoch}
	m.Stats.PartitionCount.Add(1)
	l, existed, err := m.createLog(tp, id, reg, cfg)
	if err != nil {
		m.offline(p, "partition is offline, its log cannot be opened", err)
		v.err = kafka.KafkaStorageError
	} else {
		v.log = l
		if existed {
			l.Reconfigure(cfg.Topic)
		}
	}
	p.view.Store(v)
	switch {
	case err == nil:
		m.resumeMove(p, l)
	case errors.Is(err, errMayBeOffline):
		m.assign(p, metadata.DirLost, nil)
	}
	return p
}

// applyPartition makes this broker leader or follower as the registration says.
func (m *Manager) applyPartition(p *Partition, reg *metadata.Partition, cfg *topicConfig) {
	leads := reg.Leader == m.nodeID
	if !leads {
		m.countLeader(p, false)
		p.follow(reg.Leader, reg.LeaderEpoch, cfg, &m.wakes)
		m.updateFetcher(p)
		m.wakes.run()
		return
	}
	was := p.IsLeader()
	err := p.lead(isr.Assignment{
		LeaderEpoch: reg.LeaderEpoch, PartitionEpoch: reg.PartitionEpoch, Replicas: reg.Replicas, ISR: reg.ISR, MinISR: cfg.MinInsyncReplicas,
	}, cfg, &m.wakes)
	if err != nil {
		m.offline(p, "partition is offline, it cannot become leader", err)
		p.close(kafka.KafkaStorageError, &m.wakes)
	}
	m.updateFetcher(p)
	m.wakes.run()
	if is := p.IsLeader(); is && !was {
		m.Stats.LeaderCount.Add(1)
	} else if was && !is {
		m.Stats.LeaderCount.Add(-1)
	}
}

// deleteTopic takes a topic away that was deleted.
func (m *Manager) deleteTopic(t *metadata.Topic) {
	if e := m.table.findID(t.ID); e != nil {
		m.dropTopic(e)
	}
}

func (m *Manager) dropTopic(e *topicEntry) {
	m.table.remove(e)
	for _, p := range *e.parts.Load() {
		if p != nil {
			m.dropPartition(p, kafka.UnknownTopicOrPartition)
		}
	}
}

// dropPartition closes the partition for everybody and deletes its log: the folder
// is renamed at once and removed later. One that was offline may have a log all the same,
// which could not be used and takes room.
func (m *Manager) dropPartition(p *Partition, code *kafka.Code) {
	m.countLeader(p, false)
	m.Stats.PartitionCount.Add(-1)
	offline := p.Log() == nil
	m.mover.drop(p)
	p.close(code, &m.wakes)
	m.updateFetcher(p)
	m.wakes.run()
	if offline {
		m.Stats.OfflineReplicaCount.Add(-1)
		if !m.hasLog(p.tp) {
			return
		}
	}
	m.deleteLog(p.tp, p.topicID)
}

// setStraysAside renames logs that no partition of the image accounts for: their
// topic was deleted, or created anew, while this broker was down.
func (m *Manager) setStraysAside(img *metadata.Image) {
	for _, l := range m.logs.Logs() {
		tp := l.TopicPartition()
		if tp.Topic == kafka.MetadataTopic {
			continue
		}
		t := img.Topic(tp.Topic)
		id, err := l.TopicID()
		switch {
		case err != nil:
			// Without its id nobody knows whose it is. If the partition exists, opening it
			// reports the error.
			m.logger.Error("cannot tell the topic id of a log", "partition", tp, "error", err)
		case t == nil:
			m.setAside(tp, "its topic does not exist")
		case !id.IsZero() && id != t.ID:
			m.setAside(tp, "its topic id is "+id.String())
		case t.Partition(tp.Partition) == nil || !t.Partition(tp.Partition).HasReplica(m.nodeID):
			m.setAside(tp, "it is not assigned to this broker")
		}
	}
}

func (m *Manager) setAside(tp kafka.TopicPartition, why string) {
	m.logger.Warn("stray log set aside", "partition", tp, "reason", why)
	if err := m.logs.Stray(tp); err != nil {
		m.logger.Error("cannot set stray log aside", "partition", tp, "error", err)
	}
}

// reconfigureTopic gives every partition of a topic its configuration in force. ahead says
// that the broker's part of it is ahead of img.
func (m *Manager) reconfigureTopic(img *metadata.Image, e *topicEntry, ahead bool) {
	cfg := m.topicConfig(img, e.name)
	for _, p := range *e.parts.Load() {
		if p != nil {
			p.reconfigure(cfg, ahead, &m.wakes)
			m.wakes.run()
		}
	}
}

// topicConfig derives what a topic's configuration means. Topics without overrides
// share one value.
func (m *Manager) topicConfig(img *metadata.Image, topic string) *topicConfig {
	overrides := img.TopicConfig(topic)
	if len(overrides) == 0 {
		if m.defaults == nil {
			m.defaults = m.deriveConfig(topic, nil)
		}
		return m.defaults
	}
	return m.deriveConfig(topic, overrides)
}

func (m *Manager) deriveConfig(topic string, overrides map[string]string) *topicConfig {
	t, err := m.config.TopicConfig(overrides)
	if err != nil {
		// The controller validates before it writes: this is a record of another version.
		m.logger.Error("topic configuration is not understood, the broker's defaults apply", "topic", topic, "error", err)
		if t, err = m.config.TopicConfig(nil); err != nil {
			m.logger.Error("broker configuration gives no topic defaults", "error", err)
		}
	}
	return &topicConfig{
		Topic: t, batch: batchConfig(&t),
		leaderThrottled:   parseThrottled(t.LeaderReplicationThrottledReplicas),
		followerThrottled: parseThrottled(t.FollowerReplicationThrottledReplicas),
	}
}

// batchConfig is the part of a topic's configuration that judges records.
func batchConfig(t *config.Topic) batch.Config {
	c := batch.Config{
		MaxMessageBytes:      t.MaxMessageBytes,
		TimestampType:        batch.CreateTime,
		BeforeMaxMs:          t.MessageTimestampBeforeMaxMs,
		AfterMaxMs:           t.MessageTimestampAfterMaxMs,
		Compact:              t.CleanupCompact,
		Codec:                batch.CodecProducer,
		MaxDecompressedBytes: t.MaxDecompressedBatchBytes(),
	}
	if t.MessageTimestampType == "LogAppendTime" {
		c.TimestampType = batch.LogAppendTime
	}
	if codec, ok := batch.ParseCompressionType(t.CompressionType); ok {
		c.Codec = codec
	}
	switch c.Codec {
	case batch.CodecGzip:
		c.Level = t.CompressionGzipLevel
	case batch.CodecLZ4:
		c.Level = t.CompressionLZ4Level
	case batch.CodecZstd:
		c.Level = t.CompressionZstdLevel
	}
	return c
}
