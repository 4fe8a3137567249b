package cleaner

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/log"
)

// round compacts one log once. It belongs to the goroutine that runs it.
type round struct {
	ctx      context.Context
	todo     candidate
	cfg      *config.Topic
	c        *log.Cleaning
	segs     []log.Segment // closed segments below todo.uncleanable
	keys     *offsetMap
	throttle *throttle
	nowMs    int64
	retainer batch.Retainer
	stats    RoundStats
	// legacyHorizonMs: tombstones of old formats, which have no horizon of their
	// own, go from segments that were not written after it.
	legacyHorizonMs int64

	txns      *txnState
	producers map[int64]log.Producer
	// dropMarker is told of a transaction marker of the group under way that goes.
	dropMarker func(offset int64)
	// hashes are those of the records that are looked up side by side.
	hashes []slot
	// retainLegacy and changed are about the segment and the group under way.
	retainLegacy, changed bool
}

// RoundStats is what one round did.
type RoundStats struct {
	// MapBytesRead were read to learn the keys, BytesRead to rewrite the segments.
	MapBytesRead, BytesRead, BytesWritten int64
	MessagesRead, MessagesWritten         int64
	// InvalidMessages are records without a key, which are removed.
	InvalidMessages   int64
	BufferUtilization float64
	Took              time.Duration
	// From and To are the dirty section that was cleaned.
	From, To int64
}

// errFull ends the reading of a dirty section whose keys do not fit.
var errFull = errors.New("the key map is full")

// run does the round; the log is compacted up to stats.To.
func (r *round) run(io int) (err error) {
	l := r.todo.log
	r.cfg = l.Config()
	if r.c, err = l.BeginCleaning(io); err != nil {
		return err
	}
	defer r.c.End()
	defer r.retainer.Close()
	for _, s := range r.c.Segments() {
		if s.BaseOffset < r.todo.uncleanable {
			r.segs = append(r.segs, s)
		}
	}
	if n := len(r.segs); n == 0 || r.segs[n-1].NextOffset < r.todo.uncleanable {
		return log.ErrCleaningAborted
	}
	if err := r.c.Begin(r.todo.firstDirty, r.todo.uncleanable); err != nil {
		return err
	}
	if err := r.setLegacyHorizon(); err != nil {
		return err
	}
	if err := r.mapKeys(); err != nil {
		return err
	}
	r.stats.From, r.stats.To = r.todo.firstDirty, r.keys.latest+1
	r.stats.BufferUtilization = r.keys.utilization()
	aborted, err := r.c.Aborted(r.segs[0].BaseOffset, r.todo.uncleanable)
	if err != nil {
		return err
	}
	r.txns = newTxnState(aborted)
	n := 0
	for n < len(r.segs) && r.segs[n].BaseOffset < r.stats.To {
		n++
	}
	for _, g := range group(r.segs[:n], int64(r.cfg.SegmentBytes)) {
		if err := r.rewrite(g.first, g.n); err != nil {
			return err
		}
	}
	return r.c.Checkpoint(r.stats.To)
}

// setLegacyHorizon goes by the age of the last segment that was compacted before.
func (r *round) setLegacyHorizon() error {
	last := -1
	for i, s := range r.segs {
		if s.BaseOffset < r.todo.firstDirty {
			last = i
		}
	}
	if last < 0 {
		return nil
	}
	ts, err := r.c.ModTime(last)
	r.legacyHorizonMs = ts - r.cfg.DeleteRetentionMs
	return err
}

// mapKeys reads the dirty section and notes the last offset of every key, until the
// map is full; what was mapped is what the round cleans. It ends with a whole batch unless
// there is none: the delete horizon of a batch counts for all of its tombstones, also for
// one whose earlier records this round does not know, and which would go too early.
func (r *round) mapKeys() error {
	from, upTo := r.todo.firstDirty, r.todo.uncleanable
	aborted, err := r.c.Aborted(from, upTo)
	if err != nil {
		return err
	}
	txns := newTxnState(aborted)
	whole := from - 1
	r.keys.latest = whole
	r.keys.old = newSuperseded(from, slotSize*r.keys.limit/8)
	var it batch.Iter
	defer it.Close()
	for i, s := range r.segs {
		if s.NextOffset <= from {
			continue
		}
		err := r.c.Scan(i, r.c.Position(i, from), func(data []byte, infos []batch.Info) error {
			r.stats.MapBytesRead += int64(len(data))
			if err := r.throttle.take(r.ctx, len(data)); err != nil {
				return err
			}
			for k := range infos {
				info := &infos[k]
				if !txns.read(info) && !info.IsControl && info.LastOffset >= from {
					if err := r.mapBatch(&it, data[info.Pos:info.End()], from); err != nil {
						return err
					}
				}
				if info.LastOffset >= from {
					whole = info.LastOffset
					r.keys.latest = whole
				}
			}
			return r.c.Check()
		})
		if errors.Is(err, errFull) {
			if whole >= from {
				r.keys.latest = whole
			}
			return nil
		}
		if err != nil {
			return err
		}
		r.keys.latest = s.NextOffset - 1
	}
	return nil
}

// manyHashes is how many keys are hashed before the first of them is looked up. The
// map is much larger than the processor's caches: lookups that do not depend on each
// other wait for memory together.
const manyHashes = 256

// mapBatch notes the keys of one batch.
func (r *round) mapBatch(it *batch.Iter, b []byte, from int64) error {
	if err := it.Reset(b, r.cfg.MaxStoredBatchBytes()); err != nil {
		return err
	}
	var rec batch.Record
	for more := true; more; {
		r.hashes = r.hashes[:0]
		for len(r.hashes) < manyHashes {
			if more = it.Next(&rec); !more {
				break
			}
			if rec.Key != nil && rec.Offset >= from {
				hi, lo := r.keys.hash.sum(rec.Key)
				r.hashes = append(r.hashes, slot{hi, lo, rec.Offset + 1})
			}
		}
		for _, k := range r.hashes {
			if !r.keys.putHash(k) {
				return errFull
			}
		}
	}
	return it.Err()
}

// segmentGroup are segments that become one.
type segmentGroup struct{ first, n int }

// group joins neighbours as long as they are no larger together than a segment may
// be. A group does not end with an empty segment: what a group leaves must reach the
// base of its last segment, by which a restart knows how far it went.
func group(segs []log.Segment, maxBytes int64) []segmentGroup {
	var groups []segmentGroup
	for i := 0; i < len(segs); {
		n, size := 1, segs[i].Size
		for i+n < len(segs) && size+segs[i+n].Size <= maxBytes && segs[i+n].NextOffset-1-segs[i].BaseOffset <= math.MaxInt32 {
			size += segs[i+n].Size
			n++
		}
		for n > 1 && segs[i+n-1].Size == 0 {
			n--
		}
		if n > 1 || size > 0 {
			groups = append(groups, segmentGroup{i, n})
		}
		i += n
	}
	return groups
}

// rewrite puts what is left of n segments in their place.
func (r *round) rewrite(first, n int) (err error) {
	if r.producers, err = r.c.Producers(); err != nil {
		return err
	}
	var size int64
	for _, s := range r.segs[first : first+n] {
		size += s.Size
	}
	dst, err := r.c.NewSegment(r.segs[first].BaseOffset, size)
	if err != nil {
		return err
	}
	r.txns.keep, r.dropMarker = dst.AddAborted, dst.DropMarker
	r.changed = n > 1
	for i := first; i < first+n; i++ {
		if err := r.copySegment(dst, i, n > 1 && i == first+n-1); err != nil {
			dst.Discard()
			return err
		}
	}
	if !r.changed {
		dst.Discard()
		return nil
	}
	return r.c.Swap(first, n, dst)
}

// copySegment appends what stays of segment i to dst. With reach the header of the
// last batch stays if nothing else of the segment does.
func (r *round) copySegment(dst *log.CleanedSegment, i int, reach bool) error {
	modified, err := r.c.ModTime(i)
	if err != nil {
		return err
	}
	r.retainLegacy = modified > r.legacyHorizonMs
	end, read := r.segs[i].Size, int64(0)
	return r.c.Scan(i, 0, func(data []byte, infos []batch.Info) error {
		before := dst.Size()
		for k := range infos {
			info := &infos[k]
			last := reach && dst.NextOffset() <= r.segs[i].BaseOffset && read+int64(info.End()) == end
			out, err := r.retain(dst.Buffer(), data[info.Pos:info.End()], info, last)
			if err == nil {
				err = dst.Append(out)
			}
			if err != nil {
				return err
			}
		}
		read += int64(len(data))
		r.stats.BytesRead += int64(len(data))
		r.stats.BytesWritten += dst.Size() - before
		if err := r.throttle.take(r.ctx, len(data)+int(dst.Size()-before)); err != nil {
			return err
		}
		return r.c.Check()
	})
}

// retain appends what stays of a batch to dst.
func (r *round) retain(dst, b []byte, info *batch.Info, keepEmpty bool) ([]byte, error) {
	free := r.txns.read(info)
	o := batch.RetainOptions{
		KeepEmpty: keepEmpty || r.isLast(info), HorizonMs: r.nowMs + min(r.cfg.DeleteRetentionMs, math.MaxInt64-r.nowMs),
		DropAll: free, MaxDecompressedBytes: r.cfg.MaxStoredBatchBytes(),
	}
	if info.IsControl {
		// A marker without its record says nothing to a restart, not even the epoch.
		o.DropAll = free && info.HasDeleteHorizon && info.BaseTimestamp <= r.nowMs && !r.isLastOfProducer(info)
		o.SetHorizon = free
	}
	if !info.IsControl && !o.DropAll && info.Magic == batch.MagicV2 && info.BaseOffset > r.keys.latest {
		r.count(int64(info.NumRecords), int64(info.NumRecords))
		return append(dst, b...), nil // for the next round, which knows its keys
	}
	out, n, err := r.retainer.Retain(dst, b, info, o, func(recs []batch.Record, stays []bool) { r.mark(recs, stays, info) })
	if err != nil {
		return dst, err
	}
	if o.DropAll {
		n.Read = int(info.NumRecords)
	}
	r.count(int64(n.Read), int64(n.Kept))
	if !n.Verbatim {
		r.changed = true
	}
	if info.IsControl && o.DropAll {
		r.dropMarker(info.LastOffset)
	}
	return out, nil
}

func (r *round) count(read, written int64) {
	r.stats.MessagesRead += read
	r.stats.MessagesWritten += written
}

// isLast says whether the batch must stay at least as a header: it is the last one
// of a producer, whose sequence number goes on from it, or the last one of the
// round, without which readers would wait for offsets that do not come.
func (r *round) isLast(info *batch.Info) bool {
	return info.LastOffset+1 == r.todo.uncleanable || r.isLastOfProducer(info)
}

// isLastOfProducer says whether a restart knows a producer by this batch.
func (r *round) isLastOfProducer(info *batch.Info) bool {
	if !info.HasProducerID() {
		return false
	}
	p, ok := r.producers[info.ProducerID]
	if !ok {
		return false
	}
	if p.LastDataOffset >= 0 {
		return info.LastOffset == p.LastDataOffset
	}
	return info.IsControl && info.ProducerEpoch == p.Epoch
}

// mark says which records stay. All of recs are of one batch.
func (r *round) mark(recs []batch.Record, stays []bool, info *batch.Info) {
	// Of what was read into the map it is known by its offset whether it is superseded.
	// The first offset of an old format is not in its header.
	mapped := !r.keys.old.full && info.BaseOffset >= r.todo.firstDirty && info.Magic == batch.MagicV2
	r.hashes = r.hashes[:0]
	if !mapped {
		for i := range recs {
			hi, lo := r.keys.hash.sum(recs[i].Key)
			r.hashes = append(r.hashes, slot{hi: hi, lo: lo})
		}
	}
	for i := range recs {
		rec := &recs[i]
		switch {
		case info.IsControl || rec.Offset > r.keys.latest:
			stays[i] = true
		case rec.Key == nil:
			r.stats.InvalidMessages++
			stays[i] = false
		case mapped:
			stays[i] = !r.keys.old.has(rec.Offset) && r.stays(rec, info)
		default:
			stays[i] = rec.Offset >= r.keys.getHash(r.hashes[i]) && r.stays(rec, info)
		}
	}
}

// stays says whether the last record of a key stays.
func (r *round) stays(rec *batch.Record, info *batch.Info) bool {
	if rec.Value != nil {
		return true
	}
	if info.Magic < batch.MagicV2 {
		return r.retainLegacy
	}
	return !info.HasDeleteHorizon || r.nowMs < info.BaseTimestamp
}
