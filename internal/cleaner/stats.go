package cleaner

import (
	"github.com/gregorhq/gregor/internal/kafka"
)

// Stats is what Kafka's metrics of kafka.log:type=LogCleaner and
// kafka.log:type=LogCleanerManager show, by their names.
type Stats struct {
	MaxBufferUtilizationPercent int     // max-buffer-utilization-percent
	CleanerRecopyPercent        int     // cleaner-recopy-percent
	MaxCleanTimeSecs            float64 // max-clean-time-secs
	MaxCompactionDelaySecs      float64 // max-compaction-delay-secs
	MaxDirtyPercent             int     // max-dirty-percent
	TimeSinceLastRunMs          int64   // time-since-last-run-ms
	DeadThreadCount             int     // DeadThreadCount: goroutines that ended without being told to
	// Uncleanable are uncleanable-partitions-count and uncleanable-bytes, by log
	// directory; a directory without any is not listed.
	Uncleanable map[string]Uncleanable
}

// Uncleanable is what cannot be compacted in one directory.
type Uncleanable struct {
	Partitions map[kafka.TopicPartition]error
	Bytes      int64
}

// Stats says how compaction goes.
func (c *Cleaner) Stats() Stats {
	now := c.o.Clock.Now().UnixMilli()
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Stats{MaxDirtyPercent: int(100 * c.dirty), TimeSinceLastRunMs: now - c.lookMs, Uncleanable: map[string]Uncleanable{}}
	var read, written int64
	for id, r := range c.last {
		s.MaxBufferUtilizationPercent = max(s.MaxBufferUtilizationPercent, int(100*r.BufferUtilization))
		s.MaxCleanTimeSecs = max(s.MaxCleanTimeSecs, r.Took.Seconds())
		s.MaxCompactionDelaySecs = max(s.MaxCompactionDelaySecs, float64(c.delayMs[id])/1000)
		read += r.BytesRead
		written += r.BytesWritten
	}
	s.DeadThreadCount = c.wanted - c.alive
	s.CleanerRecopyPercent = int(100 * written / max(read, 1))
	for l, f := range c.failed {
		if !f.uncleanable {
			continue
		}
		dir, _ := l.Dir()
		u := s.Uncleanable[dir]
		if u.Partitions == nil {
			u.Partitions = map[kafka.TopicPartition]error{}
		}
		u.Partitions[l.TopicPartition()] = f.err
		if todo, _, err := consider(l, now); err == nil {
			u.Bytes += todo.cleanable
		}
		s.Uncleanable[dir] = u
	}
	return s
}
