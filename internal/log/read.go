package log

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/vfs"
)

// pinSet is what a Data stands on until it is released.
type pinSet struct {
	spans  []vfs.Span
	chunks []*chunk
	file   *handle
}

var pinSets = sync.Pool{New: func() any { return new(pinSet) }}

// addMemory adds a span, joined to the one before when they touch.
func (p *pinSet) addMemory(b []byte) {
	if n := len(p.spans); n > 0 {
		last := &p.spans[n-1]
		if k := len(last.B); k > 0 && cap(last.B) >= k+len(b) && &last.B[:k+1][k] == &b[0] {
			last.B = last.B[:k+len(b)]
			last.Len = len(last.B)
			return
		}
	}
	p.spans = append(p.spans, vfs.Span{B: b, Len: len(b)})
}

func (p *pinSet) release() {
	for i, c := range p.chunks {
		c.unpin()
		p.chunks[i] = nil
	}
	p.chunks = p.chunks[:0]
	if p.file != nil {
		p.file.unpin()
		p.file = nil
	}
	clear(p.spans)
	p.spans = p.spans[:0]
	pinSets.Put(p)
}

// Release gives back the memory and files that the spans stand on. It must be
// called once for a Data that Read returned, whoever holds the copy.
func (d *Data) Release() {
	if d.pins != nil {
		d.pins.release()
		d.pins = nil
	}
	d.Spans = nil
}

// readTries bounds how often a read begins again because the log changed under it.
const readTries = 8

// Read returns whole batches from the one that holds offset on, at most maxBytes
// bytes and none with an offset at or above upTo. With minOne the first batch is
// returned whole even if it is larger than maxBytes. An offset outside of the log
// start and end is OFFSET_OUT_OF_RANGE; at the end nothing is returned. The bytes
// of one Read lie in one segment.
func (l *Log) Read(offset int64, maxBytes int, upTo int64, minOne bool) (Data, error) {
	if err := l.Load(); err != nil {
		return Data{}, err
	}
	for try := 0; ; try++ {
		gen := l.gen.Load()
		if gen%2 == 1 {
			l.awaitTruncation()
			try--
			continue
		}
		d, seg, err := l.readOnce(offset, maxBytes, upTo, minOne)
		hints := seg.hints.Load()
		if l.gen.Load() != gen {
			// Somebody else got on meanwhile, so this ends with their changes.
			d.Release()
			try--
			continue
		}
		if err == nil {
			if d.Size > 0 {
				hints.note(d.NextOffset-seg.base, d.Position+int64(d.Size))
			}
			return d, nil
		}
		again, err := l.judgeRead(seg, err)
		if !again || try >= readTries {
			return Data{}, err
		}
	}
}

// judgeRead says whether a read that failed may succeed when it is tried again.
func (l *Log) judgeRead(seg *segment, err error) (again bool, _ error) {
	switch {
	case errors.Is(err, errIndexDamaged):
		if err := l.repair(seg); err != nil {
			return false, err
		}
		return true, kafka.KafkaStorageError.Errorf("%s: an index of segment %d is damaged", l.tp, seg.base)
	case errors.Is(err, fs.ErrNotExist):
		// Retention may have taken the segment away between the look at the list
		// and the opening of the file.
		v := l.view.Load()
		if gone := l.err(); gone != nil {
			return false, gone
		}
		if v.segs[v.floor(seg.base)] != seg {
			return true, err
		}
		return false, l.ioError(fmt.Sprintf("opening segment %d", seg.base), err)
	case errors.Is(err, kafka.OffsetOutOfRange), errors.Is(err, kafka.CorruptMessage), errors.Is(err, kafka.KafkaStorageError):
		return false, err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return false, l.corrupt(seg, seg.size(), err)
	}
	return false, l.ioError(fmt.Sprintf("reading segment %d", seg.base), err)
}

// AppendData appends a copy of the bytes that Read returned to dst. Its errors are judged
// like those of Read: one that does not pass takes the directory offline.
func (l *Log) AppendData(dst []byte, d *Data) ([]byte, error) {
	dst = slices.Grow(dst, d.Size)
	for i := range d.Spans {
		s := &d.Spans[i]
		if s.File == nil {
			dst = append(dst, s.B...)
			continue
		}
		n := len(dst)
		dst = dst[:n+s.Len]
		if k, err := s.File.ReadAt(dst[n:], s.Off); k < s.Len {
			return dst[:n], l.readFailed(fmt.Errorf("reading %d bytes at %d of %s: got %d: %w", s.Len, s.Off, s.File.Name(), k, err))
		}
	}
	return dst, nil
}

func (l *Log) readFailed(err error) error {
	if gone := l.err(); gone != nil {
		return gone
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return kafka.CorruptMessage.Errorf("%s: the file ends before the records: %w", l.tp, err)
	}
	return l.ioError("reading records", err)
}

// readOnce is one try of Read. seg is the segment that it looked at last.
func (l *Log) readOnce(offset int64, maxBytes int, upTo int64, minOne bool) (d Data, seg *segment, err error) {
	v := l.view.Load()
	seg = v.active()
	end, activeSize := seg.end()
	start := l.start.Load()
	if offset < start || offset > end {
		return d, seg, kafka.OffsetOutOfRange.Errorf("Received request for offset %d for partition %s, but we only have log segments from offset %d to %d.", offset, l.tp, start, end)
	}
	upTo = min(upTo, end)
	d = Data{FirstOffset: offset, NextOffset: offset, SegmentBase: seg.base}
	if offset >= upTo || maxBytes <= 0 && !minOne {
		return d, seg, nil
	}
	for i := v.floor(offset); i < len(v.segs); i++ {
		seg = v.segs[i]
		segEnd, limit := end, activeSize
		if i+1 < len(v.segs) {
			segEnd, limit = v.segs[i+1].base, seg.size()
		}
		if upTo < segEnd {
			p, ok, err := l.locate(seg, upTo, limit)
			if err != nil {
				return d, seg, err
			}
			if ok {
				limit = p.pos
			}
			segEnd = upTo
		}
		p, ok, err := l.locate(seg, offset, limit)
		if err != nil {
			return d, seg, err
		}
		if ok {
			return l.gather(seg, p, limit, segEnd, maxBytes, minOne, d)
		}
		if upTo <= segEnd {
			break
		}
	}
	return d, seg, nil
}

// gather pins the batches of seg from p up to limit, or as many as maxBytes allow.
// next is the offset that reading goes on with at limit.
func (l *Log) gather(seg *segment, p place, limit, next int64, maxBytes int, minOne bool, d Data) (Data, *segment, error) {
	stop := limit
	if limit-p.pos > int64(maxBytes) {
		var err error
		if stop, next, err = l.cut(seg, p, limit, p.pos+int64(max(maxBytes, 0)), minOne); err != nil {
			return d, seg, err
		}
		if stop == p.pos {
			return d, seg, nil
		}
	}
	pins := pinSets.Get().(*pinSet)
	if !l.pinTail(pins, seg, p.pos, stop) {
		f, err := l.openLog(seg)
		if err != nil {
			pins.release()
			return d, seg, err
		}
		pins.file = f
		pins.spans = append(pins.spans, vfs.Span{File: f.File, Off: p.pos, Len: int(stop - p.pos)})
	}
	d.Spans, d.Size, d.pins = pins.spans, int(stop-p.pos), pins
	d.FirstOffset, d.NextOffset, d.SegmentBase, d.Position = p.base, next, seg.base, p.pos
	return d, seg, nil
}

// cut finds the last end of a batch that is after p and not beyond bound, and the
// offset that follows there. With minOne it is at least the first batch's end.
func (l *Log) cut(seg *segment, p place, limit, bound int64, minOne bool) (stop, next int64, err error) {
	if t := seg.recent.Load(); t != nil {
		if v := t.floorPosition(bound); int64(uint32(v)) > p.pos {
			return int64(uint32(v)), seg.base + int64(v>>32), nil
		}
	}
	pos := p.pos
	e, err := l.indexFloor(seg, bound, true)
	if err != nil {
		return 0, 0, err
	}
	var entry uint64
	if int64(uint32(e)) > pos && int64(uint32(e)) < limit {
		pos, entry = int64(uint32(e)), e
	}
	f, err := l.openLog(seg)
	if err != nil {
		return 0, 0, err
	}
	defer f.unpin()
	h := newHeaders(f, limit)
	defer h.close()
	stop, next = p.pos, p.base
	for pos < limit {
		info, err := h.at(pos)
		if entry != 0 && err == nil && info.Magic < batch.MagicV2 {
			// The header does not tell where such a batch begins.
			pos, entry = p.pos, 0
			continue
		}
		if entry != 0 && (err != nil && damagedBytes(err) || err == nil && info.LastOffset != seg.base+int64(entry>>32)) {
			return 0, 0, errIndexDamaged
		}
		if err != nil {
			return 0, 0, l.corrupt(seg, pos, err)
		}
		if entry != 0 {
			// The batch before the entry's ends here, whatever follows.
			stop, next, entry = pos, info.BaseOffset, 0
		}
		end := pos + int64(info.Size)
		if end > bound && (stop > p.pos || !minOne) {
			break
		}
		stop, next, pos = end, info.LastOffset+1, end
		if end > bound {
			break
		}
	}
	return stop, next, nil
}

// awaitTruncation returns when the truncation that is under way is done; its holder
// has l.mu.
func (l *Log) awaitTruncation() {
	l.mu.Lock()
	defer l.mu.Unlock()
}
