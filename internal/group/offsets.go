package group

import (
	"cmp"
	"maps"
	"slices"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/records"
)

// noOffset is the committed offset of a partition that has none.
const noOffset = -1

// offset is one committed offset as the log holds it. It does not change.
type offset struct {
	recordOffset    int64 // where the record stands in the log
	offset          int64
	leaderEpoch     int32 // -1 when unknown
	metadata        string
	commitTimestamp int64
	expireTimestamp int64 // -1 unless the request asked for its own retention
	topicID         kafka.TopicID
}

type groupPartition struct {
	group     string
	topic     string
	partition int32
}

// offsetTable holds offsets by group, topic and partition. Empty inner maps are removed.
type offsetTable map[string]map[string]map[int32]*offset

func (t offsetTable) get(p groupPartition) *offset { return t[p.group][p.topic][p.partition] }

func (t offsetTable) put(p groupPartition, o *offset) {
	topics := t[p.group]
	if topics == nil {
		topics = map[string]map[int32]*offset{}
		t[p.group] = topics
	}
	parts := topics[p.topic]
	if parts == nil {
		parts = map[int32]*offset{}
		topics[p.topic] = parts
	}
	parts[p.partition] = o
}

func (t offsetTable) remove(p groupPartition) {
	parts := t[p.group][p.topic]
	if parts == nil {
		return
	}
	delete(parts, p.partition)
	if len(parts) == 0 {
		delete(t[p.group], p.topic)
	}
	if len(t[p.group]) == 0 {
		delete(t, p.group)
	}
}

// all returns the partitions of the table by group, topic and partition.
func (t offsetTable) all() []groupPartition {
	var all []groupPartition
	for _, id := range slices.Sorted(maps.Keys(t)) {
		all = append(all, t.ofGroup(id)...)
	}
	return all
}

// ofGroup returns the partitions of one group by topic and partition.
func (t offsetTable) ofGroup(id string) []groupPartition {
	var all []groupPartition
	for topic, parts := range t[id] {
		for p := range parts {
			all = append(all, groupPartition{id, topic, p})
		}
	}
	sortPartitions(all)
	return all
}

func sortPartitions(all []groupPartition) {
	slices.SortFunc(all, func(a, b groupPartition) int {
		return cmp.Or(cmp.Compare(a.group, b.group), cmp.Compare(a.topic, b.topic), cmp.Compare(a.partition, b.partition))
	})
}

// offsetOf returns the offset of a record's value, nil for a tombstone.
func offsetOf(value records.Message, from coord.Origin) *offset {
	v, ok := value.(*records.OffsetCommitValue)
	if !ok {
		return nil
	}
	return &offset{recordOffset: from.Offset, offset: v.Offset, leaderEpoch: v.LeaderEpoch, metadata: v.Metadata,
		commitTimestamp: v.CommitTimestamp, expireTimestamp: v.ExpireTimestamp, topicID: v.TopicID}
}

func legacyOffset(value records.Message) *offset {
	v, ok := value.(*records.LegacyOffsetCommitValue)
	if !ok {
		return nil
	}
	return &offset{offset: v.Offset, leaderEpoch: -1, metadata: v.Metadata, commitTimestamp: v.CommitTimestamp, expireTimestamp: -1}
}

// replayOffset applies a commit, or the removal of one when o is nil. A removal takes
// pending offsets of transactions with it.
func (m *Machine) replayOffset(p groupPartition, o *offset, from coord.Origin) {
	if o == nil {
		m.offsets.remove(p)
		for producerID := range m.open[p] {
			m.removePending(producerID, p)
		}
		return
	}
	if m.groups[p.group] == nil {
		m.groups[p.group] = newClassicGroup(p.group)
	}
	if !from.Transactional {
		m.offsets.put(p, o)
		return
	}
	if m.pending[from.ProducerID] == nil {
		m.pending[from.ProducerID] = offsetTable{}
	}
	m.pending[from.ProducerID].put(p, o)
	if m.open[p] == nil {
		m.open[p] = map[int64]struct{}{}
	}
	m.open[p][from.ProducerID] = struct{}{}
}

func (m *Machine) removePending(producerID int64, p groupPartition) {
	if t := m.pending[producerID]; t != nil {
		t.remove(p)
		if len(t) == 0 {
			delete(m.pending, producerID)
		}
	}
	delete(m.open[p], producerID)
	if len(m.open[p]) == 0 {
		delete(m.open, p)
	}
}

// ReplayTxnEnd ends the transaction of a producer: its pending offsets become committed
// ones, unless a later commit has overtaken them, or are dropped.
func (m *Machine) ReplayTxnEnd(producerID int64, _ int16, commit bool) error {
	pending := m.pending[producerID]
	for _, p := range pending.all() {
		o := pending.get(p)
		m.removePending(producerID, p)
		if !commit {
			continue
		}
		if old := m.offsets.get(p); old == nil || o.recordOffset > old.recordOffset {
			m.offsets.put(p, o)
		}
	}
	return nil
}

// hasOpen says whether any transaction has pending offsets of the group.
func (m *Machine) hasOpen(groupID string) bool {
	for _, t := range m.pending {
		if len(t[groupID]) > 0 {
			return true
		}
	}
	return false
}

// offsetRecord is the record that commits o.
func offsetRecord(p groupPartition, o *offset) coord.Record {
	v := &records.OffsetCommitValue{Version: 4, Offset: o.offset, LeaderEpoch: o.leaderEpoch, Metadata: o.metadata,
		CommitTimestamp: o.commitTimestamp, ExpireTimestamp: o.expireTimestamp, TopicID: o.topicID}
	if o.expireTimestamp != -1 {
		v.Version = 1 // the only version with a field for it
	}
	return coord.Record{Key: offsetKey(p), Value: records.EncodeCoordinatorValue(v)}
}

func offsetTombstone(p groupPartition) coord.Record { return coord.Record{Key: offsetKey(p)} }

func offsetKey(p groupPartition) []byte {
	return records.EncodeCoordinatorKey(&records.OffsetCommitKey{Group: p.group, Topic: p.topic, Partition: p.partition})
}

// deleteOffsets returns the tombstones of all offsets of a group, pending ones included.
func (m *Machine) deleteOffsets(groupID string) []coord.Record {
	all := m.offsets.ofGroup(groupID)
	for p := range m.open {
		if p.group == groupID && m.offsets.get(p) == nil {
			all = append(all, p)
		}
	}
	sortPartitions(all)
	var out []coord.Record
	for _, p := range all {
		out = append(out, offsetTombstone(p))
	}
	return out
}

// TopicsDeleted removes the offsets of deleted topics: those that were committed for the
// deleted id, or without an id, for the deleted name. A deletion is told once: when the
// removal cannot be written, RemoveOrphans looks for them again.
func (m *Machine) TopicsDeleted(deleted map[string]kafka.TopicID) coord.Outcome {
	out := m.removeOffsets(func(topic string, o *offset) bool {
		id, ok := deleted[topic]
		return ok && (o.topicID.IsZero() || o.topicID == id)
	})
	out.Op = m.sweepAgain()
	return out
}

// sweepAgain makes RemoveOrphans look again, with the next image, when the append that it
// belongs to fails.
func (m *Machine) sweepAgain() *op {
	return &op{failed: func(*kafka.Code, int64) coord.Outcome {
		m.swept = false
		return coord.Outcome{}
	}}
}

// RemoveOrphans removes the offsets of topics that the metadata does not have: those that
// were deleted while nobody coordinated this partition. It does so once, and again after a
// removal that could not be written; otherwise TopicsDeleted tells of every deletion. img must not be older than any offset in the
// log: it must have the registration of the broker that leads the partition.
func (m *Machine) RemoveOrphans(img *metadata.Image) coord.Outcome {
	if m.swept {
		return coord.Outcome{}
	}
	m.swept = true
	if now := m.image(); now.Offset > img.Offset {
		img = now // commits before this operation may know topics of it
	}
	out := m.removeOffsets(func(topic string, o *offset) bool {
		if o.topicID.IsZero() {
			return img.Topic(topic) == nil
		}
		return img.TopicByID(o.topicID) == nil
	})
	out.Op = m.sweepAgain()
	return out
}

// removeOffsets writes tombstones for the committed and pending offsets that which
// chooses.
func (m *Machine) removeOffsets(which func(topic string, o *offset) bool) coord.Outcome {
	found := map[groupPartition]bool{}
	collect := func(t offsetTable) {
		for id, topics := range t {
			for topic, parts := range topics {
				for p, o := range parts {
					if which(topic, o) {
						found[groupPartition{id, topic, p}] = true
					}
				}
			}
		}
	}
	collect(m.offsets)
	for _, t := range m.pending {
		collect(t)
	}
	all := slices.Collect(maps.Keys(found))
	sortPartitions(all)
	out := coord.Outcome{Split: true}
	for _, p := range all {
		out.Records = append(out.Records, offsetTombstone(p))
	}
	return out
}

// expire removes the offsets whose retention is over, and groups that are empty then
// (KIP-211). A group that is rebalancing keeps its offsets. A check that comes late by
// more than the interval means that the clock was moved: it is left out, so that a clock
// that is set right before the next one has cost nothing.
func (m *Machine) expire(nowMs int64) coord.Outcome {
	out := coord.Outcome{Split: true}
	if nowMs > m.expiryMs+m.cfg.OffsetsRetentionCheckMs {
		m.nextExpiry(&out, nowMs)
		return out
	}
	for _, id := range m.sortedGroups() {
		g := m.groups[id]
		if !m.expireOffsets(&out, g, nowMs) || !g.isEmpty() {
			continue
		}
		out.Records = append(out.Records, g.tombstones()...)
		cancel(&out, g.timerKeys()...)
	}
	m.nextExpiry(&out, nowMs)
	return out
}

func (m *Machine) nextExpiry(out *coord.Outcome, nowMs int64) {
	m.expiryMs = nowMs + m.cfg.OffsetsRetentionCheckMs
	set(out, expirationKey, m.expiryMs)
}

// expireOffsets says whether no offset of the group remains.
func (m *Machine) expireOffsets(out *coord.Outcome, g group, nowMs int64) bool {
	id := g.groupID()
	none := true
	for _, p := range m.offsets.ofGroup(id) {
		o := m.offsets.get(p)
		since, ok := g.expiresSince(o)
		expired := ok && nowMs-since >= m.cfg.OffsetsRetentionMs
		if ok && o.expireTimestamp != -1 {
			expired = nowMs >= o.expireTimestamp
		}
		if !expired || g.subscribedTo(p.topic) || len(m.open[p]) > 0 {
			none = false
			continue
		}
		m.counts.ExpiredOffsets++
		out.Records = append(out.Records, offsetTombstone(p))
	}
	return none && !m.hasOpen(id)
}
