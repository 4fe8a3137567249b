package cluster

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// hold is the time in which a member knew that it owned a partition, from its side:
// from the answer that gave it, to the last request that the coordinator answered as
// one of a living member before the partition was given back. The epochs are those
// that the member had in this time: generations of a classic group, member epochs of a
// consumer group.
type hold struct {
	group, member string
	partition     int32
	first, last   int32 // epochs, both inclusive
	from, to      time.Duration
	timed         bool // whether from and to are proven; else only the epochs count
}

type groupPartition struct {
	group     string
	partition int32
}

// checkOwners says which partitions two members owned in one epoch, or at one time.
func checkOwners(holds []hold) []string {
	var out []string
	of := map[groupPartition][]hold{}
	for _, h := range holds {
		k := groupPartition{h.group, h.partition}
		of[k] = append(of[k], h)
	}
	for _, k := range sortedGroupPartitions(of) {
		hs := of[k]
		slices.SortFunc(hs, func(a, b hold) int { return cmp.Compare(a.first, b.first) })
		out = append(out, overlaps(hs, func(h hold) (int64, int64) { return int64(h.first), int64(h.last) + 1 }, "epoch")...)
		timed := slices.DeleteFunc(hs, func(h hold) bool { return !h.timed })
		slices.SortFunc(timed, func(a, b hold) int { return cmp.Compare(a.from, b.from) })
		out = append(out, overlaps(timed, func(h hold) (int64, int64) { return int64(h.from), int64(h.to) }, "time")...)
	}
	return out
}

// overlaps goes through half-open ranges sorted by their begin. Of those before, the one
// that ends last is kept, and the one that ends last of another member.
func overlaps(hs []hold, span func(hold) (int64, int64), what string) (bad []string) {
	var last, other *hold
	end := func(h *hold) int64 {
		if h == nil {
			return -1 << 62
		}
		_, e := span(*h)
		return e
	}
	for i := range hs {
		h := &hs[i]
		begin, e := span(*h)
		against := last
		if last != nil && last.member == h.member {
			against = other
		}
		if against != nil && begin < end(against) && begin < e {
			bad = append(bad, fmt.Sprintf("%s: partition %d has two owners in one %s: %s (epochs %d to %d, %v to %v) and %s (epochs %d to %d, %v to %v)",
				h.group, h.partition, what, against.member, against.first, against.last, against.from, against.to,
				h.member, h.first, h.last, h.from, h.to))
		}
		switch {
		case last == nil || last.member == h.member:
			if end(h) > end(last) {
				last = h
			}
		case end(h) > end(last):
			last, other = h, last
		case other == nil || end(h) > end(other):
			other = h
		}
	}
	return bad
}

func sortedGroupPartitions(m map[groupPartition][]hold) []groupPartition {
	keys := make([]groupPartition, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b groupPartition) int {
		return cmp.Or(cmp.Compare(a.group, b.group), cmp.Compare(a.partition, b.partition))
	})
	return keys
}
