package monitor

import (
	"github.com/gregorhq/gregor/internal/cleaner"
	"github.com/gregorhq/gregor/internal/log"
	"github.com/gregorhq/gregor/internal/metrics"
)

// eachDir emits a value of every log directory.
func (x *exporter) eachDir(f func(*log.DirInfo) int64) func(*metrics.Emitter) {
	return func(e *metrics.Emitter) {
		if x.Logs == nil {
			return
		}
		for _, d := range x.Logs.Dirs() {
			e.Int(f(&d), d.Path)
		}
	}
}

// cleaned emits a value of the cleaner.
func (x *exporter) cleaned(f func(*cleaner.Stats) float64) func(*metrics.Emitter) {
	return func(e *metrics.Emitter) {
		if x.Cleaner != nil {
			s := x.Cleaner.Stats()
			e.Float(f(&s))
		}
	}
}

// uncleanable emits a value of every directory.
func (x *exporter) uncleanable(f func(cleaner.Uncleanable) int64) func(*metrics.Emitter) {
	return func(e *metrics.Emitter) {
		if x.Cleaner == nil || x.Logs == nil {
			return
		}
		s := x.Cleaner.Stats()
		for _, d := range x.Logs.Dirs() {
			e.Int(f(s.Uncleanable[d.Path]), d.Path)
		}
	}
}

// scrubbed emits a value of the scrubber.
func (x *exporter) scrubbed(f func(*log.ScrubStats) int64) func(*metrics.Emitter) {
	return func(e *metrics.Emitter) {
		if x.Scrub != nil {
			s := x.Scrub()
			e.Int(f(&s))
		}
	}
}

func (x *exporter) logs() {
	x.section = "Logs and disks"
	const dirs, clean, manager, scrub = "log.DirInfo", "cleaner.Stats", "LogCleanerManager", "log.ScrubStats"
	x.add(
		fam{metrics.Summary, "log", "LogFlushStats", "LogFlushRateAndTimeMs", "", "Milliseconds of making a log durable.", "log.Manager", func(e *metrics.Emitter) {
			if x.Logs != nil {
				e.Distribution(x.Logs.FlushTimes().Read(e.Now), millisecond)
			}
		}},
		fam{metrics.Gauge, "log", "LogManager", "OfflineLogDirectoryCount", "", "Log directories that failed.", dirs, func(e *metrics.Emitter) {
			if x.Logs == nil {
				return
			}
			n := int64(0)
			for _, d := range x.Logs.Dirs() {
				n += number(d.Offline != nil)
			}
			e.Int(n)
		}},
		fam{metrics.Gauge, "log", "LogManager", "LogDirectoryOffline", "logDirectory", "1 for a directory that failed.", dirs, x.eachDir(func(d *log.DirInfo) int64 { return number(d.Offline != nil) })},
		fam{metrics.Gauge, "log", "LogCleaner", "DeadThreadCount", "", "Cleaners that ended without being told to.", clean, x.cleaned(func(s *cleaner.Stats) float64 { return float64(s.DeadThreadCount) })},
		fam{metrics.Gauge, "log", "LogCleaner", "cleaner-recopy-percent", "", "Per cent of what the last rounds read that they wrote again.", clean, x.cleaned(func(s *cleaner.Stats) float64 { return float64(s.CleanerRecopyPercent) })},
		fam{metrics.Gauge, "log", "LogCleaner", "max-buffer-utilization-percent", "", "Per cent of the memory for keys that the fullest of the last rounds used.", clean, x.cleaned(func(s *cleaner.Stats) float64 { return float64(s.MaxBufferUtilizationPercent) })},
		fam{metrics.Gauge, "log", "LogCleaner", "max-clean-time-secs", "", "Seconds of the longest of the last rounds.", clean, x.cleaned(func(s *cleaner.Stats) float64 { return s.MaxCleanTimeSecs })},
		fam{metrics.Gauge, "log", "LogCleaner", "max-compaction-delay-secs", "", "Seconds by which the last rounds were behind max.compaction.lag.ms at most.", clean, x.cleaned(func(s *cleaner.Stats) float64 { return s.MaxCompactionDelaySecs })},
		fam{metrics.Gauge, "log", manager, "max-dirty-percent", "", "Per cent of the dirtiest log that is not compacted.", clean, x.cleaned(func(s *cleaner.Stats) float64 { return float64(s.MaxDirtyPercent) })},
		fam{metrics.Gauge, "log", manager, "time-since-last-run-ms", "", "Milliseconds since a cleaner looked for work.", clean, x.cleaned(func(s *cleaner.Stats) float64 { return float64(s.TimeSinceLastRunMs) })},
		fam{metrics.Gauge, "log", manager, "uncleanable-partitions-count", "logDirectory", "Logs that cannot be compacted.", clean, x.uncleanable(func(u cleaner.Uncleanable) int64 { return int64(len(u.Partitions)) })},
		fam{metrics.Gauge, "log", manager, "uncleanable-bytes", "logDirectory", "Bytes of logs that cannot be compacted.", clean, x.uncleanable(func(u cleaner.Uncleanable) int64 { return u.Bytes })},
	)
	x.plain(
		fam{metrics.Gauge, "", "", "gregor_log_directory_full", "logDirectory", "1 while produce requests to a directory are refused for want of room.", dirs, x.eachDir(func(d *log.DirInfo) int64 { return number(d.Space.Full) })},
		fam{metrics.Gauge, "", "", "gregor_log_directory_full_since_seconds", "logDirectory", "Unix time at which a directory became full, 0 if it is not.", dirs, x.eachDir(func(d *log.DirInfo) int64 { return d.Space.SinceMs / 1000 })},
		fam{metrics.Counter, "", "", "gregor_log_directory_refused_appends_total", "logDirectory", "Appends refused for want of room.", dirs, x.eachDir(func(d *log.DirInfo) int64 { return d.Space.Refused })},
		fam{metrics.Counter, "", "", "gregor_scrub_bytes_total", "", "Bytes of closed segments read in search of damage.", scrub, x.scrubbed(func(s *log.ScrubStats) int64 { return s.Bytes })},
		fam{metrics.Counter, "", "", "gregor_scrub_rounds_total", "", "Times that all closed segments were read.", scrub, x.scrubbed(func(s *log.ScrubStats) int64 { return s.Rounds })},
		fam{metrics.Counter, "", "", "gregor_damaged_segments_found_total", "", "Closed segments that were found damaged.", scrub, x.scrubbed(func(s *log.ScrubStats) int64 { return s.Found })},
		fam{metrics.Counter, "", "", "gregor_damaged_segments_mended_total", "", "Damaged segments that were mended from a replica.", scrub, x.scrubbed(func(s *log.ScrubStats) int64 { return s.Mended })},
		fam{metrics.Gauge, "", "", "gregor_damaged_segments", "", "Closed segments that are damaged now.", scrub, x.scrubbed(func(s *log.ScrubStats) int64 { return int64(len(s.Damaged)) })},
		fam{metrics.Gauge, "", "", "gregor_open_segment_files", "", "Files of segments that are open between uses.", "log.Manager", func(e *metrics.Emitter) {
			if x.Logs != nil {
				n, _ := x.Logs.OpenFiles()
				e.Int(int64(n))
			}
		}},
	)
}
