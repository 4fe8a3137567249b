package metadata

import (
	"slices"

	"github.com/gregorhq/gregor/internal/timeline"
)

// edits changes one map of an image and remembers the keys that it touched. The
// zero value with its from set is ready; nothing is allocated before the first
// change.
type edits[K comparable, V any] struct {
	from    timeline.Map[K, V]
	build   *timeline.Builder[K, V]
	changed map[K]struct{}
}

func (e *edits[K, V]) get(k K) (V, bool) {
	if e.build == nil {
		return e.from.Get(k)
	}
	return e.build.Get(k)
}

func (e *edits[K, V]) isChanged(k K) bool {
	_, ok := e.changed[k]
	return ok
}

func (e *edits[K, V]) touch(k K) *timeline.Builder[K, V] {
	if e.build == nil {
		e.build = e.from.Builder()
		e.changed = map[K]struct{}{}
	}
	e.changed[k] = struct{}{}
	return e.build
}

func (e *edits[K, V]) set(k K, v V) { e.touch(k).Set(k, v) }

func (e *edits[K, V]) delete(k K) { e.touch(k).Delete(k) }

// setOrDelete keeps v under k, or removes k when keep is false.
func (e *edits[K, V]) setOrDelete(k K, v V, keep bool) {
	if keep {
		e.set(k, v)
	} else {
		e.delete(k)
	}
}

// result is the map with all changes.
func (e *edits[K, V]) result() timeline.Map[K, V] {
	if e.build == nil {
		return e.from
	}
	return e.build.Map()
}

// compareTo makes changed the difference to base, after the map was built from
// nothing by a snapshot.
func (e *edits[K, V]) compareTo(base timeline.Map[K, V], equal func(a, b V) bool) {
	for k, old := range base.All() {
		v, ok := e.get(k)
		switch {
		case !ok:
			if e.changed == nil {
				e.changed = map[K]struct{}{}
			}
			e.changed[k] = struct{}{}
		case equal(old, v):
			delete(e.changed, k)
		}
	}
}

// sortedChanged returns the touched keys in order.
func (e *edits[K, V]) sortedChanged(compare func(a, b K) int) []K {
	keys := make([]K, 0, len(e.changed))
	for k := range e.changed {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, compare)
	return keys
}

// sortedMapKeys returns the keys of m in order.
func sortedMapKeys[K comparable, V any](m timeline.Map[K, V], compare func(a, b K) int) []K {
	return timeline.SortedKeysFunc(m, compare)
}
