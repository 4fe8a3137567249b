package log

import (
	"bytes"
	"fmt"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/kafka"
)

// mendBuffer is how much of a mended segment is written at once.
const mendBuffer = 1 << 20

// Mend puts the batches of another replica in the place of a closed segment that is
// damaged. fetch returns whole batches from an offset on. Nothing changes unless they
// make up a segment of the same size in which every batch is either what is here too or
// takes the place of one that is damaged here: replicas that differ otherwise are not a
// matter of damaged bytes. It returns how many batches were replaced.
//
// A log that is or was compacted is not mended: its replicas differ by right, and a
// record that only one of them still has may be one that was deleted.
func (l *Log) Mend(d Damage, fetch func(offset int64) ([]byte, error)) (replaced int, err error) {
	if _, cleaned := l.CleanPoint(); cleaned || l.Config().CleanupCompact {
		return 0, fmt.Errorf("%s is compacted, so that its replicas need not be equal", l.tp)
	}
	c, err := l.BeginCleaning(mendBuffer)
	if err != nil {
		return 0, err
	}
	c.mending = true
	defer c.End()
	i := 0
	for i < len(c.segs) && c.segs[i].base != d.Base {
		i++
	}
	if i == len(c.segs) || c.ends[i] != d.Next {
		return 0, fmt.Errorf("%s: %w", l.tp, ErrCleaningAborted)
	}
	aborted, err := l.txnsOf(c.segs[i])
	if err != nil {
		return 0, err
	}
	s, err := c.NewSegment(d.Base, c.segs[i].size())
	if err != nil {
		return 0, err
	}
	if replaced, err = c.copyFrom(i, s, fetch); err != nil {
		s.Discard()
		return 0, err
	}
	for _, t := range aborted {
		s.AddAborted(t)
	}
	return replaced, c.Swap(i, 1, s)
}

// copyFrom appends what fetch returns to s, comparing it with segment i.
func (c *Cleaning) copyFrom(i int, s *CleanedSegment, fetch func(offset int64) ([]byte, error)) (replaced int, err error) {
	seg, end := c.segs[i], c.ends[i]
	f, err := c.l.openLog(seg)
	if err != nil {
		return 0, c.readError(i, err)
	}
	defer f.unpin()
	var infos []batch.Info
	for next := seg.base; s.size < seg.size(); {
		data, err := fetch(next)
		if err != nil {
			return 0, err
		}
		if infos, err = batch.AppendInfos(infos[:0], data); err != nil {
			return 0, err
		}
		before := s.size
		for k := range infos {
			b := &infos[k]
			if b.BaseOffset >= end || s.size == seg.size() {
				break
			}
			if err := inSegment(b, seg.base, next); err != nil || b.LastOffset >= end || s.size+int64(b.Size) > seg.size() {
				return 0, fmt.Errorf("%s: the other replica has offsets %d to %d at byte %d of segment %d, which do not fit", c.l.tp, b.BaseOffset, b.LastOffset, s.size, seg.base)
			}
			theirs := data[b.Pos:b.End()]
			same, err := sameOrDamaged(f, theirs, s.size)
			if err != nil {
				return 0, err
			}
			if !same {
				replaced++
			}
			if err := s.Append(append(s.Buffer(), theirs...)); err != nil {
				return 0, err
			}
			next = b.LastOffset + 1
		}
		if s.size == before {
			return 0, fmt.Errorf("%s: the other replica has nothing at offset %d", c.l.tp, next)
		}
	}
	return replaced, c.Check()
}

// headerOutsideCRC is how many bytes a batch begins with that its checksum does not
// cover: base offset, length, leader epoch, magic and the checksum itself.
const headerOutsideCRC = 21

// sameOrDamaged compares a valid batch with the bytes at pos of a file. They may differ
// if those are no valid batch, or one in which only bytes differ that no checksum
// covers.
func sameOrDamaged(f *handle, theirs []byte, pos int64) (same bool, err error) {
	ours := make([]byte, len(theirs))
	if err := readFull(f, ours, pos); err != nil {
		return false, err
	}
	if bytes.Equal(ours, theirs) {
		return true, nil
	}
	infos, err := batch.AppendInfos(nil, ours)
	if err == nil && len(infos) == 1 && !bytes.Equal(ours[headerOutsideCRC:], theirs[headerOutsideCRC:]) {
		return false, kafka.CorruptMessage.Errorf("the batch at byte %d is valid here and differs from the other replica's", pos)
	}
	return false, nil
}
