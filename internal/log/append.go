package log

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/invariant"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/producer"
)

// AppendOptions say who appends.
type AppendOptions struct {
	LeaderEpoch kafka.LeaderEpoch
	Origin      batch.Origin
	NowMs       int64
	// TransactionVersion is the version under which a transaction marker is
	// written, which a coordinator's append of one must name; -1 otherwise.
	TransactionVersion int16
	// Guard proves that the coordinator knows of the transaction (KIP-890).
	Guard producer.Guard
}

// Append is the leader's append: it checks sequences, assigns offsets, begins a
// new segment if one is due, writes, indexes and publishes. It keeps nothing of a
// after it returned, and changes its Data and Infos.
func (l *Log) Append(a *batch.Appended, leaderEpoch kafka.LeaderEpoch, origin batch.Origin, nowMs int64) (AppendInfo, error) {
	return l.AppendWith(a, AppendOptions{LeaderEpoch: leaderEpoch, Origin: origin, NowMs: nowMs, TransactionVersion: -1})
}

// AppendWith is Append with everything that can be said about an append, as
// transaction markers and verified transactions need it.
func (l *Log) AppendWith(a *batch.Appended, o AppendOptions) (AppendInfo, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return AppendInfo{}, err
	}
	cfg := l.cfg.Load()
	if len(a.Infos) == 0 {
		return AppendInfo{FirstOffset: NoOffset, LastOffset: NoOffset, LogAppendTime: NoTimestamp, LogStartOffset: l.start.Load()}, nil
	}
	if len(a.Data) > cfg.SegmentBytes {
		return AppendInfo{}, kafka.RecordListTooLarge.Errorf("Message batch size is %d bytes in append to partition %s, which exceeds the maximum configured segment size of %d.", len(a.Data), l.tp, cfg.SegmentBytes)
	}
	appendTime := NoTimestamp
	if cfg.MessageTimestampType == "LogAppendTime" {
		appendTime = o.NowMs
	}
	first, _ := l.view.Load().active().end()
	batch.Assign(a, first, o.LeaderEpoch, appendTime)
	l.producers.OnHighWatermark(l.hw.Load())
	update, dup, err := l.producers.Check(a.Infos, o.Origin, o.TransactionVersion, o.Guard)
	if err != nil && l.recallFor(err, o.Origin) {
		update, dup, err = l.producers.Check(a.Infos, o.Origin, o.TransactionVersion, o.Guard)
	}
	if err != nil {
		return AppendInfo{}, err
	}
	if dup != nil {
		return AppendInfo{
			FirstOffset: dup.FirstOffset(), LastOffset: dup.LastOffset, MaxTimestamp: dup.Timestamp,
			LogAppendTime: dup.Timestamp, LogStartOffset: l.start.Load(), Duplicate: true,
		}, nil
	}
	var try attempt
	if o.Origin == batch.OriginClient && !l.ours {
		if try, err = l.dir.admit(len(a.Data)); err != nil {
			return AppendInfo{}, err
		}
	}
	info, err := l.write(a.Data, a.Infos, update, o.NowMs, true)
	try.done(l.dir, err)
	info.LogAppendTime = appendTime
	return info, err
}

// AppendVerbatim appends batches that carry their offsets and epochs already: a
// follower's and the metadata log's append. infos describe data. Offsets may have
// gaps, as in a compacted log, but must not go back: that is an
// UnexpectedOffsetError.
func (l *Log) AppendVerbatim(data []byte, infos []batch.Info, nowMs int64) (AppendInfo, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return AppendInfo{}, err
	}
	if len(infos) == 0 {
		return AppendInfo{FirstOffset: NoOffset, LastOffset: NoOffset, LogAppendTime: NoTimestamp, LogStartOffset: l.start.Load()}, nil
	}
	next := l.LogEndOffset()
	pos := 0
	for i := range infos {
		b := &infos[i]
		if b.Pos != pos || b.End() > len(data) {
			return AppendInfo{}, kafka.CorruptMessage.Errorf("%s: batch %d lies at byte %d, expected %d of %d", l.tp, i, b.Pos, pos, len(data))
		}
		// The base offset of an old compressed message is not in its header.
		firstOrLast := b.BaseOffset
		if b.Magic < batch.MagicV2 {
			firstOrLast = b.LastOffset
		}
		if firstOrLast < next {
			return AppendInfo{}, &UnexpectedOffsetError{Partition: l.tp, Expected: next, First: b.BaseOffset, Last: infos[len(infos)-1].LastOffset}
		}
		if b.LastOffset < b.BaseOffset || b.LastOffset == math.MaxInt64 {
			return AppendInfo{}, kafka.CorruptMessage.Errorf("%s: batch with offsets %d to %d", l.tp, b.BaseOffset, b.LastOffset)
		}
		next = b.LastOffset + 1
		pos = b.End()
	}
	update, _, err := l.producers.Check(infos, batch.OriginReplication, -1, producer.NoGuard)
	if err != nil {
		return AppendInfo{}, err
	}
	var try attempt
	if !l.ours {
		if try, err = l.dir.admit(pos); err != nil {
			return AppendInfo{}, err
		}
	}
	info, err := l.write(data[:pos], infos, update, nowMs, false)
	try.done(l.dir, err)
	return info, err
}

// UnexpectedOffsetError says that a follower was given records that it has
// already.
type UnexpectedOffsetError struct {
	Partition             kafka.TopicPartition
	Expected, First, Last int64
}

func (e *UnexpectedOffsetError) Error() string {
	return fmt.Sprintf("%s: batch from offset %d to %d is below the log end offset %d", e.Partition, e.First, e.Last, e.Expected)
}

// write puts batches with offsets at the end of the log; l.mu is held and the
// log is usable. Nothing becomes visible unless all of it is in the file, and everything that
// is in the file then does: with an error nothing was appended.
func (l *Log) write(data []byte, infos []batch.Info, update *producer.Update, nowMs int64, keepTail bool) (AppendInfo, error) {
	last := &infos[len(infos)-1]
	info := AppendInfo{FirstOffset: infos[0].BaseOffset, LastOffset: last.LastOffset, LogAppendTime: NoTimestamp, LogStartOffset: l.start.Load(), Size: len(data), MaxTimestamp: NoTimestamp}
	for i := range infos {
		info.MaxTimestamp = max(info.MaxTimestamp, infos[i].MaxTimestamp)
	}
	if err := l.noteEpochs(infos); err != nil {
		return AppendInfo{}, err
	}
	seg := l.view.Load().active()
	due, err := l.rollDue(seg, len(data), &info, nowMs)
	if err == nil && due {
		info.Rolled = true
		// The new segment begins at the log end even if offsets are missing before
		// the first record: recovery takes a gap between segments for a loss.
		base := l.LogEndOffset()
		if info.LastOffset-base > math.MaxInt32 {
			base = info.FirstOffset
		}
		err = l.roll(base, nowMs)
		seg = l.view.Load().active()
	}
	if err != nil {
		return AppendInfo{}, err
	}
	_, pos := seg.end()
	if pos+int64(len(data)) > math.MaxInt32 || info.LastOffset-seg.base > math.MaxInt32 {
		return AppendInfo{}, kafka.RecordListTooLarge.Errorf("%s: %d bytes up to offset %d do not fit into a segment", l.tp, len(data), info.LastOffset)
	}
	if err := l.readyTxns(seg); err != nil {
		return AppendInfo{}, err
	}
	if err := l.writeAt(seg, data, pos); err != nil {
		return AppendInfo{}, err
	}
	// Nothing fails from here on: an error says that nothing was appended.
	if keepTail {
		l.addTail(seg, data, pos)
	}
	l.indexBatches(seg, infos, pos)
	aborted := l.producers.Commit(update, info.LastOffset+1)
	l.addAborted(seg, aborted)
	l.refreshUnstable(l.hw.Load())
	seg.publish(info.LastOffset+1, pos+int64(len(data)))
	return info, nil
}

// noteEpochs persists the epochs of batches before their first record is written (R4),
// and with them what the file lacks of those before. A message of an old format has no
// epoch: the table is of no use to a log that holds one at its end.
func (l *Log) noteEpochs(infos []batch.Info) error {
	old := l.epochs.Load()
	t := old
	for i := range infos {
		switch b := &infos[i]; {
		case b.Magic >= batch.MagicV2:
			t, _ = t.assign(b.LeaderEpoch, b.BaseOffset)
		case len(t.entries) > 0:
			t = &epochTable{}
		}
	}
	if t == old && !l.epochsBehind {
		return nil
	}
	return l.setEpochs(t)
}

// writeAt writes data at the end of the active segment. After a failure the file
// has its old length again, or the log and its directory are given up.
func (l *Log) writeAt(seg *segment, data []byte, pos int64) error {
	f, err := l.openLog(seg)
	if err != nil {
		return l.ioError("opening the active segment", err)
	}
	defer f.unpin()
	if !f.dirty.Load() {
		f.dirty.Store(true)
	}
	n, err := f.WriteAt(data, pos)
	if err == nil && n == len(data) {
		return nil
	}
	if err == nil {
		err = io.ErrShortWrite
	}
	if cutErr := f.Truncate(pos); cutErr != nil {
		l.broken = l.dir.fail(fmt.Sprintf("%s: cutting off a failed write at byte %d of segment %d", l.tp, pos, seg.base), errors.Join(err, cutErr))
		return l.broken
	}
	return l.ioError(fmt.Sprintf("appending %d bytes to segment %d", len(data), seg.base), err)
}

// indexBatches notes batches that were written at pos in the indexes.
func (l *Log) indexBatches(seg *segment, infos []batch.Info, pos int64) {
	interval := int64(l.cfg.Load().IndexIntervalBytes)
	for i := range infos {
		b := &infos[i]
		if b.MaxTimestamp > seg.maxTs {
			seg.maxTs, seg.maxTsOff = b.MaxTimestamp, b.LastOffset
		}
		if seg.bytesSinceIndex > interval {
			l.addIndexEntry(seg, b.LastOffset-seg.base, pos)
			seg.bytesSinceIndex = 0
		}
		if b.Magic == batch.MagicV2 && pos > 0 {
			seg.noteBatch(b.BaseOffset, pos)
		}
		if !seg.rollTsKnown {
			seg.rollTs, seg.rollTsKnown = b.MaxTimestamp, true
		}
		pos += int64(b.Size)
		seg.bytesSinceIndex += int64(b.Size)
	}
}

// addIndexEntry adds to both indexes. When the offset index cannot be written the
// entry is left out: lookups get slower, nothing gets lost.
func (l *Log) addIndexEntry(seg *segment, rel, pos int64) {
	if seg.index.pending() >= indexTailEntries || len(seg.times.tail) >= indexTailEntries {
		if err := l.flushIndexes(seg); err != nil {
			l.env.logger.Warn("index entries could not be written yet", "partition", l.tp.String(), "segment", seg.base, "error", err)
		}
	}
	seg.index.add(rel, pos)
	seg.times.maybeAdd(seg.maxTs, seg.maxTsOff-seg.base)
}

// flushIndexes writes the index entries of the segment that are only in memory.
func (l *Log) flushIndexes(seg *segment) error {
	if seg.index.pending() > 0 {
		f, err := l.openIndex(seg)
		if err != nil {
			return l.ioError("opening an offset index", err)
		}
		err = seg.index.flush(f.File)
		f.unpin()
		if err != nil {
			return l.ioError(fmt.Sprintf("writing the offset index of segment %d", seg.base), err)
		}
		seg.indexesDirty = true
	}
	if len(seg.times.tail) > 0 {
		f, err := l.openTimes(seg)
		if err != nil {
			return l.ioError("opening a time index", err)
		}
		err = seg.times.flush(f.File)
		f.unpin()
		if err != nil {
			return l.ioError(fmt.Sprintf("writing the time index of segment %d", seg.base), err)
		}
		seg.indexesDirty = true
	}
	return nil
}

// rollDue says whether the append has to begin a new segment.
func (l *Log) rollDue(seg *segment, n int, info *AppendInfo, nowMs int64) (bool, error) {
	cfg := l.cfg.Load()
	_, size := seg.end()
	if size > int64(cfg.SegmentBytes)-int64(n) || info.LastOffset-seg.base > math.MaxInt32 {
		return size > 0 || info.LastOffset-seg.base > math.MaxInt32, nil
	}
	if size == 0 {
		return false, nil
	}
	if int(seg.index.entries) >= cfg.SegmentIndexBytes/offsetEntrySize || int(seg.times.entries) >= cfg.SegmentIndexBytes/timeEntrySize-1 {
		return true, nil
	}
	waited, err := l.waitedForRoll(seg, info.MaxTimestamp, nowMs)
	return waited > maxSegmentMs(cfg)-seg.jitter, err
}

// maxSegmentMs is how long a segment may go on: no longer than a record may wait for
// its compaction, since only closed segments are compacted.
func maxSegmentMs(cfg *config.Topic) int64 {
	if cfg.CleanupCompact && cfg.MaxCompactionLagMs > 0 {
		return min(cfg.SegmentMs, cfg.MaxCompactionLagMs)
	}
	return cfg.SegmentMs
}

// waitedForRoll is how long the segment has been waiting for its end: by the
// records' time if they have one, else by the clock.
func (l *Log) waitedForRoll(seg *segment, timestamp, nowMs int64) (int64, error) {
	if !seg.rollTsKnown {
		f, err := l.openLog(seg)
		if err != nil {
			return 0, l.ioError("opening the active segment", err)
		}
		defer f.unpin()
		h := newHeaders(f, seg.size())
		defer h.close()
		first, err := h.at(0)
		if err != nil {
			return 0, l.ioError("reading the first batch of the active segment", err)
		}
		seg.rollTs, seg.rollTsKnown = first.MaxTimestamp, true
	}
	if seg.rollTs >= 0 {
		return timestamp - seg.rollTs, nil
	}
	return nowMs - seg.created, nil
}

// Roll begins a new segment at the log end unless the active one is empty.
func (l *Log) Roll() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	if l.view.Load().active().size() == 0 {
		return nil
	}
	return l.roll(l.LogEndOffset(), l.now())
}

// roll seals the active segment and begins a new one at base; l.mu is held. After
// a failure the old segment goes on being active.
func (l *Log) roll(base, nowMs int64) error {
	v := l.view.Load()
	old := v.active()
	invariant.Check(base >= l.LogEndOffset(), "%s: roll to %d below the end %d", l.tp, base, l.LogEndOffset())
	if base == old.base {
		return l.recreateEmpty(old, nowMs)
	}
	if err := l.seal(old); err != nil {
		return err
	}
	if err := l.settleNames(); err != nil {
		return l.flushError(old, err)
	}
	err := l.createSegmentFiles(base)
	if err == nil {
		err = l.writeSnapshot(base)
	}
	if err != nil {
		// An empty segment that is not in the list would overlap what is appended
		// to the old one.
		if undo := l.removeSegmentFiles(base); undo != nil {
			l.broken = l.dir.fail(fmt.Sprintf("%s: undoing a roll to %d", l.tp, base), errors.Join(err, undo))
			return l.broken
		}
		return l.ioError(fmt.Sprintf("rolling to a new segment at %d", base), err)
	}
	l.dirDirty = true
	seg := l.freshSegment(base, nowMs)
	segs := make([]*segment, len(v.segs), len(v.segs)+1)
	copy(segs, v.segs)
	l.view.Store(&view{append(segs, seg)})
	old.recent.Store(nil)
	old.txns.Store(nil)
	old.txnLoad = false
	l.env.tasks.flushLater(l, base)
	return nil
}

// removeSegmentFiles removes the files of a segment that is not in the list.
func (l *Log) removeSegmentFiles(base int64) error {
	for _, suffix := range segmentSuffixes {
		if err := l.env.fs.Remove(l.path(base, suffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// recreateEmpty stands for a roll of a segment that has no records: there is
// nothing to seal, only its clock starts again.
func (l *Log) recreateEmpty(seg *segment, nowMs int64) error {
	seg.created = nowMs
	seg.rollTsKnown = false
	return nil
}

// freshSegment is the memory of a new, empty segment.
func (l *Log) freshSegment(base, nowMs int64) *segment {
	s := newSegment(base, nowMs)
	s.index.set(0, 0)
	s.times.set(0, timeEntry{})
	s.maxTsOff, s.tsKnown = base, true
	s.txnLoad = true
	s.jitter = l.env.jitter(l.cfg.Load())
	return s
}

// seal completes the indexes of a segment that will get no more records. They are
// synced here when the records already are: a checkpoint may claim the whole
// segment from then on.
func (l *Log) seal(s *segment) error {
	s.times.maybeAdd(s.maxTs, s.maxTsOff-s.base)
	if err := l.flushIndexes(s); err != nil {
		return err
	}
	if err := l.flushTxns(s); err != nil {
		return err
	}
	if next, _ := s.end(); l.flushed.Load() >= next && s.indexesDirty {
		return l.syncIndexes(s)
	}
	return nil
}
