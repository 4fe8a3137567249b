package cleaner

import (
	"slices"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/log"
)

// txnState follows transactions through batches that are read in order, and tells
// what may go: the records of aborted transactions, and markers of transactions
// without a batch left.
type txnState struct {
	queue     []log.AbortedTxn // not begun yet, by first offset
	aborted   map[int64]*abortedTxn
	committed map[int64]bool // producers of which a batch was seen that is not aborted
	// keep is told of an aborted transaction whose marker must stay in the
	// transaction index.
	keep func(log.AbortedTxn)
}

// abortedTxn is an aborted transaction that has begun. seen says that one of its
// batches was read.
type abortedTxn struct {
	log.AbortedTxn
	seen bool
}

func newTxnState(list []log.AbortedTxn) *txnState {
	q := slices.Clone(list)
	slices.SortFunc(q, func(a, b log.AbortedTxn) int {
		switch {
		case a.FirstOffset < b.FirstOffset:
			return -1
		case a.FirstOffset > b.FirstOffset:
			return 1
		}
		return 0
	})
	return &txnState{queue: q, aborted: map[int64]*abortedTxn{}, committed: map[int64]bool{}, keep: func(log.AbortedTxn) {}}
}

// begin takes up the aborted transactions that begin at or before offset.
func (t *txnState) begin(offset int64) {
	for len(t.queue) > 0 && t.queue[0].FirstOffset <= offset {
		x := t.queue[0]
		t.queue = t.queue[1:]
		if t.aborted[x.ProducerID] == nil {
			t.aborted[x.ProducerID] = &abortedTxn{AbortedTxn: x}
		}
	}
}

// read looks at the next batch and says whether its records may go.
func (t *txnState) read(i *batch.Info) bool {
	t.begin(i.LastOffset)
	if i.IsControl {
		return t.marker(i)
	}
	if !i.IsTransactional {
		return false
	}
	if x := t.aborted[i.ProducerID]; x != nil {
		x.seen = true
		return true
	}
	t.committed[i.ProducerID] = true
	return false
}

// marker says whether the marker may go: if nothing of its transaction was there.
func (t *txnState) marker(i *batch.Info) bool {
	if i.NumRecords == 0 {
		return true // compaction emptied it before
	}
	switch {
	case !i.Control.Valid:
		return false
	case i.Control.Type == batch.ControlAbort:
		x := t.aborted[i.ProducerID]
		delete(t.aborted, i.ProducerID)
		if x != nil && x.seen {
			t.keep(x.AbortedTxn)
			return false
		}
		return true
	case i.Control.Type == batch.ControlCommit:
		seen := t.committed[i.ProducerID]
		delete(t.committed, i.ProducerID)
		return !seen
	}
	return false
}
