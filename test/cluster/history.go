package cluster

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
)

// outcome is what a client knows about something that it asked for.
type outcome int8

const (
	unknown outcome = iota // time-out, disconnect: it may have happened
	done                   // acknowledged
	refused                // an error by which Kafka promises that nothing happened
)

// never is the end of an operation that may still take effect at any later time.
const never = time.Duration(math.MaxInt64)

// commitOp is one OffsetCommit of one partition. Times count from the beginning of the
// run.
type commitOp struct {
	key        string // group and partition
	id         string // the metadata; no two commits of a run have the same
	offset     int64
	start, end time.Duration // end: the answer, or the moment from which it cannot take effect any more
	outcome    outcome
}

// readOp is one OffsetFetch of one partition: id and offset are what was committed, ""
// and -1 if nothing.
type readOp struct {
	key, id    string
	offset     int64
	start, end time.Duration
}

// zone is the time in which a value was certainly in the register: from its first known
// end to its last known begin. If the begin comes first, the value was there at some
// moment between the two and needs not be there longer.
type zone struct {
	id          string
	first, last time.Duration // the smallest end, the largest start of its operations
}

func (z zone) forward() bool { return z.first < z.last }

// checkOffsets says in what a history of committed offsets differs from that of one
// register a key: an acknowledged commit that was lost, a read of an older one, of a
// refused one, or of none. Every value is written at most once, so that the conditions
// of Gibbons and Korach decide linearizability: no two forward zones overlap, and none
// holds a backward zone. Offsets, moreover, must grow in the order of time.
func checkOffsets(commits []commitOp, reads []readOp) []string {
	var out []string
	byKey := map[string][]commitOp{}
	readsOf := map[string][]readOp{}
	for _, c := range commits {
		byKey[c.key] = append(byKey[c.key], c)
	}
	for _, r := range reads {
		readsOf[r.key] = append(readsOf[r.key], r)
		if _, ok := byKey[r.key]; !ok {
			byKey[r.key] = nil
		}
	}
	for _, key := range sortedKeys(byKey) {
		zones, bad := offsetZones(byKey[key], readsOf[key])
		for _, b := range append(append(bad, checkZones(zones)...), checkGrowing(byKey[key], readsOf[key])...) {
			out = append(out, key+": "+b)
		}
	}
	return out
}

// offsetZones makes one zone of each value that was acknowledged or read.
func offsetZones(commits []commitOp, reads []readOp) (zones []zone, bad []string) {
	byID := map[string]commitOp{"": {offset: -1, outcome: done, start: -2, end: -1}}
	zoneOf := map[string]zone{"": {id: "", first: -1, last: -2}}
	for _, c := range commits {
		if _, twice := byID[c.id]; twice {
			bad = append(bad, fmt.Sprintf("commit %q is in the history twice", c.id))
		}
		byID[c.id] = c
		if c.outcome == done {
			zoneOf[c.id] = zone{c.id, c.end, c.start}
		}
	}
	for _, r := range reads {
		c, ok := byID[r.id]
		switch {
		case !ok || c.start > r.end:
			bad = append(bad, fmt.Sprintf("at %v offset %d (%q) was read, which nobody had committed", r.end, r.offset, r.id))
			continue
		case c.outcome == refused:
			bad = append(bad, fmt.Sprintf("at %v offset %d (%q) was read, whose commit was refused", r.end, r.offset, r.id))
			continue
		case c.offset != r.offset:
			bad = append(bad, fmt.Sprintf("at %v offset %d was read for %q, committed was %d", r.end, r.offset, r.id, c.offset))
			continue
		}
		z, ok := zoneOf[r.id]
		if !ok {
			z = zone{r.id, c.end, c.start}
		}
		z.first, z.last = min(z.first, r.end), max(z.last, r.start)
		zoneOf[r.id] = z
	}
	for _, id := range sortedKeys(zoneOf) {
		zones = append(zones, zoneOf[id])
	}
	return zones, bad
}

func checkZones(zones []zone) (bad []string) {
	var forward, backward []zone
	for _, z := range zones {
		if z.forward() {
			forward = append(forward, z)
		} else {
			backward = append(backward, z)
		}
	}
	slices.SortFunc(forward, func(a, b zone) int { return cmp.Compare(a.first, b.first) })
	for i := 1; i < len(forward); i++ {
		if a, b := forward[i-1], forward[i]; b.first < a.last {
			bad = append(bad, fmt.Sprintf("%q was committed at %v, yet at %v %q was read", b.id, b.first, a.last, a.id))
			forward[i].last = max(a.last, b.last)
		}
	}
	for _, b := range backward {
		i, _ := slices.BinarySearchFunc(forward, b.last, func(z zone, t time.Duration) int { return cmp.Compare(z.first, t) })
		if i > 0 && b.first < forward[i-1].last {
			bad = append(bad, fmt.Sprintf("%q was committed at %v, yet %q was read before and at %v", b.id, b.first, forward[i-1].id, forward[i-1].last))
		}
	}
	return bad
}

// checkGrowing holds each offset against the largest one that was known before its
// operation began. It is about the clients as much as about the coordinator: one that
// begins where the committed offset is never commits a lower one, unless it was given
// an old one, or commits what is no longer its own.
func checkGrowing(commits []commitOp, reads []readOp) (bad []string) {
	type known struct {
		start, end time.Duration
		offset     int64
		what       string
	}
	var ops []known
	for _, c := range commits {
		if c.outcome == done {
			ops = append(ops, known{c.start, c.end, c.offset, "commit of " + c.id})
		}
	}
	for _, r := range reads {
		ops = append(ops, known{r.start, r.end, r.offset, "read"})
	}
	byEnd := slices.Clone(ops)
	slices.SortFunc(ops, func(a, b known) int { return cmp.Compare(a.start, b.start) })
	slices.SortFunc(byEnd, func(a, b known) int { return cmp.Compare(a.end, b.end) })
	highest := known{offset: -1}
	for _, op := range ops {
		for len(byEnd) > 0 && byEnd[0].end < op.start {
			if byEnd[0].offset > highest.offset {
				highest = byEnd[0]
			}
			byEnd = byEnd[1:]
		}
		if op.offset < highest.offset {
			bad = append(bad, fmt.Sprintf("%s at %v has offset %d; the %s at %v had %d", op.what, op.start, op.offset, highest.what, highest.end, highest.offset))
		}
	}
	return bad
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
