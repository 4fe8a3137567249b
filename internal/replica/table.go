package replica

import (
	"hash/maphash"
	"sync/atomic"

	"github.com/gregorhq/gregor/internal/kafka"
)

// tableShards bounds what one change copies: a shard holds a part of the topics.
const tableShards = 64

// topicEntry holds the partitions of one topic that have a replica here.
type topicEntry struct {
	name string
	id   kafka.TopicID
	// parts is indexed by partition; nil where this broker has no replica. The slice
	// is replaced, never written, once it is published.
	parts atomic.Pointer[[]*Partition]
	stats TopicStats
}

func (t *topicEntry) partition(index int32) *Partition {
	parts := *t.parts.Load()
	if index < 0 || int(index) >= len(parts) {
		return nil
	}
	return parts[index]
}

// table finds topics by name and by id. Readers load one pointer and one map; the
// one writer (Manager.mu) replaces a shard's map.
type table struct {
	seed   maphash.Seed
	byName [tableShards]atomic.Pointer[map[string]*topicEntry]
	byID   [tableShards]atomic.Pointer[map[kafka.TopicID]*topicEntry]
}

func newTable() *table { return &table{seed: maphash.MakeSeed()} }

func (t *table) nameShard(name string) *atomic.Pointer[map[string]*topicEntry] {
	return &t.byName[maphash.String(t.seed, name)%tableShards]
}

// idShard takes the last byte, which is random in every id.
func (t *table) idShard(id kafka.TopicID) *atomic.Pointer[map[kafka.TopicID]*topicEntry] {
	return &t.byID[id[15]%tableShards]
}

func (t *table) find(name string) *topicEntry {
	if m := t.nameShard(name).Load(); m != nil {
		return (*m)[name]
	}
	return nil
}

func (t *table) findID(id kafka.TopicID) *topicEntry {
	if m := t.idShard(id).Load(); m != nil {
		return (*m)[id]
	}
	return nil
}

// put adds or replaces a topic. A topic of the same name with another id must have
// been removed before.
func (t *table) put(e *topicEntry) {
	replace(t.nameShard(e.name), func(m map[string]*topicEntry) { m[e.name] = e })
	replace(t.idShard(e.id), func(m map[kafka.TopicID]*topicEntry) { m[e.id] = e })
}

func (t *table) remove(e *topicEntry) {
	replace(t.nameShard(e.name), func(m map[string]*topicEntry) {
		if m[e.name] == e {
			delete(m, e.name)
		}
	})
	replace(t.idShard(e.id), func(m map[kafka.TopicID]*topicEntry) { delete(m, e.id) })
}

func replace[K comparable](p *atomic.Pointer[map[K]*topicEntry], change func(map[K]*topicEntry)) {
	var old map[K]*topicEntry
	if m := p.Load(); m != nil {
		old = *m
	}
	next := make(map[K]*topicEntry, len(old)+1)
	for k, v := range old {
		next[k] = v
	}
	change(next)
	p.Store(&next)
}

// all calls f for every topic, in no order.
func (t *table) all(f func(*topicEntry)) {
	for i := range t.byName {
		if m := t.byName[i].Load(); m != nil {
			for _, e := range *m {
				f(e)
			}
		}
	}
}
