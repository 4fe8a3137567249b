package log

import (
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/producer"
	"github.com/gregorhq/gregor/internal/vfs"
)

// loadEpochs reads leader-epoch-checkpoint, or the batches when it is unreadable.
func (l *Log) loadEpochs() error {
	name := filepath.Join(l.Folder(), fileLeaderEpochs)
	data, err := vfs.ReadFile(l.env.fs, name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return l.ioError("reading "+name, err)
	}
	if err == nil {
		entries, err := parseEpochs(data)
		if err == nil {
			l.epochs.Store(&epochTable{entries})
			return nil
		}
		l.env.logger.Warn("leader epochs are read again from the segments", "partition", l.tp.String(), "file", name, "error", err)
	}
	t := &epochTable{}
	if err == nil {
		for _, s := range l.view.Load().segs {
			if err := l.scanSegment(s, 0, s.size(), func(infos []batch.Info) error {
				t = t.extend(infos)
				return nil
			}); err != nil {
				return err
			}
		}
		if err := l.writeEpochs(t); err != nil {
			return err
		}
	}
	l.epochs.Store(t)
	return nil
}

// extend adds the epochs of batches that grow.
func (t *epochTable) extend(infos []batch.Info) *epochTable {
	for i := range infos {
		if b := &infos[i]; b.Magic == batch.MagicV2 && b.LeaderEpoch > t.latest() {
			t, _ = t.assign(b.LeaderEpoch, b.BaseOffset)
		}
	}
	return t
}

// trimEpochs makes the epochs fit the log's ends. The file stays behind: whoever reads it
// before the next record does the same again.
func (l *Log) trimEpochs() {
	t, cutEnd := l.epochs.Load().truncateEnd(l.LogEndOffset())
	t, cutStart := t.truncateStart(l.start.Load())
	l.epochsBehind, l.epochsDirty = l.epochsBehind || cutEnd, l.epochsDirty || cutStart
	l.epochs.Store(t)
}

func (l *Log) newProducers() *producer.State {
	return producer.New(*l.env.producerConfig.Load())
}

// producersAt returns the producer state as of offset: the newest usable snapshot
// at or below it and what the batches since then add, those below the log start
// among them as far as they are there. Without them a transaction that ended
// there would stay open, and the log would be stable no further. A snapshot from
// before the first segment is of no use for the same reason. Damaged ones are
// removed; one that cannot be read at the moment is no damaged one.
func (l *Log) producersAt(offset int64) (*producer.State, error) {
	state := l.newProducers()
	from := l.view.Load().segs[0].base
	for i := len(l.snapshots) - 1; i >= 0; i-- {
		at := l.snapshots[i]
		if at > offset {
			continue
		}
		if at < from {
			break
		}
		data, err := l.readSnapshot(at)
		if err == nil {
			err = state.Load(data, at, l.now())
		}
		if err == nil {
			from = at
			break
		}
		if !errors.Is(err, producer.ErrCorruptSnapshot) && !errors.Is(err, fs.ErrNotExist) {
			return nil, l.ioError("reading a producer snapshot", err)
		}
		l.env.logger.Warn("unusable producer snapshot", "partition", l.tp.String(), "offset", at, "error", err)
		l.dropSnapshots(func(o int64) bool { return o == at })
		state = l.newProducers()
	}
	v := l.view.Load()
	for i := v.floor(from); i < len(v.segs) && v.segs[i].base < offset; i++ {
		s := v.segs[i]
		if v.endOf(i) <= from {
			continue
		}
		err := l.scanSegment(s, 0, s.size(), func(infos []batch.Info) error {
			return replayRange(state, infos, from, offset)
		})
		if err != nil {
			return nil, err
		}
	}
	state.OnLogStart(l.start.Load())
	state.SetEndOffset(offset)
	return state, nil
}

// replayRange applies the batches that lie in [from, to).
func replayRange(state *producer.State, infos []batch.Info, from, to int64) error {
	for len(infos) > 0 && infos[0].LastOffset < from {
		infos = infos[1:]
	}
	for len(infos) > 0 && infos[len(infos)-1].LastOffset >= to {
		infos = infos[:len(infos)-1]
	}
	_, err := replay(state, infos)
	return err
}

// replay applies batches that are in the log to a producer state.
func replay(state *producer.State, infos []batch.Info) ([]AbortedTxn, error) {
	if len(infos) == 0 {
		return nil, nil
	}
	update, _, err := state.Check(infos, batch.OriginReplication, -1, producer.NoGuard)
	if err != nil {
		return nil, err
	}
	var list []AbortedTxn
	for _, t := range state.Commit(update, infos[len(infos)-1].LastOffset+1) {
		list = append(list, AbortedTxn(t))
	}
	return list, nil
}

// dropStraySnapshots removes the snapshots that are neither at a segment's base
// nor the newest.
func (l *Log) dropStraySnapshots() {
	v := l.view.Load()
	end := l.LogEndOffset()
	n := len(l.snapshots)
	if n == 0 {
		return
	}
	newest := l.snapshots[n-1]
	l.dropSnapshots(func(offset int64) bool {
		if offset > end {
			return true
		}
		return offset != newest && v.segs[v.floor(offset)].base != offset
	})
}
