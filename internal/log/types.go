package log

import (
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/vfs"
)

// Timestamps with a meaning of their own in ListOffsets.
const (
	LatestTimestamp        int64 = -1
	EarliestTimestamp      int64 = -2
	MaxTimestamp           int64 = -3
	EarliestLocalTimestamp int64 = -4
	LatestTieredTimestamp  int64 = -5
	// EarliestPendingUploadTimestamp asks for the first offset that tiered
	// storage does not hold yet (KIP-1023); no log here is tiered.
	EarliestPendingUploadTimestamp int64 = -6
)

// NoOffset and NoTimestamp stand for "none" where an offset or time is asked for.
const (
	NoOffset    int64 = -1
	NoTimestamp int64 = -1
)

// AppendInfo says where an append went.
type AppendInfo struct {
	FirstOffset    int64
	LastOffset     int64
	MaxTimestamp   int64
	LogAppendTime  int64 // NoTimestamp unless the topic stamps log append time
	LogStartOffset int64
	Size           int
	// Duplicate says that an idempotent producer repeated a batch: nothing was
	// written, and the offsets are those of the first time.
	Duplicate bool
	// Rolled says that the append began a new segment.
	Rolled bool
}

// Data is what Read returns. Its spans stay valid until Release, which must be
// called exactly once. The zero Data is empty and Release on it does nothing.
type Data struct {
	Spans []vfs.Span
	Size  int
	// FirstOffset is the base offset of the first batch, which may lie below the
	// offset asked for. It is the offset asked for when nothing was read.
	FirstOffset int64
	// NextOffset is where reading goes on: above the last offset of the last
	// batch returned and not above the next batch's base. It is the offset asked
	// for when nothing was read.
	NextOffset int64
	// SegmentBase and Position say where the first byte stands.
	SegmentBase int64
	Position    int64

	pins *pinSet
}

// Segment describes one segment to retention, the cleaner and tools.
type Segment struct {
	BaseOffset   int64
	NextOffset   int64 // the next segment's base, or the log end
	Size         int64
	MaxTimestamp int64 // NoTimestamp when unknown or none
	Active       bool
}

// AbortedTxn is one aborted transaction as a read-committed reader needs it.
type AbortedTxn struct {
	ProducerID       int64
	FirstOffset      int64
	LastOffset       int64
	LastStableOffset int64
}

// TimestampOffset is the answer to a search by time. Offset is NoOffset when
// nothing was found.
type TimestampOffset struct {
	Timestamp   int64
	Offset      int64
	LeaderEpoch kafka.LeaderEpoch
}

// EpochEntry is a leader epoch and the first offset written under it.
type EpochEntry struct {
	Epoch       kafka.LeaderEpoch
	StartOffset int64
}
