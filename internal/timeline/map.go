package timeline

import (
	"cmp"
	"iter"
	"slices"
)

// Map is an immutable map. The zero value is empty and ready for use. Keys may be of any type made of strings, integers,
// booleans, arrays and structs of these; other key types panic at the first Set. Values are copied along paths of the
// trie, so large ones should be pointers.
type Map[K comparable, V any] struct {
	root *node[K, V] // nil when empty
	n    int
	hash func(K) uint64 // set once the map has had a key
}

// Get returns the value of k, and whether it is there.
func (m Map[K, V]) Get(k K) (V, bool) {
	if m.root != nil {
		if e := m.root.find(m.hash(k), k); e != nil {
			return e.value, true
		}
	}
	var zero V
	return zero, false
}

// Has tells whether k is there.
func (m Map[K, V]) Has(k K) bool {
	return m.root != nil && m.root.find(m.hash(k), k) != nil
}

// Len returns the number of keys.
func (m Map[K, V]) Len() int { return m.n }

// Set returns a map where k has the value v.
func (m Map[K, V]) Set(k K, v V) Map[K, V] {
	m.set(nil, k, v)
	return m
}

// Delete returns a map without k; the same map if k is not there.
func (m Map[K, V]) Delete(k K) Map[K, V] {
	m.delete(nil, k)
	return m
}

// All ranges over keys and values, in an order that depends only on the keys.
func (m Map[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		if m.root != nil {
			m.root.each(yield)
		}
	}
}

// Keys ranges over the keys in the order of All.
func (m Map[K, V]) Keys() iter.Seq[K] {
	return func(yield func(K) bool) {
		for k := range m.All() {
			if !yield(k) {
				return
			}
		}
	}
}

// Values ranges over the values in the order of All.
func (m Map[K, V]) Values() iter.Seq[V] {
	return func(yield func(V) bool) {
		for _, v := range m.All() {
			if !yield(v) {
				return
			}
		}
	}
}

// Same tells in constant time whether two maps are one and the same version. Maps that are not may still be equal.
func (m Map[K, V]) Same(other Map[K, V]) bool { return m.root == other.root }

// set is Set on this very variable. With an edit token it changes in place the nodes that carry the token.
func (m *Map[K, V]) set(edit *token, k K, v V) {
	if m.hash == nil {
		m.hash = hasherOf[K]()
	}
	h := m.hash(k)
	if m.root == nil {
		m.root = &node[K, V]{edit: edit}
	}
	added := false
	m.root = m.root.set(edit, m.hash, h, 0, k, v, &added)
	if added {
		m.n++
	}
}

// delete is Delete on this very variable.
func (m *Map[K, V]) delete(edit *token, k K) {
	if m.root == nil {
		return
	}
	root, found := m.root.delete(edit, m.hash(k), 0, k)
	if !found {
		return
	}
	m.n--
	m.root = root
	if m.n == 0 {
		m.root = nil
	}
}

// Builder returns a builder that starts from m.
func (m Map[K, V]) Builder() *Builder[K, V] { return &Builder[K, V]{m: m} }

// Builder changes a map in place, which is several times cheaper than a chain of Set. The zero value starts empty. It
// belongs to one goroutine and must not be copied. It must not be changed during a range over All.
type Builder[K comparable, V any] struct {
	m Map[K, V]
	// edit marks the nodes that only this builder has seen. Map gives them away and forgets the token.
	edit *token
}

// Get returns the value of k, and whether it is there.
func (b *Builder[K, V]) Get(k K) (V, bool) { return b.m.Get(k) }

// Has tells whether k is there.
func (b *Builder[K, V]) Has(k K) bool { return b.m.Has(k) }

// Len returns the number of keys.
func (b *Builder[K, V]) Len() int { return b.m.n }

// All ranges over keys and values as Map.All does.
func (b *Builder[K, V]) All() iter.Seq2[K, V] { return b.m.All() }

// Set gives k the value v.
func (b *Builder[K, V]) Set(k K, v V) { b.m.set(b.token(), k, v) }

// Delete removes k.
func (b *Builder[K, V]) Delete(k K) { b.m.delete(b.token(), k) }

func (b *Builder[K, V]) token() *token {
	if b.edit == nil {
		b.edit = &token{}
	}
	return b.edit
}

// Map returns what was built. The builder may go on from there; the map does not see it.
func (b *Builder[K, V]) Map() Map[K, V] {
	b.edit = nil
	return b.m
}

// SortedKeys returns the keys in ascending order.
func SortedKeys[K cmp.Ordered, V any](m Map[K, V]) []K { return SortedKeysFunc(m, cmp.Compare[K]) }

// SortedKeysFunc returns the keys in the order of compare.
func SortedKeysFunc[K comparable, V any](m Map[K, V], compare func(a, b K) int) []K {
	keys := make([]K, 0, m.n)
	for k := range m.All() {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, compare)
	return keys
}

// Collect returns a map of the pairs of seq; a later pair replaces an earlier one of the same key.
func Collect[K comparable, V any](seq iter.Seq2[K, V]) Map[K, V] {
	var b Builder[K, V]
	for k, v := range seq {
		b.Set(k, v)
	}
	return b.Map()
}
