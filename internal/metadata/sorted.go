package metadata

import (
	"cmp"
	"maps"
	"slices"

	"github.com/gregorhq/gregor/internal/kafka"
)

// sortedKeys returns the keys of m in ascending order.
func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

func compareUUID(a, b kafka.UUID) int { return slices.Compare(a[:], b[:]) }
