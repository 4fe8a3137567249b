package log

import "github.com/gregorhq/gregor/internal/metrics"

// FlushTimes are the durations of what made logs durable, in nanoseconds: one a sync of
// a log with what belongs to it, however many waited for it.
func (m *Manager) FlushTimes() *metrics.Histogram { return m.env.flushes }

// NumSegments is how many segments there are.
func (l *Log) NumSegments() int { return len(l.view.Load().segs) }

// Ends are the log start offset, the high watermark and the log end offset, without
// loading a log that was not used yet. The watermark may be behind that of a loaded log.
func (l *Log) Ends() (start, highWatermark, end int64) {
	start, highWatermark = l.start.Load(), l.hw.Load()
	return start, highWatermark, l.LogEndOffset()
}

// Unstable says from where on the log holds records of transactions that are not
// decided; ok is false when there is none, or when the log was not used yet.
func (l *Log) Unstable() (offset int64, ok bool) {
	u := l.unstable.Load()
	return u, u != noUnstable && l.loaded.Load()
}

// OpenFiles is how many files of segments are open, of how many may be.
func (m *Manager) OpenFiles() (n, limit int) {
	c := m.env.files
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.handles), c.max
}
