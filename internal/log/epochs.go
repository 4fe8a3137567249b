package log

import "github.com/gregorhq/gregor/internal/kafka"

// epochTable is the leader epoch cache: which epoch began at which offset. It is
// immutable; the log swaps in a new one under its mutex, so readers need no lock.
// Invariant: epochs and start offsets strictly grow.
type epochTable struct {
	entries []EpochEntry
}

func (t *epochTable) latest() kafka.LeaderEpoch {
	if len(t.entries) == 0 {
		return kafka.NoEpoch
	}
	return t.entries[len(t.entries)-1].Epoch
}

// assign returns the table with (epoch, start) added, and whether it changed.
// Entries that contradict the new one are dropped: they were written by a leader
// whose records did not stay.
func (t *epochTable) assign(epoch kafka.LeaderEpoch, start int64) (*epochTable, bool) {
	if epoch < 0 || start < 0 {
		return t, false
	}
	n := len(t.entries)
	if n > 0 {
		last := t.entries[n-1]
		if epoch == last.Epoch && start >= last.StartOffset {
			return t, false
		}
	}
	keep := n
	for keep > 0 && (t.entries[keep-1].Epoch >= epoch || t.entries[keep-1].StartOffset >= start) {
		keep--
	}
	entries := make([]EpochEntry, keep, keep+1)
	copy(entries, t.entries)
	return &epochTable{append(entries, EpochEntry{epoch, start})}, true
}

// truncateEnd drops the entries that begin at or after end.
func (t *epochTable) truncateEnd(end int64) (*epochTable, bool) {
	keep := len(t.entries)
	for keep > 0 && t.entries[keep-1].StartOffset >= end {
		keep--
	}
	if keep == len(t.entries) {
		return t, false
	}
	return &epochTable{t.entries[:keep:keep]}, true
}

// truncateStart drops the entries below start but the last, which then begins at
// start.
func (t *epochTable) truncateStart(start int64) (*epochTable, bool) {
	n := 0
	for n < len(t.entries) && t.entries[n].StartOffset <= start {
		n++
	}
	if n == 0 || n == 1 && t.entries[0].StartOffset == start {
		return t, false
	}
	entries := make([]EpochEntry, len(t.entries)-n+1)
	copy(entries, t.entries[n-1:])
	entries[0].StartOffset = start
	return &epochTable{entries}, true
}

// endFor answers OffsetForLeaderEpoch: the largest epoch that is not above the
// requested one, and where it ends.
func (t *epochTable) endFor(epoch kafka.LeaderEpoch, logEnd int64) (kafka.LeaderEpoch, int64) {
	n := len(t.entries)
	if epoch == kafka.NoEpoch || n == 0 {
		return kafka.NoEpoch, NoOffset
	}
	if t.entries[n-1].Epoch == epoch {
		return epoch, logEnd
	}
	higher := 0
	for higher < n && t.entries[higher].Epoch <= epoch {
		higher++
	}
	if higher == n {
		return kafka.NoEpoch, NoOffset
	}
	if higher == 0 {
		return epoch, t.entries[0].StartOffset
	}
	return t.entries[higher-1].Epoch, t.entries[higher].StartOffset
}

// at returns the epoch under which offset was written.
func (t *epochTable) at(offset int64) kafka.LeaderEpoch {
	epoch := kafka.NoEpoch
	for _, e := range t.entries {
		if e.StartOffset > offset {
			break
		}
		epoch = e.Epoch
	}
	return epoch
}
