package metadata

import (
	"iter"
	"slices"
	"strings"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/timeline"
)

// Topic is one topic with its partitions. It never changes.
type Topic struct {
	Name string
	ID   kafka.TopicID
	// parts holds the partitions in chunks, so that a change of one does not copy
	// a slice of all.
	parts chunks
}

// NumPartitions is how many partitions the topic has.
func (t *Topic) NumPartitions() int { return t.parts.count }

// Partition returns the partition with that index, or nil.
func (t *Topic) Partition(index int32) *Partition { return t.parts.get(index) }

// Partitions yields the partitions by ascending index.
func (t *Topic) Partitions() iter.Seq2[int32, *Partition] { return t.parts.all() }

func (t *Topic) equal(o *Topic) bool {
	if t.Name != o.Name || t.ID != o.ID || t.parts.count != o.parts.count {
		return false
	}
	for i, p := range t.Partitions() {
		if q := o.Partition(i); q == nil || !p.Equal(q) {
			return false
		}
	}
	return true
}

// topics indexes the topics of an image.
type topics struct {
	byID   timeline.Map[kafka.TopicID, *Topic]
	byName timeline.Map[string, *Topic]
	// colliding holds the names with a dot or underscore, sorted, by their form
	// in metric names, where the two are not told apart.
	colliding timeline.Map[string, []string]
}

// Topic returns the topic of that name, or nil.
func (i *Image) Topic(name string) *Topic {
	t, _ := i.topics.byName.Get(name)
	return t
}

// TopicByID returns the topic with that id, or nil.
func (i *Image) TopicByID(id kafka.TopicID) *Topic {
	t, _ := i.topics.byID.Get(id)
	return t
}

// Topics yields every topic in an order that depends only on their ids.
func (i *Image) Topics() iter.Seq[*Topic] {
	return func(yield func(*Topic) bool) {
		for _, t := range i.topics.byID.All() {
			if !yield(t) {
				return
			}
		}
	}
}

// SortedTopics returns every topic by name.
func (i *Image) SortedTopics() []*Topic {
	all := make([]*Topic, 0, i.NumTopics())
	for t := range i.Topics() {
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b *Topic) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// NumTopics is how many topics there are.
func (i *Image) NumTopics() int { return i.topics.byID.Len() }

// Partition returns one partition, or nil.
func (i *Image) Partition(topic string, index int32) *Partition {
	if t := i.Topic(topic); t != nil {
		return t.Partition(index)
	}
	return nil
}

// CollidingTopics returns the topics whose name gives the same metric name as
// the given one, sorted.
func (i *Image) CollidingTopics(name string) []string {
	if !hasCollisionChars(name) {
		return nil
	}
	names, _ := i.topics.colliding.Get(metricName(name))
	return names
}

func hasCollisionChars(name string) bool { return strings.ContainsAny(name, "._") }

func metricName(name string) string { return strings.ReplaceAll(name, ".", "_") }

// topicsBuilder changes the three indexes together.
type topicsBuilder struct {
	byID      *timeline.Builder[kafka.TopicID, *Topic]
	byName    *timeline.Builder[string, *Topic]
	colliding *timeline.Builder[string, []string]
}

func newTopicsBuilder(from topics) *topicsBuilder {
	return &topicsBuilder{from.byID.Builder(), from.byName.Builder(), from.colliding.Builder()}
}

func (b *topicsBuilder) topics() topics {
	return topics{b.byID.Map(), b.byName.Map(), b.colliding.Map()}
}

func (b *topicsBuilder) put(t *Topic, created bool) {
	b.byID.Set(t.ID, t)
	b.byName.Set(t.Name, t)
	if created && hasCollisionChars(t.Name) {
		key := metricName(t.Name)
		names, _ := b.colliding.Get(key)
		if at, found := slices.BinarySearch(names, t.Name); !found {
			b.colliding.Set(key, slices.Insert(slices.Clone(names), at, t.Name))
		}
	}
}

func (b *topicsBuilder) remove(t *Topic) {
	b.byID.Delete(t.ID)
	b.byName.Delete(t.Name)
	if !hasCollisionChars(t.Name) {
		return
	}
	key := metricName(t.Name)
	names, _ := b.colliding.Get(key)
	rest := make([]string, 0, len(names))
	for _, n := range names {
		if n != t.Name {
			rest = append(rest, n)
		}
	}
	if len(rest) > 0 {
		b.colliding.Set(key, rest)
	} else {
		b.colliding.Delete(key)
	}
}
