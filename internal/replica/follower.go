package replica

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log"
)

// A follower has no state besides its log: what to ask for is read from it each time,
// and an answer counts only if the log is still where the question was asked.

// position is what a follower asks for.
type position struct {
	offset    int64
	lastEpoch kafka.LeaderEpoch // of the last record, NoEpoch when there is none
	start     int64             // of its log
}

// errNotFollowing says that the question is void: this broker does not follow in that
// epoch any more, or the log has moved since.
var errNotFollowing = errors.New("not following in this epoch")

// followed returns the log if this broker follows in that epoch.
func (v *view) followed(epoch kafka.LeaderEpoch) (*log.Log, error) {
	switch {
	case v.err != nil:
		return nil, v.err
	case v.log == nil || v.leader || v.leaderEpoch != epoch:
		return nil, errNotFollowing
	}
	return v.log, nil
}

// position says what to ask the leader of that epoch for. It is read under the lock under
// which the other fetcher of this partition cuts the log: an end from before that and an
// epoch from after would pass the leader's check, and count for records that are gone.
//
// The question acknowledges what lies before its offset: if the topic asks for a flush of
// that, it comes first.
func (p *Partition) position(epoch kafka.LeaderEpoch) (position, error) {
	l, err := p.view.Load().followed(epoch)
	if err != nil {
		return position{}, err
	}
	// Not under the lock, since the first time takes reads of the disk.
	if err := l.Load(); err != nil {
		return position{}, err
	}
	for {
		pos, l, err := p.positionNow(epoch)
		if err != nil || l == nil {
			return pos, err
		}
		// A sync that fails takes the directory offline, and the partition with it.
		if err := l.FlushTo(pos.offset); err != nil {
			return position{}, err
		}
	}
}

// positionNow is the position as of now. It returns the log too if that has to be flushed
// before the position may be told.
func (p *Partition) positionNow(epoch kafka.LeaderEpoch) (position, *log.Log, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l, err := p.view.Load().followed(epoch)
	if err != nil {
		return position{}, nil, err
	}
	pos := position{offset: l.LogEndOffset(), lastEpoch: l.LatestEpoch(), start: l.LogStartOffset()}
	if l.NeedsFlush() {
		return pos, l, nil
	}
	return pos, nil, nil
}

// replication is what came of one partition of an answer.
type replication struct {
	bytes int
	// stuck says that the answer changed nothing though it asked for a change.
	stuck bool
}

// replicate acts on the leader's answer to a fetch at pos. The batches of the answer
// are checked before the partition is locked; infos is scratch memory.
func (p *Partition) replicate(pos position, epoch kafka.LeaderEpoch, part *kmsg.FetchResponseTopicPartition, infos *[]batch.Info, w *wakes) (r replication, err error) {
	if d := part.DivergingEpoch; d.Epoch >= 0 && d.EndOffset >= 0 {
		return p.reconcile(pos, epoch, d.Epoch, d.EndOffset)
	}
	data := part.RecordBatches
	*infos, err = batch.AppendInfos((*infos)[:0], data)
	if err != nil {
		return r, err
	}
	data, *infos = knownEpochs(data, *infos, epoch)
	p.mu.Lock()
	defer p.mu.Unlock()
	l, err := p.view.Load().followed(epoch)
	if err != nil {
		return r, err
	}
	if l.LogEndOffset() != pos.offset || l.LatestEpoch() != pos.lastEpoch {
		return r, errNotFollowing
	}
	if len(*infos) > 0 {
		if err := appendFetched(l, data, *infos, p.m.nowMs()); err != nil {
			return r, err
		}
		r.bytes = len(data)
	}
	old := l.HighWatermark()
	hw := l.UpdateHighWatermark(part.HighWatermark)
	if start := min(part.LogStartOffset, hw); start > l.LogStartOffset() {
		if _, err := l.AdvanceStart(start); err != nil {
			return r, err
		}
	}
	if hw > old {
		p.wakeFetches(w)
	}
	return r, nil
}

// knownEpochs leaves out what was written after the request's leader epoch: it may
// replace records that the leader of that epoch had sent before (KAFKA-18723).
func knownEpochs(data []byte, infos []batch.Info, epoch kafka.LeaderEpoch) ([]byte, []batch.Info) {
	n := 0
	for n < len(infos) && (infos[n].Magic < batch.MagicV2 || infos[n].LeaderEpoch <= epoch) {
		n++
	}
	infos = infos[:n]
	if n == 0 {
		return nil, infos
	}
	return data[:infos[n-1].End()], infos
}

// appendFetched appends to a follower's log. An empty log that begins inside of a
// batch, as after DeleteRecords, begins anew with the whole batch.
func appendFetched(l *log.Log, data []byte, infos []batch.Info, nowMs int64) error {
	_, err := l.AppendVerbatim(data, infos, nowMs)
	var unexpected *log.UnexpectedOffsetError
	if !errors.As(err, &unexpected) {
		return err
	}
	end := l.LogEndOffset()
	if end != l.LogStartOffset() || unexpected.First >= end || unexpected.Last < end {
		return err
	}
	if err := l.TruncateFullyAndStartAt(unexpected.First); err != nil {
		return err
	}
	_, err = l.AppendVerbatim(data, infos, nowMs)
	return err
}

// reconcile truncates towards the leader's log, in which the largest epoch that is not
// above the follower's last ends at end. It takes as many rounds as it takes to find an
// epoch that both know (KIP-279). The high watermark plays no part (KIP-101).
func (p *Partition) reconcile(pos position, current, epoch kafka.LeaderEpoch, end int64) (replication, error) {
	to, hw, stuck, err := p.truncate(pos, current, epoch, end)
	if err != nil {
		return replication{}, err
	}
	p.m.Stats.Truncations.Add(1)
	p.m.logger.Info("truncated to the leader's log", "partition", p.tp, "leaderEpoch", current, "offset", to, "logEndOffset", pos.offset,
		"highWatermark", hw, "divergingEpoch", epoch, "divergingEnd", end)
	return replication{stuck: stuck}, nil
}

// truncate does one round of reconcile. It returns where it cut, what the high watermark
// was before, and whether nothing has changed.
func (p *Partition) truncate(pos position, current, epoch kafka.LeaderEpoch, end int64) (to, hw int64, stuck bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l, err := p.view.Load().followed(current)
	if err != nil {
		return 0, 0, false, err
	}
	if l.LogEndOffset() != pos.offset || l.LatestEpoch() != pos.lastEpoch {
		return 0, 0, false, errNotFollowing
	}
	hw = l.HighWatermark()
	ours, oursEnd := l.EndOffsetForEpoch(epoch)
	to = end
	switch {
	case oursEnd == log.NoOffset:
		// No epoch of ours is that old: what the leader has is all that is known.
	case ours == epoch:
		to = min(end, oursEnd)
	default:
		to = oursEnd
	}
	to = min(to, pos.offset)
	if _, err := l.TruncateTo(to); err != nil {
		return 0, 0, false, err
	}
	return to, hw, l.LogEndOffset() == pos.offset && l.LatestEpoch() == pos.lastEpoch, nil
}

// beginAgain brings a follower back whose offset the leader's log does not hold. start
// and end are the leader's.
func (p *Partition) beginAgain(pos position, current kafka.LeaderEpoch, start, end int64) error {
	p.m.logger.Warn("the leader's log does not hold the offset of its follower", "partition", p.tp, "leaderEpoch", current,
		"logEndOffset", pos.offset, "leaderLogStartOffset", start, "leaderLogEndOffset", end)
	p.mu.Lock()
	defer p.mu.Unlock()
	l, err := p.view.Load().followed(current)
	if err != nil {
		return err
	}
	switch ours := l.LogEndOffset(); {
	case ours != pos.offset:
		return errNotFollowing
	case end < ours:
		_, err = l.TruncateTo(end)
		return err
	case start > ours:
		return l.TruncateFullyAndStartAt(start)
	}
	return nil
}
