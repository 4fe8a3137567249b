package log

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/gregorhq/gregor/internal/kafka"
)

// cutPoint is where a truncation cuts: the segment at index seg keeps size bytes and is the
// last one, and the log ends at offset.
type cutPoint struct {
	seg          int
	offset, size int64
}

// findCut looks for where to cut the log so that it ends at offset, or before it, since a
// batch that holds offset goes as a whole. It changes nothing but indexes that are damaged,
// and an error leaves the log as it was; l.mu is held.
func (l *Log) findCut(v *view, offset int64) (cutPoint, error) {
	i := v.floor(offset)
	s := v.segs[i]
	// What readers left says where a batch begins, but not always with which offset: it is
	// of no use for where to cut. They leave nothing while the generation is odd.
	l.gen.Add(1)
	defer l.gen.Add(1)
	s.hints.Store(new(hintSet))
	p, found, err := l.locateCut(s, offset)
	if errors.Is(err, errIndexDamaged) {
		if err := l.repairLocked(s); err != nil {
			return cutPoint{}, err
		}
		p, found, err = l.locateCut(s, offset)
	}
	if err != nil {
		return cutPoint{}, l.ioError(fmt.Sprintf("looking for where to cut segment %d", s.base), err)
	}
	if !found {
		return cutPoint{i, offset, s.size()}, nil
	}
	return cutPoint{i, min(offset, max(p.base, s.base)), p.pos}, nil
}

// locateCut is locate for a truncation. Damage on the way to offset is as good a place: an
// offset behind it cannot be looked up here any more, so that the log loses nothing by it
// that it could have served, and the follower goes on from there. Were it told as an error,
// the follower would try the same for ever. The metadata log is another matter: a voter that
// loses what it acknowledged may elect a leader without it, so it is told.
func (l *Log) locateCut(s *segment, offset int64) (p place, found bool, err error) {
	if err := l.readyIndexLocked(s); err != nil {
		return p, false, err
	}
	p, found, err = l.locate(s, offset, s.size())
	if !damagedBytes(err) || l.tp.Topic == kafka.MetadataTopic {
		return p, found, err
	}
	return l.locateDamage(s, offset, err)
}

// locateDamage walks to offset as a lookup after a restart would, and returns where the
// first bytes lie that are no batch, with the offset at which the one before ends.
func (l *Log) locateDamage(s *segment, offset int64, cause error) (p place, found bool, err error) {
	entry, err := l.indexFloor(s, offset-s.base, false)
	if err != nil {
		return p, false, err
	}
	f, err := l.openLog(s)
	if err != nil {
		return p, false, err
	}
	defer f.unpin()
	h := newHeaders(f, s.size())
	defer h.close()
	first, next := int64(uint32(entry)), s.base
	for pos := first; pos < s.size(); {
		info, err := h.at(pos)
		if err == nil {
			err = inSegment(&info, s.base, next)
		}
		if pos == first && entry != 0 && (damagedBytes(err) || err == nil && info.LastOffset != s.base+int64(entry>>32)) {
			return p, false, errIndexDamaged
		}
		if damagedBytes(err) {
			l.env.logger.Error("cutting off damaged bytes and what lies behind them", "partition", l.tp.String(), "segment", s.base, "position", pos,
				"firstOffset", next, "asked", offset, "error", cause)
			return place{pos: pos, base: next}, true, nil
		}
		if err != nil {
			return p, false, err
		}
		if info.LastOffset >= offset {
			return place{pos, int64(info.Size), info.BaseOffset}, true, nil
		}
		next, pos = info.LastOffset+1, pos+int64(info.Size)
	}
	return p, false, nil
}

// pinForCut opens the files of the segment that is cut, so that the truncation does not
// have to in the middle, where a lack of descriptors would be one failure more. Indexes that
// are missing are built again.
func (l *Log) pinForCut(s *segment) (unpin func(), err error) {
	var pinned []*handle
	unpin = func() {
		for _, h := range pinned {
			h.unpin()
		}
	}
	open := func() (err error) {
		for _, f := range []func(*segment) (*handle, error){l.openLog, l.openIndex, l.openTimes} {
			h, openErr := f(s)
			if openErr != nil {
				err = errors.Join(err, openErr)
				continue
			}
			pinned = append(pinned, h)
		}
		return err
	}
	err = open()
	if errors.Is(err, fs.ErrNotExist) {
		if err := l.repairLocked(s); err != nil {
			unpin()
			return nil, err
		}
		unpin()
		pinned = nil
		err = open()
	}
	if err != nil {
		unpin()
		return nil, l.ioError(fmt.Sprintf("opening segment %d to cut it", s.base), err)
	}
	return unpin, nil
}
