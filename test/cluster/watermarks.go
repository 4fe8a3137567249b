package cluster

import (
	"fmt"
	"time"
)

// watermarks keeps the highest of what one observer was told, one request after the
// other: a high watermark or last stable offset never goes back, and no high watermark
// is below a record that was acknowledged before the question.
type watermarks struct {
	hw, lso map[string]int64
	epoch   map[string]int32 // the newest leader epoch that answered
	stale   int              // answers of leaders of the past
	bad     []string
	seen    int
}

func newWatermarks() *watermarks {
	return &watermarks{hw: map[string]int64{}, lso: map[string]int64{}, epoch: map[string]int32{}}
}

// current says whether a leader in this epoch is the newest that has answered so far. One
// of the past that does not know of the next may lag behind it, and is not held against
// it; the next one never lags behind those before.
func (w *watermarks) current(tp string, epoch int32) bool {
	if epoch < w.epoch[tp] {
		w.stale++
		return false
	}
	w.epoch[tp] = epoch
	return true
}

// observe takes one answer for a partition; acked is the first offset behind all that
// was acknowledged when the question was sent. A negative value was not asked for.
func (w *watermarks) observe(tp string, hw, lso, acked int64, at time.Duration) {
	w.seen++
	w.advance(w.hw, "high watermark", tp, hw, at)
	w.advance(w.lso, "last stable offset", tp, lso, at)
	if hw >= 0 && hw < acked {
		w.bad = append(w.bad, fmt.Sprintf("%s: at %v the high watermark is %d, acknowledged was up to %d", tp, at, hw, acked))
	}
	if hw >= 0 && lso > hw {
		w.bad = append(w.bad, fmt.Sprintf("%s: at %v the last stable offset %d is above the high watermark %d", tp, at, lso, hw))
	}
}

func (w *watermarks) advance(of map[string]int64, what, tp string, v int64, at time.Duration) {
	if v < 0 {
		return
	}
	if before := of[tp]; v < before {
		w.bad = append(w.bad, fmt.Sprintf("%s: at %v the %s is %d, it was %d", tp, at, what, v, before))
		return
	}
	of[tp] = v
}

// outage is a time in which the broker did not run.
type outage struct{ from, to time.Duration }

// openTransactions keeps how long transactions have been open. None may be for longer
// than its timeout, the interval at which the coordinator looks, and the time in which
// the broker was down or had just begun.
type openTransactions struct {
	interval time.Duration // transaction.abort.timed.out.transaction.cleanup.interval.ms
	load     time.Duration // what a start may take until the coordinator does its work
	slack    time.Duration // what a busy machine may add, once
	bad      []string
	first    map[string]time.Duration
	seen     int
	longest  time.Duration // above the timeout, outages not counted
}

// observe is told that the transaction named key has been open since start.
func (o *openTransactions) observe(key string, start, timeout, now time.Duration, outages []outage) {
	o.seen++
	allowed := timeout + o.interval + o.slack
	down := time.Duration(0)
	for _, out := range outages {
		if out.to > start && out.from < now {
			down += min(out.to, now) - max(out.from, start)
			allowed += o.load
		}
	}
	open := now - start - down
	o.longest = max(o.longest, open-timeout)
	if open > allowed {
		o.bad = append(o.bad, fmt.Sprintf("%s: open for %v, of which the broker ran %v; its timeout is %v", key, now-start, open, timeout))
	}
}

// since is for those who are not told when a transaction began: the time at which it
// was first seen.
func (o *openTransactions) since(key string, now time.Duration) time.Duration {
	if o.first == nil {
		o.first = map[string]time.Duration{}
	}
	if _, ok := o.first[key]; !ok {
		o.first[key] = now
	}
	return o.first[key]
}
