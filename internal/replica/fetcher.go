package replica

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/fetchsession"
	"github.com/gregorhq/gregor/internal/kafka"
)

// firstDelay is how long a partition waits after its first error; it doubles up to
// replica.fetch.backoff.ms. Most errors are metadata that is still on its way.
const firstDelay = 10 * time.Millisecond

// partKey names a partition in fetches.
type partKey struct {
	id    kafka.TopicID
	index int32
}

// following is one partition of a fetcher, which owns it.
type following struct {
	p     *Partition
	key   partKey
	epoch kafka.LeaderEpoch
	// sent is what the session knows, while inSession.
	sent      position
	inSession bool
	dirty     bool      // is on fetcher.dirty
	gone      bool      // is not followed any more
	dueAt     time.Time // delayed until then; zero when it is not
	errors    uint      // in a row
}

// fetcher replicates from one leader the partitions that fall to it. One goroutine owns
// everything but the inbox, which mu guards.
type fetcher struct {
	m      *Manager
	leader int32
	// express makes the short-lived second fetcher: no session, short waits.
	express bool
	ctx     context.Context // ends with stop
	cancel  context.CancelFunc
	wake    chan struct{} // holds one token: the inbox has news

	mu      sync.Mutex
	inbox   []inboxEntry
	waiting bool     // a fetch is under way
	second  *fetcher // takes what comes meanwhile

	parts   map[partKey]*following
	order   []*following // parts in the order of arrival
	dirty   []*following // to be looked at for the next request
	delayed []*following
	forget  []partKey
	inSess  int // partitions in the session
	session fetchsession.Client
	peer    Peer
	errors  uint // failed fetches in a row
	req     kmsg.FetchRequest
	infos   []batch.Info
	ranged  []*following // out of the leader's range
	wakes   wakes
	timer   clock.Timer
}

// inboxEntry tells a fetcher to follow p in an epoch, or to leave it.
type inboxEntry struct {
	p     *Partition
	key   partKey
	epoch kafka.LeaderEpoch
	leave bool
}

func newFetcher(m *Manager, leader int32, express bool) *fetcher {
	f := &fetcher{m: m, leader: leader, express: express, wake: make(chan struct{}, 1), parts: map[partKey]*following{}}
	f.ctx, f.cancel = context.WithCancel(m.ctx)
	return f
}

// tell puts news into the inbox. What is to be followed while a fetch is parked at the
// leader goes to the second fetcher as well, so that it does not wait for its end.
func (f *fetcher) tell(e inboxEntry) {
	f.mu.Lock()
	f.inbox = append(f.inbox, e)
	second := f.second
	if f.waiting && !e.leave && !f.express && second == nil && !f.m.manual {
		second = newFetcher(f.m, f.leader, true)
		if f.m.start(second.run) {
			f.second = second
		} else {
			second = nil
		}
	}
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
	if second != nil {
		second.tell(e)
	}
}

// stop ends the fetcher; its goroutine closes the peer.
func (f *fetcher) stop() { f.cancel() }

// run is the fetcher's goroutine.
func (f *fetcher) run() {
	defer f.end()
	for f.ctx.Err() == nil {
		wait := f.fetch()
		if wait != 0 {
			f.sleep(wait)
		}
	}
}

// fetch does one round and says how long to wait before the next, negative for until
// there is news.
func (f *fetcher) fetch() time.Duration {
	ok, wait := f.prepare()
	if !ok {
		return wait
	}
	resp, err := f.ask(&f.req)
	return f.finish(resp, err)
}

// ask sends a request to the leader.
func (f *fetcher) ask(req kmsg.Request) (kmsg.Response, error) {
	if f.peer == nil {
		f.peer = f.m.cluster.Peers(kafka.NodeID(f.leader))
	}
	return f.peer.Do(f.ctx, req)
}

func (f *fetcher) end() {
	f.cancel()
	f.mu.Lock()
	second := f.second
	f.second = nil
	f.mu.Unlock()
	if second != nil {
		second.stop()
	}
	f.disconnect()
	if f.timer != nil {
		f.timer.Stop()
	}
}

func (f *fetcher) disconnect() {
	if f.peer == nil {
		return
	}
	if err := f.peer.Close(); err != nil {
		f.m.logger.Debug("closing the connection to a leader", "leader", f.leader, "error", err)
	}
	f.peer = nil
}

// sleep waits for news, for at most d unless that is negative.
func (f *fetcher) sleep(d time.Duration) {
	var expired <-chan time.Time
	if d >= 0 {
		if f.timer == nil {
			f.timer = f.m.clock.NewTimer(d)
		} else {
			f.timer.Reset(d)
		}
		expired = f.timer.C()
	}
	select {
	case <-f.wake:
	case <-expired:
	case <-f.ctx.Done():
	}
}

// takeInbox applies the news. It ends the second fetcher: what that has taken over
// meanwhile is in the inbox too.
func (f *fetcher) takeInbox() {
	f.mu.Lock()
	inbox, second := f.inbox, f.second
	f.inbox, f.second, f.waiting = nil, nil, true
	f.mu.Unlock()
	if second != nil {
		second.stop()
	}
	for _, e := range inbox {
		o := f.parts[e.key]
		switch {
		case e.leave:
			if o != nil && o.p == e.p {
				f.leave(o)
			}
			continue
		case o != nil && o.p != e.p:
			f.leave(o)
			o = nil
		}
		if o == nil {
			o = &following{p: e.p, key: e.key}
			f.parts[e.key] = o
			f.order = append(f.order, o)
		}
		o.epoch, o.errors, o.dueAt = e.epoch, 0, time.Time{}
		f.touch(o)
		f.errors = 0
	}
	if len(f.order) > 2*len(f.parts)+64 {
		f.order = slices.DeleteFunc(f.order, func(o *following) bool { return o.gone })
	}
}

// leave takes a partition off the fetcher.
func (f *fetcher) leave(o *following) {
	o.gone = true
	f.forgetPart(o)
	delete(f.parts, o.key)
}

// forgetPart takes a partition out of the session.
func (f *fetcher) forgetPart(o *following) {
	if o.inSession {
		o.inSession = false
		f.inSess--
		f.forget = append(f.forget, o.key)
	}
}

// touch has the partition looked at for the next request.
func (f *fetcher) touch(o *following) {
	if !o.dirty {
		o.dirty = true
		f.dirty = append(f.dirty, o)
	}
}

// delay leaves a partition out of fetches for a while, longer with each error.
func (f *fetcher) delay(o *following) {
	limit := time.Duration(f.m.settings.Load().backoffMs) * time.Millisecond
	f.delayFor(o, min(firstDelay<<min(o.errors, 16), max(limit, firstDelay)))
	o.errors++
}

func (f *fetcher) delayFor(o *following, d time.Duration) {
	if o.gone {
		return
	}
	if o.dueAt.IsZero() {
		f.delayed = append(f.delayed, o)
	}
	o.dueAt = f.m.clock.Now().Add(d)
	f.forgetPart(o)
}

// wakeDelayed lets the partitions take part again whose delay is over. It returns when
// the next one is due, zero for none.
func (f *fetcher) wakeDelayed(now time.Time) (next time.Time) {
	keep := f.delayed[:0]
	for _, o := range f.delayed {
		switch {
		case o.gone || o.dueAt.IsZero():
			o.dueAt = time.Time{}
		case !now.Before(o.dueAt):
			o.dueAt = time.Time{}
			f.touch(o)
		default:
			keep = append(keep, o)
			if next.IsZero() || o.dueAt.Before(next) {
				next = o.dueAt
			}
		}
	}
	clear(f.delayed[len(keep):])
	f.delayed = keep
	return next
}
