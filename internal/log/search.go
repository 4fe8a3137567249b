package log

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/kafka"
)

// OffsetForTimestamp finds the first record at or after ts, or answers one of the
// special timestamps. Latest is the log end: the caller bounds it by the high
// watermark or the last stable offset. NoOffset means that there is none.
func (l *Log) OffsetForTimestamp(ts int64) (TimestampOffset, error) {
	if err := l.Load(); err != nil {
		return TimestampOffset{}, err
	}
	none := TimestampOffset{Timestamp: NoTimestamp, Offset: NoOffset, LeaderEpoch: kafka.NoEpoch}
	switch ts {
	case EarliestTimestamp, EarliestLocalTimestamp, EarliestPendingUploadTimestamp:
		start := l.start.Load()
		none.Offset = start
		if t := l.table(); len(t.entries) > 0 && t.entries[0].StartOffset <= start {
			none.LeaderEpoch = t.at(start)
		}
		if ts == EarliestPendingUploadTimestamp {
			none.Offset, none.LeaderEpoch = NoOffset, kafka.NoEpoch
		}
		return none, nil
	case LatestTimestamp:
		none.Offset, none.LeaderEpoch = l.LogEndOffset(), l.LatestEpoch()
		return none, nil
	case LatestTieredTimestamp:
		return none, nil
	case MaxTimestamp:
		return l.retrySearch(func() (TimestampOffset, error) { return l.findMax(none) })
	}
	return l.retrySearch(func() (TimestampOffset, error) { return l.findTime(ts, none) })
}

// retrySearch repeats a search whose segment was taken away or whose index turned
// out to be damaged.
func (l *Log) retrySearch(search func() (TimestampOffset, error)) (TimestampOffset, error) {
	for try := 0; ; try++ {
		gen, v := l.gen.Load(), l.view.Load()
		r, err := search()
		changed := l.gen.Load() != gen
		if err == nil && !changed {
			return r, nil
		}
		var damage *damagedIndex
		switch {
		case try >= readTries:
			return r, err
		case changed:
			// What went wrong may be due to bytes that were cut off meanwhile.
		case errors.As(err, &damage):
			if err := l.repair(damage.seg); err != nil {
				return r, err
			}
		case errors.Is(err, fs.ErrNotExist) && l.view.Load() != v:
		default:
			return r, l.ioError("searching by time", err)
		}
	}
}

// damagedIndex is errIndexDamaged with the segment.
type damagedIndex struct{ seg *segment }

func (d *damagedIndex) Error() string {
	return fmt.Sprintf("an index of segment %d is damaged", d.seg.base)
}

// knowTimes makes s.maxTs valid, reading the time index and for the active segment
// what follows its last entry; l.mu is held.
func (l *Log) knowTimes(s *segment) error {
	if s.tsKnown {
		return nil
	}
	if err := l.readyTimes(s); err != nil {
		return err
	}
	if s != l.view.Load().active() || s.size() == 0 {
		s.tsKnown = true
		return nil
	}
	// A closed segment's last entry is its largest timestamp. This one was cut by
	// a truncation: look at the headers after the entry.
	err := l.scanTimes(s)
	if errors.Is(err, errIndexDamaged) {
		return l.repairLocked(s)
	}
	if err != nil && !damagedBytes(err) {
		return l.ioError(fmt.Sprintf("reading the timestamps of segment %d", s.base), err)
	}
	s.tsKnown = true
	return nil
}

// scanTimes looks for a larger timestamp after the last time index entry.
func (l *Log) scanTimes(s *segment) error {
	p, ok, err := l.locate(s, s.base+s.times.lastOff, s.size())
	if err != nil || !ok {
		return err
	}
	f, err := l.openLog(s)
	if err != nil {
		return err
	}
	defer f.unpin()
	h := newHeaders(f, s.size())
	defer h.close()
	s.maxTs, s.maxTsOff = s.times.lastTs, s.base+s.times.lastOff
	for pos := p.pos; pos < s.size(); {
		info, err := h.at(pos)
		if err != nil {
			return l.corrupt(s, pos, err)
		}
		if info.MaxTimestamp > s.maxTs {
			s.maxTs, s.maxTsOff = info.MaxTimestamp, info.LastOffset
		}
		pos += int64(info.Size)
	}
	return nil
}

// timesOf returns the largest timestamp of a segment and where it is, and has all
// entries of the time index written to its file; n is how many there are.
func (l *Log) timesOf(s *segment) (maxTs, offset int64, n int32, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.knowTimes(s); err != nil {
		return 0, 0, 0, err
	}
	if len(s.times.tail) > 0 {
		if err := l.flushIndexes(s); err != nil {
			return 0, 0, 0, err
		}
	}
	return s.maxTs, s.maxTsOff, s.times.entries, nil
}

// findMax answers MaxTimestamp: the first record with the largest timestamp.
func (l *Log) findMax(none TimestampOffset) (TimestampOffset, error) {
	v := l.view.Load()
	var best *segment
	bestTs, bestOff := NoTimestamp, int64(0)
	for _, s := range v.segs {
		ts, off, _, err := l.timesOf(s)
		if err != nil {
			return none, err
		}
		if best == nil || ts > bestTs {
			best, bestTs, bestOff = s, ts, off
		}
	}
	if bestTs < 0 {
		return none, nil
	}
	return l.searchBatches(best, bestOff, none, func(b *batch.Info) bool { return b.MaxTimestamp == bestTs },
		func(r *batch.Record) bool { return r.Timestamp == bestTs })
}

// findTime answers a search for the first record at or after ts.
func (l *Log) findTime(ts int64, none TimestampOffset) (TimestampOffset, error) {
	if ts < 0 {
		return none, nil
	}
	for _, s := range l.view.Load().segs {
		maxTs, _, entries, err := l.timesOf(s)
		if err != nil {
			return none, err
		}
		if maxTs < ts {
			continue
		}
		from, err := l.timeFloor(s, ts, entries)
		if err != nil {
			return none, err
		}
		start := l.start.Load()
		r, err := l.searchBatches(s, max(from, start), none, func(b *batch.Info) bool { return b.MaxTimestamp >= ts && b.LastOffset >= start },
			func(r *batch.Record) bool { return r.Timestamp >= ts && r.Offset >= start })
		if err != nil || r.Offset != NoOffset {
			return r, err
		}
	}
	return none, nil
}

// timeFloor returns the offset from which a search for ts begins: that of the last of the
// first count entries of the time index at or before ts, whose batch really has that
// timestamp. The file's size says nothing while others are written behind them.
func (l *Log) timeFloor(s *segment, ts int64, count int32) (int64, error) {
	f, err := l.openTimes(s)
	if err != nil {
		if missingIsDamage(err) == errIndexDamaged {
			return 0, &damagedIndex{s}
		}
		return 0, err
	}
	defer f.unpin()
	entries, err := readTimes(f.File, count)
	if errors.Is(err, errIndexDamaged) || errors.Is(err, io.ErrUnexpectedEOF) {
		return 0, &damagedIndex{s}
	}
	if err != nil {
		return 0, err
	}
	n := 0
	for n < len(entries) && entries[n].ts <= ts {
		n++
	}
	if n == 0 {
		return s.base, nil
	}
	e := entries[n-1]
	p, ok, err := l.locateSafe(s, s.base+e.rel)
	if err != nil {
		return 0, err
	}
	if ok {
		info, err := l.headerAt(s, p.pos)
		if err != nil {
			return 0, err
		}
		if info.MaxTimestamp == e.ts && info.LastOffset == s.base+e.rel {
			return s.base + e.rel, nil
		}
	}
	return 0, &damagedIndex{s}
}

// locateSafe is locate on everything visible, naming the segment when its index is
// damaged.
func (l *Log) locateSafe(s *segment, offset int64) (place, bool, error) {
	p, ok, err := l.locate(s, offset, s.size())
	if errors.Is(err, errIndexDamaged) {
		err = &damagedIndex{s}
	}
	return p, ok, err
}

func (l *Log) headerAt(s *segment, pos int64) (batch.Info, error) {
	f, err := l.openLog(s)
	if err != nil {
		return batch.Info{}, err
	}
	defer f.unpin()
	h := newHeaders(f, s.size())
	defer h.close()
	info, err := h.at(pos)
	if err != nil {
		return info, l.corrupt(s, pos, err)
	}
	return info, nil
}

// searchBatches walks the batches of s from the one that holds offset, and the
// records of those that pass wantBatch, to the first record that passes want.
func (l *Log) searchBatches(s *segment, offset int64, none TimestampOffset, wantBatch func(*batch.Info) bool, want func(*batch.Record) bool) (TimestampOffset, error) {
	size := s.size()
	p, ok, err := l.locateSafe(s, offset)
	if err != nil || !ok {
		return none, err
	}
	f, err := l.openLog(s)
	if err != nil {
		return none, err
	}
	defer f.unpin()
	h := newHeaders(f, size)
	defer h.close()
	for pos := p.pos; pos < size; {
		info, err := h.at(pos)
		if err != nil {
			return none, l.corrupt(s, pos, err)
		}
		if wantBatch(&info) {
			r, found, err := findRecord(f.File, pos, &info, l.cfg.Load().MaxStoredBatchBytes(), want)
			if err != nil {
				return none, l.corrupt(s, pos, err)
			}
			if found {
				return TimestampOffset{Timestamp: r.Timestamp, Offset: r.Offset, LeaderEpoch: info.LeaderEpoch}, nil
			}
		}
		pos += int64(info.Size)
	}
	return none, nil
}

// findRecord reads a whole batch and returns the first record that passes want. Its
// checksum is compared first: a changed byte may be one of a timestamp.
func findRecord(f interface {
	ReadAt(p []byte, off int64) (int, error)
}, pos int64, info *batch.Info, maxDecompressed int, want func(*batch.Record) bool) (r batch.Record, found bool, err error) {
	b := make([]byte, info.Size)
	if err := readFull(f, b, pos); err != nil {
		return r, false, err
	}
	if err := batch.CheckCRC(b); err != nil {
		return r, false, err
	}
	var it batch.Iter
	defer it.Close()
	if err := it.Reset(b, maxDecompressed); err != nil {
		return r, false, noRecords(err)
	}
	for it.Next(&r) {
		if want(&r) {
			r.Key, r.Value = nil, nil
			return r, true, nil
		}
	}
	return r, false, noRecords(it.Err())
}

// noRecords judges why the records of a batch that is in the log could not be read. What
// a producer is told that sends no records, or a codec that is none, is damage here.
func noRecords(err error) error {
	if errors.Is(err, kafka.InvalidRecord) || errors.Is(err, kafka.UnsupportedCompressionType) {
		return kafka.CorruptMessage.Errorf("%w", err)
	}
	return err
}
