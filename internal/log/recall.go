package log

import (
	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/kafka"
)

// recallBytes is how far from its end a log is searched for the batches that a producer
// snapshot leaves out; whole segments are read.
const recallBytes = 64 << 20

// recallFor looks into the log before a sequence is refused for the first time since
// the producers' state was loaded: what the snapshot left out may make the batch a
// duplicate. It says whether the check has to be made again. l.mu is held.
func (l *Log) recallFor(err error, origin batch.Origin) (again bool) {
	if origin != batch.OriginClient || kafka.CodeOf(err) != kafka.OutOfOrderSequenceNumber || !l.producers.Partial() {
		return false
	}
	if rerr := l.recall(); rerr != nil {
		// The refusal stands: what cannot be read cannot be told to be a duplicate.
		l.env.logger.Warn("could not look for older batches of producers", "partition", l.tp, "error", rerr)
		return false
	}
	return true
}

func (l *Log) recall() error {
	segs := l.view.Load().segs
	from, size := len(segs), int64(0)
	for from > 0 && size < recallBytes {
		from--
		size += segs[from].size()
	}
	r := l.producers.Recollect()
	for _, s := range segs[from:] {
		if err := l.eachBatch(s, r.Add); err != nil {
			return err
		}
	}
	r.Finish()
	return nil
}

// eachBatch walks a segment.
func (l *Log) eachBatch(s *segment, f func(infos []batch.Info)) error {
	h, err := l.openLog(s)
	if err != nil {
		return err
	}
	defer h.unpin()
	_, damaged, err := scanBatches(h.File, 0, s.size(), func(infos []batch.Info) error {
		f(infos)
		return nil
	})
	if err != nil {
		return err
	}
	return damaged
}
