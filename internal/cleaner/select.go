package cleaner

import (
	"errors"
	"math"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log"
)

// candidate is a log that may be compacted, and how much of it.
type candidate struct {
	log *log.Log
	// firstDirty is the first offset that was not compacted yet, uncleanable the base
	// of the first segment that must not be.
	firstDirty, uncleanable int64
	cleanable, total        int64 // bytes
	// delayMs is by how much a record waits longer than max.compaction.lag.ms allows.
	delayMs int64
}

// ratio is the dirty share.
func (c *candidate) ratio() float64 {
	if c.total == 0 {
		return 0
	}
	return float64(c.cleanable) / float64(c.total)
}

// due says whether the log is to be compacted now.
func (c *candidate) due() bool {
	return c.total > 0 && (c.delayMs > 0 && c.cleanable > 0 || c.ratio() > c.log.Config().MinCleanableDirtyRatio)
}

// consider works out what of a log may be compacted. A log that is not due even if
// everything but its active segment may be is not looked into, so that idle logs
// cost nothing; exact says whether it was.
func consider(l *log.Log, nowMs int64) (c candidate, exact bool, err error) {
	cfg := l.Config()
	segs := l.SegmentSizes()
	c = candidate{log: l, firstDirty: firstDirty(l)}
	c.bound(segs, segs[len(segs)-1].BaseOffset)
	if c.cleanable == 0 || c.ratio() <= cfg.MinCleanableDirtyRatio && cfg.MaxCompactionLagMs == math.MaxInt64 {
		return c, false, nil
	}
	if err := l.Load(); err != nil {
		return c, false, err
	}
	uncleanable := min(l.LastStableOffset(), segs[len(segs)-1].BaseOffset)
	earliest := int64(math.MaxInt64)
	for _, s := range segs {
		if s.Active || s.NextOffset <= c.firstDirty && s.BaseOffset != c.firstDirty {
			continue
		}
		if cfg.MinCompactionLagMs > 0 && s.BaseOffset < uncleanable {
			ts, err := l.LargestTimestamp(s.BaseOffset)
			if err != nil {
				return c, true, err
			}
			if ts > nowMs-cfg.MinCompactionLagMs {
				uncleanable = s.BaseOffset
			}
		}
		if cfg.MaxCompactionLagMs < math.MaxInt64 {
			ts, err := l.FirstBatchTimestamp(s.BaseOffset)
			if err != nil {
				return c, true, err
			}
			if ts > 0 {
				earliest = min(earliest, ts)
			}
		}
	}
	if until := nowMs - max(cfg.MaxCompactionLagMs, 0); earliest < until {
		c.delayMs = until - earliest
	}
	c.bound(segs, max(c.firstDirty, uncleanable))
	return c, true, nil
}

// firstDirty is the clean point, or the log start when there is none that can be
// true.
func firstDirty(l *log.Log) int64 {
	start := l.LogStartOffset()
	p, ok := l.CleanPoint()
	if !ok || p < start || p > l.LogEndOffset() {
		return start
	}
	return p
}

// bound counts what lies before and after the first dirty offset, up to the segment
// that holds the first offset that must not be compacted.
func (c *candidate) bound(segs []log.Segment, uncleanable int64) {
	c.uncleanable, c.cleanable, c.total = segs[len(segs)-1].BaseOffset, 0, 0
	for _, s := range segs {
		if !s.Active && s.NextOffset > uncleanable {
			c.uncleanable = s.BaseOffset
			break
		}
	}
	for _, s := range segs {
		if s.BaseOffset < c.firstDirty {
			c.total += s.Size
		}
		if s.BaseOffset < c.uncleanable && s.NextOffset > min(c.firstDirty, c.uncleanable) {
			c.cleanable += s.Size
		}
	}
	c.total += c.cleanable
}

// passing says that a failure is of the disk or of the moment, not of the log's
// content.
func passing(err error) bool {
	return errors.Is(err, log.ErrCleaningAborted) || errors.Is(err, kafka.KafkaStorageError) || errors.Is(err, kafka.UnknownTopicOrPartition)
}
