package coord

import (
	"math"
	"unicode/utf16"
)

// PartitionFor is the partition of an internal topic that a group id, transactional id
// or share key belongs to: Kafka's Utils.abs(key.hashCode()) % partitions, over the
// UTF-16 units that Java sees. partitions must be positive.
func PartitionFor(key string, partitions int32) int32 {
	h := javaHash(key)
	if h == math.MinInt32 {
		h = 0
	}
	return max(h, -h) % partitions
}

// javaHash is String.hashCode.
func javaHash(s string) int32 {
	var h int32
	for _, r := range s {
		if hi, lo := utf16.EncodeRune(r); hi != 0xfffd {
			h = 31*h + int32(hi)
			h = 31*h + int32(lo)
			continue
		}
		h = 31*h + int32(r)
	}
	return h
}
