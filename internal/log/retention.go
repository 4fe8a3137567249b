package log

import (
	"fmt"

	"github.com/gregorhq/gregor/internal/kafka"
)

// AdvanceStart raises the log start offset, for DeleteRecords and a follower that
// copies its leader's. It must not pass the high watermark. It says whether the
// start moved; the segments below go with DeleteOldSegments.
func (l *Log) AdvanceStart(offset int64) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return false, err
	}
	return l.advanceStart(offset)
}

func (l *Log) advanceStart(offset int64) (bool, error) {
	if hw := l.hw.Load(); offset > hw {
		return false, kafka.OffsetOutOfRange.Errorf("Cannot increment the log start offset to %d of partition %s since it is larger than the high watermark %d", offset, l.tp, hw)
	}
	if offset <= l.start.Load() {
		return false, nil
	}
	// What lies below the start and is not synced stays so: were it to count as
	// synced, power loss could cut it, and recovery all that lies behind.
	l.start.Store(offset)
	l.dir.startDirty.Store(true)
	// The file follows with the next epoch or at close; a restart that reads the
	// old one does the same again.
	if t, changed := l.epochs.Load().truncateStart(offset); changed {
		l.epochs.Store(t)
		l.epochsDirty = true
	}
	l.producers.OnLogStart(offset)
	l.refreshUnstable(l.hw.Load())
	return true, nil
}

// DeleteOldSegments applies retention by log start, size and time, and returns the
// bytes that were freed. Segments at or above the high watermark stay.
func (l *Log) DeleteOldSegments(nowMs int64) (freed int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return 0, err
	}
	cfg := l.cfg.Load()
	start := l.start.Load()
	n, err := l.deleteWhile("log start offset", func(_ *segment, next int64, last bool) bool {
		return !last && next <= start
	})
	if err != nil || !cfg.CleanupDelete {
		return n, err
	}
	freed = n
	if cfg.RetentionBytes >= 0 {
		over := l.Size() - cfg.RetentionBytes
		n, err = l.deleteWhile("retention.bytes", func(s *segment, _ int64, _ bool) bool {
			if over -= s.size(); over >= 0 {
				return true
			}
			return false
		})
		if freed += n; err != nil {
			return freed, err
		}
	}
	if cfg.RetentionMs >= 0 {
		var failed error
		n, err = l.deleteWhile("retention.ms", func(s *segment, _ int64, _ bool) bool {
			ts, err := l.largestTimestamp(s)
			if err != nil {
				failed = err
				return false
			}
			if ts > nowMs && !s.futureSaid {
				s.futureSaid = true
				l.env.logger.Warn("records from the future keep a segment and those behind it from deletion by retention.ms", "partition", l.tp.String(), "baseOffset", s.base, "largestTimestamp", ts)
			}
			return nowMs-ts > cfg.RetentionMs
		})
		freed += n
		if err == nil {
			err = failed
		}
	}
	return freed, err
}

// deleteWhile removes segments from the start on while due says so. An active
// segment that is due is rolled first; an empty one stays.
func (l *Log) deleteWhile(why string, due func(s *segment, next int64, last bool) bool) (freed int64, err error) {
	v := l.view.Load()
	n := 0
	for ; n < len(v.segs); n++ {
		s, last := v.segs[n], n == len(v.segs)-1
		if l.hw.Load() < v.endOf(n) || last && s.size() == 0 || !due(s, v.endOf(n), last) {
			break
		}
	}
	if n == 0 {
		return 0, nil
	}
	if n == len(v.segs) {
		if err := l.roll(l.LogEndOffset(), l.now()); err != nil {
			return 0, err
		}
		v = l.view.Load()
	}
	if _, err := l.advanceStart(v.segs[n].base); err != nil {
		return 0, err
	}
	// Readers must not look for a file that has lost its name, so the list changes
	// first; what cannot be renamed comes back into it.
	l.view.Store(&view{v.segs[n:]})
	for i, s := range v.segs[:n] {
		l.env.logger.Info("deleting a segment", "partition", l.tp.String(), "baseOffset", s.base, "bytes", s.size(), "due to", why)
		if err := l.markDeleted(s); err != nil {
			l.view.Store(&view{v.segs[i:]})
			return freed, l.ioError(fmt.Sprintf("deleting segment %d", s.base), err)
		}
		freed += s.size()
		base := s.base
		l.dropSnapshots(func(o int64) bool { return o == base })
	}
	return freed, nil
}

// largestTimestamp is what retention by time goes by: the largest timestamp of a
// record, or the file's time when the records have none.
func (l *Log) largestTimestamp(s *segment) (int64, error) {
	if err := l.knowTimes(s); err != nil {
		return 0, err
	}
	if s.maxTs >= 0 {
		return s.maxTs, nil
	}
	if s.size() == 0 && s != l.view.Load().active() {
		// Compaction left nothing of it, so nothing is lost with it, and what lies
		// behind it need not wait until its file is old.
		return 0, nil
	}
	info, err := l.env.fs.Stat(l.path(s.base, suffixLog))
	if err != nil {
		return 0, l.ioError(fmt.Sprintf("looking at segment %d", s.base), err)
	}
	return info.ModTime().UnixMilli(), nil
}

// maxTimestampLocked is the largest timestamp of a segment if it is known or
// cheap to learn.
func (l *Log) maxTimestampLocked(s *segment) int64 {
	if err := l.knowTimes(s); err != nil {
		return NoTimestamp
	}
	return s.maxTs
}
