package raft

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"time"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/quorum"
	"github.com/gregorhq/gregor/internal/storage"
)

// maxServedBytes bounds one answer, whatever the replica asks for.
const maxServedBytes = 8 << 20

// Fetch answers a replica that follows the log (KIP-595, KIP-630). Unlike Apache Kafka's
// leader it gives committed records only, so that no observer ever has to truncate what
// it got here. Who waits here waits for a leader whose loop turns.
func (e *Engine) Fetch(ctx context.Context, a quorum.FetchArgs) quorum.FetchAnswer {
	for {
		e.mu.Lock()
		changed := e.changed
		e.mu.Unlock()
		ans := e.fetch(a)
		news := ans.Err != nil || len(ans.Records) > 0 || ans.Diverging != nil || ans.Snapshot != nil ||
			a.KnownHighWatermark != math.MaxInt64 && ans.HighWatermark > a.KnownHighWatermark
		if news {
			return ans
		}
		if ended, err := e.park(ctx, changed); ended {
			if err != nil {
				ans.Err = err
			}
			return ans
		}
	}
}

// park waits until there may be news. It says whether the fetch ends without.
func (e *Engine) park(ctx context.Context, changed <-chan struct{}) (ended bool, err error) {
	var limit <-chan time.Time
	if d, ok := e.untilStuck(); ok {
		timer := e.o.Clock.NewTimer(d)
		defer timer.Stop()
		limit = timer.C()
	}
	select {
	case <-changed:
	case <-limit:
	case <-ctx.Done():
		return true, nil
	case <-e.ctx.Done():
		return true, kafka.BrokerNotAvailable.Errorf("this controller is stopping")
	}
	return false, nil
}

// fetch answers with what is there.
func (e *Engine) fetch(a quorum.FetchArgs) quorum.FetchAnswer {
	var ans quorum.FetchAnswer
	ans.Leader, ans.Endpoints = e.LeaderEndpoints()
	ans.HighWatermark, ans.LogStartOffset = -1, -1
	if ans.Err = e.leaderOnly(a.CurrentLeaderEpoch); ans.Err != nil {
		return ans
	}
	committed := e.HighWatermark()
	ans.LogStartOffset = e.startOffset()
	if e.knowsCommitted(committed) {
		ans.HighWatermark = committed
	}
	if ans.Snapshot, ans.Diverging = e.validate(a.FetchOffset, a.LastFetchedEpoch); ans.Snapshot != nil || ans.Diverging != nil {
		return ans
	}
	if a.Replica.ID != kafka.NoNode {
		e.mu.Lock()
		e.replicas.update(a.Replica, a.FetchOffset, e.o.Log.LogEndOffset(), e.o.Clock.Now().UnixMilli())
		e.mu.Unlock()
	}
	if a.FetchOffset >= committed {
		return ans
	}
	limit := min(max(a.MaxBytes, 1), maxServedBytes)
	data, err := readLog(e.o.Log, a.FetchOffset, limit, committed)
	if err != nil {
		ans.Err = err
		return ans
	}
	ans.Records = data
	return ans
}

// knowsCommitted says whether this leader's high watermark is the quorum's. Until a record
// of its own epoch is committed, another node may know a higher one, and no replica may be
// told that it has fallen. The last committed record tells it a moment before leading does,
// which waits for the listeners; by then the record itself may have been served.
func (e *Engine) knowsCommitted(committed kafka.Offset) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.leading == e.leader.Epoch || committed > 0 && e.o.Log.EpochForOffset(committed-1) == e.leader.Epoch
}

// startOffset is where the log begins for replicas.
func (e *Engine) startOffset() kafka.Offset {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.store.base.EndOffset
}

// leaderOnly says why a request for the leader of an epoch is not for this node.
func (e *Engine) leaderOnly(epoch kafka.LeaderEpoch) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case epoch < e.leader.Epoch:
		return kafka.FencedLeaderEpoch.Errorf("the quorum is in epoch %d, not %d any more", e.leader.Epoch, epoch)
	case epoch > e.leader.Epoch:
		return kafka.UnknownLeaderEpoch.Errorf("the quorum is in epoch %d, not yet %d", e.leader.Epoch, epoch)
	case e.leader.Leader != e.o.NodeID:
		return kafka.NotLeaderOrFollower.Errorf("node %d does not lead the metadata quorum", e.o.NodeID)
	case e.stuck():
		return kafka.NotLeaderOrFollower.Errorf("node %d does not know whether it still leads the metadata quorum", e.o.NodeID)
	case e.closed || e.failure != nil:
		return kafka.BrokerNotAvailable.Errorf("this controller is stopping")
	}
	return nil
}

// validate compares a replica's last record with the log. A replica with nothing gets
// the newest snapshot if there is one: that is cheaper than the log.
func (e *Engine) validate(offset kafka.Offset, epoch kafka.LeaderEpoch) (*storage.SnapshotID, *quorum.EpochEnd) {
	e.mu.Lock()
	base, newest, oldest, n := e.store.base, e.latestSnapshot(), e.oldestSnapshot(), len(e.snapshots)
	e.mu.Unlock()
	start := base.EndOffset
	hasSnapshot := n > 0 && newest != storage.BootstrapSnapshotID
	switch {
	case offset == 0 && hasSnapshot:
		return &newest, nil
	case offset == 0 && start == 0:
		return nil, nil
	case hasSnapshot && (offset < start || offset == start && epoch != oldest.Epoch || epoch < oldest.Epoch):
		return &newest, nil
	}
	end := quorum.EpochEnd{Epoch: max(e.o.Log.LatestEpoch(), base.Epoch), EndOffset: e.o.Log.LogEndOffset()}
	if ep, off := e.o.Log.EndOffsetForEpoch(epoch); ep != kafka.NoEpoch {
		end = quorum.EpochEnd{Epoch: ep, EndOffset: off}
		if n > 0 && off == oldest.EndOffset && ep == epoch {
			end = quorum.EpochEnd{Epoch: oldest.Epoch, EndOffset: oldest.EndOffset}
		}
	} else if start > 0 && epoch == base.Epoch {
		// The epoch of the snapshot at which the log begins: it may have gone on behind it.
		end = quorum.EpochEnd{Epoch: epoch, EndOffset: start}
	}
	if end.Epoch != epoch || end.EndOffset < offset {
		return nil, &end
	}
	return nil, nil
}

// FetchSnapshot reads a part of a snapshot for a replica.
func (e *Engine) FetchSnapshot(a quorum.SnapshotArgs) quorum.SnapshotAnswer {
	var ans quorum.SnapshotAnswer
	ans.Leader, ans.Endpoints = e.LeaderEndpoints()
	if ans.Err = e.leaderOnly(a.CurrentLeaderEpoch); ans.Err != nil {
		return ans
	}
	e.mu.Lock()
	have := false
	for _, id := range e.snapshots {
		have = have || id == a.Snapshot
	}
	e.mu.Unlock()
	if !have || a.Snapshot == storage.BootstrapSnapshotID {
		ans.Err = kafka.SnapshotNotFound.Errorf("there is no snapshot %s", a.Snapshot)
		return ans
	}
	ans.Size, ans.Bytes, ans.Err = e.readSnapshot(a)
	return ans
}

func (e *Engine) readSnapshot(a quorum.SnapshotArgs) (size int64, data []byte, err error) {
	f, err := e.o.FS.Open(filepath.Join(e.o.Dir, a.Snapshot.FileName()))
	if err != nil {
		return 0, nil, kafka.SnapshotNotFound.Errorf("snapshot %s: %w", a.Snapshot, err)
	}
	defer func() { _ = f.Close() }() // only read from
	if size, err = f.Size(); err != nil {
		return 0, nil, fmt.Errorf("snapshot %s: %w", a.Snapshot, err)
	}
	if a.Position < 0 || a.Position >= size {
		return 0, nil, kafka.PositionOutOfRange.Errorf("snapshot %s has %d bytes, asked for %d", a.Snapshot, size, a.Position)
	}
	data = make([]byte, min(size-a.Position, int64(min(max(a.MaxBytes, 1), maxServedBytes))))
	if n, err := f.ReadAt(data, a.Position); n < len(data) {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, fmt.Errorf("reading snapshot %s: %w", a.Snapshot, err)
	}
	return size, data, nil
}
