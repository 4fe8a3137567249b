package producer

import "sort"

// AbortedTxn is an entry of a segment's .txnindex file: a transaction of which
// readers of committed data skip the records.
type AbortedTxn struct {
	ProducerID  int64
	FirstOffset int64
	// LastOffset is that of the marker.
	LastOffset int64
	// LastStableOffset is that of the partition once the transaction was
	// complete.
	LastStableOffset int64
}

// CompletedTxn is a transaction that a marker ends.
type CompletedTxn struct {
	ProducerID  int64
	FirstOffset int64
	LastOffset  int64
	Aborted     bool
}

// txn is a transaction by its place in the log.
type txn struct {
	first, last int64 // last is none while it is open
	producerID  int64
}

// txns are ordered by first offset, of which there are no two alike.
type txns []txn

func (t txns) first() (int64, bool) {
	if len(t) == 0 {
		return 0, false
	}
	return t[0].first, true
}

// search is where first is or would be.
func (t txns) search(first int64) int {
	// A new transaction is nearly always the last.
	if n := len(t); n == 0 || t[n-1].first < first {
		return n
	}
	return sort.Search(len(t), func(k int) bool { return t[k].first >= first })
}

func (t *txns) put(x txn) {
	k := t.search(x.first)
	if k < len(*t) && (*t)[k].first == x.first {
		(*t)[k] = x
		return
	}
	*t = append(*t, txn{})
	copy((*t)[k+1:], (*t)[k:])
	(*t)[k] = x
}

func (t *txns) remove(first int64) bool {
	k := t.search(first)
	if k == len(*t) || (*t)[k].first != first {
		return false
	}
	*t = append((*t)[:k], (*t)[k+1:]...)
	return true
}

// removeBelow removes the completed ones that ended before offset.
func (t *txns) removeBelow(offset int64) {
	if len(*t) == 0 {
		return
	}
	kept := (*t)[:0]
	for _, x := range *t {
		if x.last == none || x.last >= offset {
			kept = append(kept, x)
		}
	}
	*t = kept
}

// lastStable is the partition's last stable offset when c is complete, the high
// watermark aside.
func (t txns) lastStable(c *CompletedTxn) int64 {
	for k := range t {
		if t[k].producerID != c.ProducerID {
			return min(t[k].first, c.LastOffset+1)
		}
	}
	return c.LastOffset + 1
}
