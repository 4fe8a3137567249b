package cli

import (
	"slices"
	"unicode/utf16"

	"github.com/gregorhq/gregor/internal/kafka"
)

// javaStringHash is the hash code of a string in Java.
func javaStringHash(s string) int32 {
	h := int32(0)
	for _, unit := range utf16.Encode([]rune(s)) {
		h = 31*h + int32(unit)
	}
	return h
}

// javaPartitionHash is the hash code of a TopicPartition of Kafka's clients.
func javaPartitionHash(tp kafka.TopicPartition) int32 {
	return 31*(31+tp.Partition) + javaStringHash(tp.Topic)
}

// javaOrder puts items, which come in the order of their insertion, into the order in
// which Java walks through a hash table made for capacity items. Tools of Kafka print
// lists in that order, and scripts compare their output.
func javaOrder[E any](items []E, capacity int, hash func(E) int32) []E {
	size := 1
	for size < capacity {
		size *= 2
	}
	for len(items)*4 > size*3 {
		size *= 2
	}
	bucket := func(e E) int {
		h := uint32(hash(e))
		return int((h ^ h>>16) & uint32(size-1))
	}
	out := slices.Clone(items)
	slices.SortStableFunc(out, func(a, b E) int { return bucket(a) - bucket(b) })
	return out
}

// javaCapacity is the size of a hash table that was made without one.
const javaCapacity = 16
