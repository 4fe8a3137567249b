package producer

import "github.com/gregorhq/gregor/internal/batch"

// A .snapshot file holds the last batch of a producer only, by Kafka's format. Retries
// of the four before it would look out of order after a restart, though they are
// duplicates (T1). They are still in the log, and are recalled from there when a
// sequence is out of order for the first time after a Load.

// Partial says whether the log may know more batches of the producers than the state.
func (s *State) Partial() bool { return s.partial }

// Recollection collects what a walk over the log finds.
type Recollection struct {
	s     *State
	older map[int64][]BatchMeta
}

// Recollect begins a Recollection.
func (s *State) Recollect() *Recollection {
	return &Recollection{s: s, older: map[int64][]BatchMeta{}}
}

// Add notes batches of the log. Calls must be in the order of offsets.
func (r *Recollection) Add(infos []batch.Info) {
	for k := range infos {
		i := &infos[k]
		if !i.HasProducerID() || i.IsControl {
			continue
		}
		e := r.s.producers[i.ProducerID]
		if e == nil || !e.partial || e.n == 0 || e.n == retained || i.ProducerEpoch != e.epoch || i.LastOffset >= e.batches[0].FirstOffset() {
			continue
		}
		list := append(r.older[i.ProducerID], BatchMeta{LastOffset: i.LastOffset, Timestamp: i.MaxTimestamp, LastSequence: i.LastSequence(), OffsetDelta: int32(i.LastOffset - i.BaseOffset)})
		if len(list) > retained {
			list = append(list[:0], list[1:]...)
		}
		r.older[i.ProducerID] = list
	}
}

// Finish puts what was found before what is known; nothing is Partial afterwards. The
// state must not have changed since Recollect.
func (r *Recollection) Finish() {
	for id, list := range r.older {
		e := r.s.producers[id]
		list = list[max(0, len(list)-(retained-int(e.n))):]
		copy(e.batches[len(list):], e.batches[:e.n])
		copy(e.batches[:], list)
		e.n += int8(len(list))
	}
	for _, e := range r.s.producers {
		e.partial = false
	}
	r.s.partial = false
}
