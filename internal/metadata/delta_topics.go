package metadata

import (
	"fmt"
	"iter"
	"slices"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/records"
)

// topicsDelta is the part of a delta about topics. Its maps are made at the first
// change.
type topicsDelta struct {
	changed map[kafka.TopicID]*TopicDelta
	order   []kafka.TopicID          // of first change; may name topics that were deleted again
	deleted map[kafka.TopicID]*Topic // of from, or of base once a snapshot was compared
	names   map[string]kafka.TopicID // topics created here
}

// TopicDelta is what changed in one topic.
type TopicDelta struct {
	Name string
	ID   kafka.TopicID
	Old  *Topic // nil when the topic is new
	New  *Topic // set by Apply

	build *chunkBuilder
}

// Created says whether the topic is new.
func (t *TopicDelta) Created() bool { return t.Old == nil }

// Partitions yields the partitions that were added or changed, ascending, with
// their new state.
func (t *TopicDelta) Partitions() iter.Seq2[int32, *Partition] {
	return func(yield func(int32, *Partition) bool) {
		for _, i := range t.build.changed {
			if !yield(i, t.build.get(i)) {
				return
			}
		}
	}
}

// finish sorts the changed indexes and makes New.
func (t *TopicDelta) finish() *Topic {
	slices.Sort(t.build.changed)
	t.build.changed = slices.Compact(t.build.changed)
	t.New = &Topic{Name: t.Name, ID: t.ID, parts: t.build.chunks}
	return t.New
}

// topicByName returns the id that the name has now.
func (d *Delta) topicByName(name string) (kafka.TopicID, bool) {
	if id, ok := d.topics.names[name]; ok {
		return id, true
	}
	t := d.from.Topic(name)
	if t == nil || d.topics.deleted[t.ID] != nil {
		return kafka.TopicID{}, false
	}
	return t.ID, true
}

func (d *Delta) addTopicDelta(t *TopicDelta) {
	if d.topics.changed == nil {
		d.topics.changed = map[kafka.TopicID]*TopicDelta{}
	}
	d.topics.changed[t.ID] = t
	d.topics.order = append(d.topics.order, t.ID)
}

// topicDelta returns the delta of an existing topic.
func (d *Delta) topicDelta(id kafka.TopicID) (*TopicDelta, error) {
	if t := d.topics.changed[id]; t != nil {
		return t, nil
	}
	old := d.from.TopicByID(id)
	if old == nil || d.topics.deleted[id] != nil {
		return nil, fmt.Errorf("there is no topic with id %s", id)
	}
	t := &TopicDelta{Name: old.Name, ID: id, Old: old, build: newChunkBuilder(old.parts)}
	d.addTopicDelta(t)
	return t, nil
}

func (d *Delta) replayTopic(r *records.TopicRecord) error {
	if id, exists := d.topicByName(r.Name); exists {
		return fmt.Errorf("create topic %s: it exists with id %s", r.Name, id)
	}
	if d.from.TopicByID(r.TopicID) != nil || d.topics.changed[r.TopicID] != nil {
		return fmt.Errorf("create topic %s: id %s is taken", r.Name, r.TopicID)
	}
	d.addTopicDelta(&TopicDelta{Name: r.Name, ID: r.TopicID, build: newChunkBuilder(chunks{})})
	if d.topics.names == nil {
		d.topics.names = map[string]kafka.TopicID{}
	}
	d.topics.names[r.Name] = r.TopicID
	return nil
}

func checkIndex(topic kafka.TopicID, index int32) error {
	if index < 0 || index > maxPartitionIndex {
		return fmt.Errorf("partition index %d of topic %s is out of range", index, topic)
	}
	return nil
}

func (d *Delta) replayPartition(r *records.PartitionRecord) error {
	if err := checkIndex(r.TopicID, r.PartitionID); err != nil {
		return err
	}
	t, err := d.topicDelta(r.TopicID)
	if err != nil {
		return fmt.Errorf("partition %d: %w", r.PartitionID, err)
	}
	p, err := partitionFromRecord(r)
	if err != nil {
		return err
	}
	t.build.set(r.PartitionID, p)
	return nil
}

func (d *Delta) replayPartitionChange(r *records.PartitionChangeRecord) error {
	t, err := d.topicDelta(r.TopicID)
	if err != nil {
		return fmt.Errorf("change of partition %d: %w", r.PartitionID, err)
	}
	old := t.build.get(r.PartitionID)
	if old == nil {
		return fmt.Errorf("change of partition %s-%d: it does not exist", t.Name, r.PartitionID)
	}
	p, err := old.Merge(r)
	if err != nil {
		return err
	}
	t.build.set(r.PartitionID, p)
	return nil
}

func (d *Delta) replayRemoveTopic(r *records.RemoveTopicRecord) error {
	t, err := d.topicDelta(r.TopicID)
	if err != nil {
		return fmt.Errorf("remove topic: %w", err)
	}
	delete(d.topics.changed, t.ID)
	if d.topics.names[t.Name] == t.ID {
		delete(d.topics.names, t.Name)
	}
	if t.Old != nil {
		if d.topics.deleted == nil {
			d.topics.deleted = map[kafka.TopicID]*Topic{}
		}
		d.topics.deleted[t.ID] = t.Old
	}
	res := ConfigResource{ResourceTopic, t.Name}
	if _, ok := d.configs.get(res); ok {
		d.configs.delete(res)
	}
	return nil
}

// replayClearELR forgets the eligible leader replicas of one topic, or of all for
// an empty name.
func (d *Delta) replayClearELR(r *records.ClearElrRecord) error {
	if r.TopicName != "" {
		id, ok := d.topicByName(r.TopicName)
		if !ok {
			return fmt.Errorf("clear ELR of topic %s: it does not exist", r.TopicName)
		}
		return d.clearTopicELR(id)
	}
	for id := range d.from.topics.byID.All() {
		if d.topics.deleted[id] == nil {
			if err := d.clearTopicELR(id); err != nil {
				return err
			}
		}
	}
	for _, id := range slices.Clone(d.topics.order) {
		if d.topics.changed[id] != nil {
			if err := d.clearTopicELR(id); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *Delta) clearTopicELR(id kafka.TopicID) error {
	parts := chunks{}
	if t := d.topics.changed[id]; t != nil {
		parts = t.build.chunks
	} else if old := d.from.TopicByID(id); old != nil {
		parts = old.parts
	}
	var indexes []int32
	for i, p := range parts.all() {
		if len(p.ELR) > 0 || len(p.LastKnownELR) > 0 {
			indexes = append(indexes, i)
		}
	}
	for _, i := range indexes {
		c := records.NewPartitionChangeRecord()
		c.TopicID, c.PartitionID = id, i
		c.EligibleLeaderReplicas, c.LastKnownELR = []int32{}, []int32{}
		if err := d.replayPartitionChange(c); err != nil {
			return err
		}
	}
	return nil
}

func (d *Delta) applyTopics() topics {
	if d.from != d.base {
		return d.applySnapshotTopics()
	}
	ix := d.from.topics
	if len(d.topics.changed) == 0 && len(d.topics.deleted) == 0 {
		return ix
	}
	b := newTopicsBuilder(ix)
	for t := range d.DeletedTopics() {
		b.remove(t)
	}
	for t := range d.ChangedTopics() {
		b.put(t.finish(), t.Created())
	}
	return b.topics()
}

// applySnapshotTopics makes the index from nothing, keeps the base's Topic where
// nothing differs, and leaves in the delta only what differs from base.
func (d *Delta) applySnapshotTopics() topics {
	b := newTopicsBuilder(topics{})
	for _, id := range d.topics.order {
		t := d.topics.changed[id]
		if t == nil {
			continue
		}
		n := t.finish()
		if old := d.base.TopicByID(id); old != nil && old.equal(n) {
			n = old
			delete(d.topics.changed, id)
		} else if old != nil {
			t.Old = old
			t.build.changed = slices.DeleteFunc(t.build.changed, func(i int32) bool {
				was := old.Partition(i)
				return was != nil && was.Equal(n.Partition(i))
			})
		}
		b.put(n, true)
	}
	ix := b.topics()
	d.topics.deleted = map[kafka.TopicID]*Topic{}
	for id, old := range d.base.topics.byID.All() {
		if _, ok := ix.byID.Get(id); !ok {
			d.topics.deleted[id] = old
		}
	}
	return ix
}
