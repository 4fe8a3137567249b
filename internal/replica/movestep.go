package replica

import (
	"time"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log"
)

const (
	// moveChunk is how much a turn copies, unless a batch is larger.
	moveChunk = 1 << 20
	// maxSwapBytes is how much is copied while appends wait for the swap. It doubles with
	// every attempt that finds more, at most so many times: producers may be faster than the
	// sync before it.
	maxSwapBytes   = 256 << 10
	maxSwapDoubled = 8
	// cleaningPause is the wait for a round of compaction that is under way.
	cleaningPause = 100 * time.Millisecond
	// Pauses after errors, doubled with each in a row.
	firstMovePause = 100 * time.Millisecond
	maxMovePause   = time.Minute
	// parked is what step returns when the move waits to be made ready.
	parked = time.Duration(-1)
)

// step does one turn of a move and returns how long to wait before the next, or parked.
func (x *move) step(v *mover) time.Duration {
	wait, err := x.turn(v)
	switch {
	case err == nil:
		x.errors = 0
		return wait
	case v.stage(x) == moveOver || x.p.Log() != x.source:
		return parked
	}
	x.errors++
	if x.errors == 1 {
		v.m.logger.Warn("moving a replica to another log directory failed, it is tried again", "partition", x.p.tp, "to", x.toPath, "error", err)
	}
	return min(firstMovePause<<min(x.errors-1, 16), maxMovePause)
}

func (x *move) turn(v *mover) (time.Duration, error) {
	if v.stage(x) == moveOver || x.p.Log() != x.source {
		return parked, nil
	}
	if !x.begun {
		if x.source.Compacting() {
			return cleaningPause, nil
		}
		x.begun = true
	}
	if ok, err := x.reconcile(); err != nil || !ok {
		return firstMovePause, err
	}
	if x.future.LogEndOffset() < x.source.LogEndOffset() {
		if wait := v.m.throttles.moves.excess(); wait > 0 {
			return wait, nil
		}
		n, err := x.copy(v.m.nowMs(), moveChunk)
		v.m.throttles.moves.record(n)
		return 0, err
	}
	if err := x.catchUpOffsets(); err != nil {
		return 0, err
	}
	switch v.stage(x) {
	case moveCopying:
		if v.asked(x) && !v.m.assign(x.p, x.to, func(taken bool) { v.accepted(x, taken) }) {
			v.accepted(x, true) // there is nobody to tell
		}
		return parked, nil
	case moveAccepted:
		return x.finish(v)
	default:
		return parked, nil
	}
}

// reconcile makes the future log a prefix of the source, as a follower does with its
// leader's: it cuts what the source does not have, by leader epochs (KIP-101, KIP-279). It
// does nothing while the source was not cut since the last time and still has what comes
// next, and returns false while a cut is under way.
func (x *move) reconcile() (bool, error) {
	gen := x.source.Generation()
	if gen%2 == 1 {
		return false, nil
	}
	if x.known && gen == x.gen && x.future.LogEndOffset() >= x.source.LogStartOffset() {
		return true, nil
	}
	src, fut := x.source, x.future
	if err := src.Load(); err != nil {
		return false, err
	}
	if err := fut.Load(); err != nil {
		return false, err
	}
	for {
		end, last := fut.LogEndOffset(), fut.LatestEpoch()
		to := min(end, src.LogEndOffset())
		if end > fut.LogStartOffset() {
			to = min(to, commonEnd(src, fut, last))
		}
		if start := src.LogStartOffset(); to < start || to < fut.LogStartOffset() {
			if err := fut.TruncateFullyAndStartAt(start); err != nil {
				return false, err
			}
		} else if _, err := fut.TruncateTo(to); err != nil {
			return false, err
		}
		if fut.LogEndOffset() == end && fut.LatestEpoch() == last {
			break
		}
	}
	x.known, x.gen = true, gen
	return src.Generation() == gen, nil
}

// commonEnd is an offset up to which both logs may agree, given the future log's last
// epoch; asked again after a truncation to it, it ends at one up to which they do.
func commonEnd(src, fut *log.Log, last kafka.LeaderEpoch) int64 {
	if last == kafka.NoEpoch {
		// Records of before leader epochs: what is committed is never cut.
		return src.HighWatermark()
	}
	epoch, end := src.EndOffsetForEpoch(last)
	if end == log.NoOffset {
		return src.LogStartOffset()
	}
	ours, oursEnd := fut.EndOffsetForEpoch(epoch)
	switch {
	case oursEnd == log.NoOffset:
		return end
	case ours == epoch:
		return min(end, oursEnd)
	default:
		return oursEnd
	}
}

// copy appends to the future log what comes next in the source, about size bytes. What was
// read is dropped if the source was cut meanwhile: it may not be there any more.
func (x *move) copy(nowMs int64, size int) (int, error) {
	src, fut := x.source, x.future
	d, err := src.Read(fut.LogEndOffset(), size, src.LogEndOffset(), true)
	if err != nil {
		return 0, err
	}
	x.buf, err = src.AppendData(x.buf[:0], &d)
	d.Release()
	if err != nil {
		return 0, err
	}
	infos, err := batch.Infos(x.buf)
	if err != nil {
		return 0, err
	}
	if src.Generation() != x.gen || len(infos) == 0 {
		return 0, nil
	}
	n := infos[len(infos)-1].End()
	if err := appendFetched(fut, x.buf[:n], infos, nowMs); err != nil {
		return 0, err
	}
	if cap(x.buf) > 2*moveChunk {
		x.buf = nil
	}
	return n, x.catchUpOffsets()
}

// catchUpOffsets gives the future log the source's high watermark and log start, as far as
// it has the records.
func (x *move) catchUpOffsets() error {
	hw := x.future.UpdateHighWatermark(x.source.HighWatermark())
	if start := min(x.source.LogStartOffset(), hw); start > x.future.LogStartOffset() {
		_, err := x.future.AdvanceStart(start)
		return err
	}
	return nil
}

// finish swaps the logs if the copy has caught up.
func (x *move) finish(v *mover) (time.Duration, error) {
	// Most of it is synced before appends have to wait.
	if err := x.future.Flush(); err != nil {
		return 0, err
	}
	var w wakes
	wait, err := x.swap(v, &w)
	w.run()
	return wait, err
}

// swap copies the rest and puts the future log in the place of the source. Nobody appends
// meanwhile.
func (x *move) swap(v *mover, w *wakes) (time.Duration, error) {
	p := x.p
	p.mu.Lock()
	defer p.mu.Unlock()
	view := p.view.Load()
	if v.stage(x) != moveAccepted || view.log != x.source {
		return parked, nil
	}
	limit := maxSwapBytes << min(x.swaps, maxSwapDoubled)
	x.swaps++
	for copied := 0; x.future.LogEndOffset() < x.source.LogEndOffset(); {
		if ok, err := x.reconcile(); err != nil || !ok {
			return firstMovePause, err
		}
		n, err := x.copy(v.m.nowMs(), maxSwapBytes)
		v.m.throttles.moves.record(n)
		if copied += n; err != nil || n == 0 || copied > limit {
			return 0, err
		}
	}
	if x.source.Generation() != x.gen {
		return 0, nil
	}
	l, err := v.m.logs.SwapFuture(p.tp)
	if err != nil {
		return 0, err
	}
	next := *view
	next.log = l
	p.view.Store(&next)
	v.mu.Lock()
	v.over(x)
	v.mu.Unlock()
	p.wakeAllFetches(w)
	v.m.logger.Info("a replica has moved to another log directory", "partition", p.tp, "from", x.source.Folder(), "to", l.Folder(), "logEndOffset", l.LogEndOffset())
	return parked, nil
}

// settled returns the view if the log of v was replaced by its copy in another directory
// since v was loaded, nil otherwise. It waits for a swap that is under way.
func (p *Partition) settled(v *view) *view {
	if v.log == nil || !v.log.Moved() {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := p.view.Load(); now.log != nil && now.log != v.log {
		return now
	}
	return nil
}

// SettledLog is Log for who found that a log had moved to another directory: it waits
// until the one that takes its place is there.
func (p *Partition) SettledLog() *log.Log {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.view.Load().log
}
