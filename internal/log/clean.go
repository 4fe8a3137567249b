package log

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/kafka"
)

// ErrCleaningAborted says that a log changed in a way that makes a round of
// compaction void: it was truncated, lost segments to retention, or is not to be
// compacted any more. The next round begins anew.
var ErrCleaningAborted = errors.New("the log changed while it was compacted")

// SegmentSizes describes the segments without reading anything: MaxTimestamp is not
// set. It needs no lock, and a log that was not used yet stays as it is.
func (l *Log) SegmentSizes() []Segment {
	v := l.view.Load()
	list := make([]Segment, len(v.segs))
	for i, s := range v.segs {
		list[i] = Segment{BaseOffset: s.base, NextOffset: v.endOf(i), Size: s.size(), MaxTimestamp: NoTimestamp, Active: i == len(v.segs)-1}
	}
	return list
}

// LargestTimestamp is what retention and compaction go by for the segment that
// begins at base: the largest timestamp of a record, or the file's time when the
// records have none.
func (l *Log) LargestTimestamp(base int64) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, err := l.segmentAt(base)
	if err != nil {
		return 0, err
	}
	return l.largestTimestamp(s)
}

// FirstBatchTimestamp is the largest timestamp in the first batch of the segment
// that begins at base, NoTimestamp when it is empty or its records have none.
func (l *Log) FirstBatchTimestamp(base int64) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, err := l.segmentAt(base)
	if err != nil || s.size() == 0 {
		return NoTimestamp, err
	}
	if s.rollTsKnown {
		return s.rollTs, nil
	}
	info, err := l.headerAt(s, 0)
	if err != nil {
		if !errors.Is(err, kafka.CorruptMessage) {
			err = l.ioError("reading the first batch of a segment", err)
		}
		return NoTimestamp, err
	}
	s.rollTs, s.rollTsKnown = info.MaxTimestamp, true
	return info.MaxTimestamp, nil
}

// segmentAt finds the segment that begins at base; l.mu is held.
func (l *Log) segmentAt(base int64) (*segment, error) {
	if err := l.usable(); err != nil {
		return nil, err
	}
	v := l.view.Load()
	if s := v.segs[v.floor(base)]; s.base == base {
		return s, nil
	}
	return nil, ErrCleaningAborted
}

// Cleaning is one round of compaction: the segments that were closed when it began,
// and the means to put others in their place (docs/architecture/compaction.md). It
// belongs to one goroutine; End must be called. A log has at most one at a time.
type Cleaning struct {
	l    *Log
	gen  uint64 // Log.gen, as this round's own swaps left it
	segs []*segment
	ends []int64
	buf  []byte
	out  []byte // memory of the segment that is written
	// mending says that the round is no compaction but repairs damaged bytes.
	mending bool
}

// BeginCleaning begins a round. io is how many bytes are read and written at once.
func (l *Log) BeginCleaning(io int) (*Cleaning, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return nil, err
	}
	if l.moving.Load() {
		return nil, fmt.Errorf("%s moves to another directory: %w", l.tp, ErrCleaningAborted)
	}
	if l.cleaning {
		return nil, fmt.Errorf("%s is being compacted already", l.tp)
	}
	v := l.view.Load()
	n := len(v.segs) - 1
	c := &Cleaning{l: l, gen: l.gen.Load(), segs: v.segs[:n:n], buf: make([]byte, max(io, 4096))}
	for i := range c.segs {
		c.ends = append(c.ends, v.endOf(i))
	}
	l.cleaning = true
	return c, nil
}

// End ends the round.
func (c *Cleaning) End() {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	c.l.cleaning = false
}

// Check says whether the round may go on.
func (c *Cleaning) Check() error {
	if err := c.l.err(); err != nil {
		return err
	}
	if c.l.gen.Load() != c.gen || c.l.Config().CleanupCompact == c.mending {
		return fmt.Errorf("%s: %w", c.l.tp, ErrCleaningAborted)
	}
	return nil
}

// Segments lists the closed segments, in order.
func (c *Cleaning) Segments() []Segment {
	list := make([]Segment, len(c.segs))
	for i, s := range c.segs {
		list[i] = Segment{BaseOffset: s.base, NextOffset: c.ends[i], Size: s.size(), MaxTimestamp: NoTimestamp}
	}
	return list
}

// ModTime is when the file of segment i was written last, in milliseconds.
func (c *Cleaning) ModTime(i int) (int64, error) {
	info, err := c.l.env.fs.Stat(c.l.path(c.segs[i].base, suffixLog))
	if err != nil {
		return 0, c.readError(i, err)
	}
	return info.ModTime().UnixMilli(), nil
}

// Begin makes sure that a crash cannot undo what the round relies on: everything
// below end is durable, and so is the log's start and the removal of segments below
// it, since what came back would count as compacted; and the directory knows that
// the log is compacted, so that recovery takes no gap for a loss whatever the topic's
// configuration then is.
func (c *Cleaning) Begin(firstDirty, end int64) error {
	if err := c.l.FlushTo(end); err != nil {
		return err
	}
	if err := c.l.syncNames(); err != nil {
		return err
	}
	// Recovery takes a gap above the recovery point for a loss: it is to be above what is
	// compacted.
	if err := c.l.dir.writePoints(); err != nil {
		return err
	}
	if c.l.LogStartOffset() > c.l.view.Load().segs[0].base {
		if err := c.l.dir.writeStarts(); err != nil {
			return err
		}
	}
	if _, ok := c.l.CleanPoint(); ok {
		return nil
	}
	return c.Checkpoint(firstDirty)
}

// Checkpoint records that compaction has looked at everything below offset.
func (c *Cleaning) Checkpoint(offset int64) error {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	if err := c.l.usable(); err != nil {
		return err
	}
	if err := c.Check(); err != nil {
		return err
	}
	return c.l.dir.setCleanPoint(c.l.tp, offset)
}

// Producer is what compaction must keep of a producer: the last batch, by which a
// restart knows its last sequence number.
type Producer struct {
	LastDataOffset int64 // NoOffset when the state has no batch of it
	Epoch          int16
}

// Producers are the producers that have state, by id.
func (c *Cleaning) Producers() (map[int64]Producer, error) {
	entries, err := c.l.ActiveProducers()
	if err != nil {
		return nil, err
	}
	m := make(map[int64]Producer, len(entries))
	for i := range entries {
		m[entries[i].ProducerID] = Producer{entries[i].LastOffset, entries[i].Epoch}
	}
	return m, nil
}

// Aborted lists the aborted transactions that overlap [from, upTo).
func (c *Cleaning) Aborted(from, upTo int64) ([]AbortedTxn, error) {
	return c.l.AbortedTxns(from, upTo)
}

// Position returns where in segment i to begin reading for offset: at its batch or
// before.
func (c *Cleaning) Position(i int, offset int64) int64 {
	s := c.segs[i]
	if offset <= s.base {
		return 0
	}
	p, ok, err := c.l.locate(s, offset, s.size())
	if err != nil {
		return 0 // an index that cannot be used is only slower
	}
	if !ok {
		return s.size()
	}
	return p.pos
}

// Scan reads segment i from a batch's position on and calls each with whole batches
// whose checksums match; Pos of the infos counts from the beginning of data. Damage
// is CORRUPT_MESSAGE with the file and the position. Memory grows to the largest
// batch of the segment, which the file must really hold.
func (c *Cleaning) Scan(i int, from int64, each func(data []byte, infos []batch.Info) error) error {
	s := c.segs[i]
	f, err := c.l.openLog(s)
	if err != nil {
		return c.readError(i, err)
	}
	defer f.unpin()
	if err := c.Check(); err != nil {
		return err
	}
	buf, size := c.buf, s.size()
	var infos []batch.Info
	next := s.base
	for pos := from; pos < size; {
		b := buf[:min(int64(len(buf)), size-pos)]
		if err := readFull(f, b, pos); err != nil {
			return c.readError(i, err)
		}
		var damaged error
		infos, damaged = batch.AppendInfos(infos[:0], b)
		if n := len(infos); n > 0 {
			used := infos[n-1].End()
			for k := range infos {
				// Offsets are not in the checksum.
				if err := inSegment(&infos[k], s.base, next); err != nil {
					return c.l.corrupt(s, pos, err)
				}
				next = infos[k].LastOffset + 1
			}
			if next > c.ends[i] {
				return c.l.corrupt(s, pos, kafka.CorruptMessage.Errorf("batch ends at offset %d, the segment at %d", next, c.ends[i]))
			}
			if err := each(b[:used], infos); err != nil {
				return err
			}
			pos += int64(used)
		}
		if damaged != nil {
			return c.l.corrupt(s, pos, damaged)
		}
		if len(infos) > 0 {
			continue
		}
		n, ok, err := batch.NextSize(b)
		if err == nil && (!ok || int64(n) > size-pos) {
			err = kafka.CorruptMessage.Errorf("batch is cut off by the end of the segment at byte %d", size)
		}
		if err != nil {
			return c.l.corrupt(s, pos, err)
		}
		buf = make([]byte, n)
	}
	return c.Check()
}

// readError judges a failed read. A file that retention or a truncation took away
// voids the round; that is for the next one.
func (c *Cleaning) readError(i int, err error) error {
	if checked := c.Check(); checked != nil {
		return checked
	}
	v := c.l.view.Load()
	if s := c.segs[i]; errors.Is(err, fs.ErrNotExist) && v.segs[v.floor(s.base)] != s {
		return fmt.Errorf("%s: %w", c.l.tp, ErrCleaningAborted)
	}
	return c.l.ioError(fmt.Sprintf("reading segment %d for compaction", c.segs[i].base), err)
}
