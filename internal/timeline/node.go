package timeline

import "math/bits"

const (
	levelBits = 5
	levelMask = 1<<levelBits - 1
	// Below maxShift the bits of the hash are used up and a node is a plain list of entries.
	maxShift = 65
)

// token is the identity of a Builder's ownership. It has a size so that every one has an address of its own.
type token struct{ _ byte }

// entry is one key with its value.
type entry[K comparable, V any] struct {
	key   K
	value V
}

// node is a level of the trie. Each of the 32 values of the level's five hash bits has an entry (bit in dataMap), a
// child (bit in nodeMap), or neither. entries and children hold those that are there, in the order of the bits.
//
// Invariants: a node other than the root holds at least two entries, counted with its children, so that the shape
// depends only on the keys. A node is changed in place only by the Builder whose token it carries; before the token is
// forgotten nobody else has seen the node.
type node[K comparable, V any] struct {
	edit             *token
	dataMap, nodeMap uint32
	entries          []entry[K, V]
	children         []*node[K, V]
}

// find returns the entry of k, or nil. h is the hash of k.
func (n *node[K, V]) find(h uint64, k K) *entry[K, V] {
	for shift := 0; shift < maxShift; shift += levelBits {
		bit := uint32(1) << (h >> shift & levelMask)
		if n.dataMap&bit != 0 {
			if e := &n.entries[index(n.dataMap, bit)]; e.key == k {
				return e
			}
			return nil
		}
		if n.nodeMap&bit == 0 {
			return nil
		}
		n = n.children[index(n.nodeMap, bit)]
	}
	if i := n.collision(k); i >= 0 {
		return &n.entries[i]
	}
	return nil
}

// index is the position of bit among the set bits of bitmap.
func index(bitmap, bit uint32) int { return bits.OnesCount32(bitmap & (bit - 1)) }

// collision finds k in a node below the last level.
func (n *node[K, V]) collision(k K) int {
	for i := range n.entries {
		if n.entries[i].key == k {
			return i
		}
	}
	return -1
}

// own returns n if the token allows to change it, else a copy that carries the token and has room for as many more
// entries and children as given.
func (n *node[K, V]) own(edit *token, moreEntries, moreChildren int) *node[K, V] {
	if edit != nil && n.edit == edit {
		return n
	}
	return &node[K, V]{
		edit: edit, dataMap: n.dataMap, nodeMap: n.nodeMap,
		entries: cloneWithRoom(n.entries, moreEntries), children: cloneWithRoom(n.children, moreChildren),
	}
}

func cloneWithRoom[E any](s []E, more int) []E {
	if len(s)+more == 0 {
		return nil
	}
	return append(make([]E, 0, len(s)+more), s...)
}

// set returns the node with k set to v, and reports in added whether k is new.
func (n *node[K, V]) set(edit *token, hash func(K) uint64, h uint64, shift int, k K, v V, added *bool) *node[K, V] {
	if shift >= maxShift {
		return n.setCollision(edit, k, v, added)
	}
	bit := uint32(1) << (h >> shift & levelMask)
	switch {
	case n.nodeMap&bit != 0:
		i := index(n.nodeMap, bit)
		old := n.children[i]
		child := old.set(edit, hash, h, shift+levelBits, k, v, added)
		if child == old {
			return n
		}
		n = n.own(edit, 0, 0)
		n.children[i] = child
		return n
	case n.dataMap&bit == 0:
		*added = true
		n = n.own(edit, 1, 0)
		n.entries = insertAt(n.entries, index(n.dataMap, bit), entry[K, V]{k, v})
		n.dataMap |= bit
		return n
	}
	i := index(n.dataMap, bit)
	if n.entries[i].key == k {
		n = n.own(edit, 0, 0)
		n.entries[i].value = v
		return n
	}
	*added = true
	held := n.entries[i]
	child := pair(edit, held, hash(held.key), entry[K, V]{k, v}, h, shift+levelBits)
	n = n.own(edit, 0, 1)
	n.entries = removeAt(n.entries, i)
	n.dataMap &^= bit
	n.children = insertAt(n.children, index(n.nodeMap, bit), child)
	n.nodeMap |= bit
	return n
}

// pair returns a node at the level of shift that holds two entries with different keys.
func pair[K comparable, V any](edit *token, a entry[K, V], ah uint64, b entry[K, V], bh uint64, shift int) *node[K, V] {
	if shift >= maxShift {
		return &node[K, V]{edit: edit, entries: []entry[K, V]{a, b}}
	}
	ai, bi := ah>>shift&levelMask, bh>>shift&levelMask
	if ai == bi {
		child := pair(edit, a, ah, b, bh, shift+levelBits)
		return &node[K, V]{edit: edit, nodeMap: 1 << ai, children: []*node[K, V]{child}}
	}
	if ai > bi {
		a, b = b, a
	}
	return &node[K, V]{edit: edit, dataMap: 1<<ai | 1<<bi, entries: []entry[K, V]{a, b}}
}

func (n *node[K, V]) setCollision(edit *token, k K, v V, added *bool) *node[K, V] {
	i := n.collision(k)
	n = n.own(edit, 1, 0)
	if i >= 0 {
		n.entries[i].value = v
		return n
	}
	*added = true
	n.entries = append(n.entries, entry[K, V]{k, v})
	return n
}

// delete returns the node without k, and whether k was there. What is returned for a node below the root may hold a
// single entry and no child: the caller takes that entry in.
func (n *node[K, V]) delete(edit *token, h uint64, shift int, k K) (*node[K, V], bool) {
	if shift >= maxShift {
		i := n.collision(k)
		if i < 0 {
			return n, false
		}
		n = n.own(edit, 0, 0)
		n.entries = removeAt(n.entries, i)
		return n, true
	}
	bit := uint32(1) << (h >> shift & levelMask)
	if n.dataMap&bit != 0 {
		i := index(n.dataMap, bit)
		if n.entries[i].key != k {
			return n, false
		}
		n = n.own(edit, 0, 0)
		n.entries = removeAt(n.entries, i)
		n.dataMap &^= bit
		return n, true
	}
	if n.nodeMap&bit == 0 {
		return n, false
	}
	i := index(n.nodeMap, bit)
	child, found := n.children[i].delete(edit, h, shift+levelBits, k)
	if !found {
		return n, false
	}
	if len(child.children) > 0 || len(child.entries) > 1 {
		n = n.own(edit, 0, 0)
		n.children[i] = child
		return n, true
	}
	n = n.own(edit, 1, 0)
	n.children = removeAt(n.children, i)
	n.nodeMap &^= bit
	n.entries = insertAt(n.entries, index(n.dataMap, bit), child.entries[0])
	n.dataMap |= bit
	return n, true
}

// each yields every entry until yield returns false, and tells whether it went through.
func (n *node[K, V]) each(yield func(K, V) bool) bool {
	for i := range n.entries {
		if !yield(n.entries[i].key, n.entries[i].value) {
			return false
		}
	}
	for _, child := range n.children {
		if !child.each(yield) {
			return false
		}
	}
	return true
}

func insertAt[E any](s []E, i int, e E) []E {
	var zero E
	s = append(s, zero)
	copy(s[i+1:], s[i:])
	s[i] = e
	return s
}

// removeAt takes one element out and clears the freed place, so that nothing is kept alive by it.
func removeAt[E any](s []E, i int) []E {
	var zero E
	copy(s[i:], s[i+1:])
	s[len(s)-1] = zero
	return s[:len(s)-1]
}
