package server

import (
	"sync/atomic"
	"time"

	"github.com/gregorhq/gregor/internal/metrics"
	"github.com/gregorhq/gregor/internal/wire"
)

// Metrics counts what a Server did. Every field only grows, except those that say how
// many there are now.
type Metrics struct {
	ConnectionsAccepted atomic.Int64
	ConnectionsClosed   atomic.Int64
	ConnectionsActive   atomic.Int64 // now
	// ConnectionsRejected were over the limit of their IP address.
	ConnectionsRejected atomic.Int64
	// ConnectionsExpired were closed for being idle (ExpiredConnectionsKilledCount),
	// ConnectionsEvicted to make room for the inter-broker listener or for memory.
	ConnectionsExpired atomic.Int64
	ConnectionsEvicted atomic.Int64
	AcceptErrors       atomic.Int64
	// AcceptBlockedNanos is the time that acceptors waited for a slot or a rate.
	AcceptBlockedNanos atomic.Int64

	BytesIn, BytesOut atomic.Int64
	// InvalidRequests were malformed or of a version that is not served; each closed
	// its connection.
	InvalidRequests atomic.Int64
	HandlerPanics   atomic.Int64
	// RequestsInFlight are read and not answered yet, now. ResponseBytesQueued are
	// completed and not written yet, now.
	RequestsInFlight    atomic.Int64
	ResponseBytesQueued atomic.Int64
	// MemoryWaits counts how often a reader waited for the memory budget.
	MemoryWaits atomic.Int64
	// MemoryWaiting is how many readers wait for the memory budget, now.
	MemoryWaiting atomic.Int64
	// Throttles counts how often a connection was muted.
	Throttles atomic.Int64

	apis    [wire.NumKeys]APIMetrics
	private APIMetrics
}

// APIMetrics counts the requests of one API key.
type APIMetrics struct {
	Requests      atomic.Int64
	RequestBytes  atomic.Int64
	ResponseBytes atomic.Int64

	// times and errors are made with the first answer.
	times  atomic.Pointer[Times]
	errors atomic.Pointer[errorCounts]

	// sizeHint is the length of the last response, which the next one's buffer is
	// chosen by.
	sizeHint atomic.Int32
	_        [16]byte // APIs do not share a cache line
}

// Times are where the time of answered requests went, in nanoseconds. All but Total
// leave out what is in their first bucket, so they are read with ReadOf.
type Times struct {
	// RequestQueue is from the bytes being read to the handler, Local in the handler until
	// it returns or waits, Remote from there to the completion, ResponseQueue until the response is written,
	// ResponseSend in writing it, with those that were written together.
	RequestQueue, Local, Remote, ResponseQueue, ResponseSend *metrics.Histogram
	// Total is all of it.
	Total *metrics.Histogram
	// Sizes are the bytes of the requests.
	Sizes *metrics.Histogram
}

// Times returns the times of a key's requests, nil before the first answer.
func (a *APIMetrics) Times() *Times { return a.times.Load() }

func (a *APIMetrics) ensureTimes() *Times {
	if t := a.times.Load(); t != nil {
		return t
	}
	h := func() *metrics.Histogram { return metrics.NewHistogram(metrics.Nanoseconds) }
	a.times.CompareAndSwap(nil, &Times{h(), h(), h(), h(), h(), h(), metrics.NewHistogram(metrics.Ones)})
	return a.times.Load()
}

// Error codes are counted from noCode on; what is beyond the table counts as unknown,
// -1.
const (
	noCode   = -1
	numCodes = 160
)

type errorCounts [numCodes]atomic.Int64

// CountErrors notes that n parts of an answer have an error code, 0 for none.
func (a *APIMetrics) CountErrors(code int16, n int) {
	if n == 0 {
		return
	}
	e := a.errors.Load()
	if e == nil {
		a.errors.CompareAndSwap(nil, new(errorCounts))
		e = a.errors.Load()
	}
	i := int(code) - noCode
	if i < 0 || i >= numCodes {
		i = 0
	}
	e[i].Add(int64(n))
}

// Errors calls f for each error code that was answered, 0 for none, with how often.
func (a *APIMetrics) Errors(f func(code int16, n int64)) {
	e := a.errors.Load()
	if e == nil {
		return
	}
	for i := range e {
		if n := e[i].Load(); n > 0 {
			f(int16(i+noCode), n)
		}
	}
}

// ListenerMetrics counts the connections of one listener; each field only grows.
type ListenerMetrics struct {
	Created, Closed, Expired atomic.Int64
	// BlockedNanos is the time that the acceptor waited for a slot or a rate.
	BlockedNanos atomic.Int64
}

// Metrics are the listener's counters.
func (l *Listener) Metrics() *ListenerMetrics { return &l.metrics }

// QueuedResponses is how many answers are complete and not written yet.
func (s *Server) QueuedResponses() (n int) {
	for _, c := range s.snapshot() {
		c.mu.Lock()
		for r := c.head; r != nil; r = r.next {
			if r.done {
				n++
			}
		}
		c.mu.Unlock()
	}
	return n
}

// API returns the counters of a key; all private keys share one.
func (m *Metrics) API(key int16) *APIMetrics {
	if key >= 0 && int(key) < len(m.apis) {
		return &m.apis[key]
	}
	return &m.private
}

// CountErrors notes that n parts of the answer have an error code, 0 for none, for
// handlers that encode their answers by themselves. It must be called before the
// request is completed.
func (r *Request) CountErrors(code int16, n int) { r.api.CountErrors(code, n) }

// spans gathers where the time of a batch of answers went.
type spans struct{ queue, local, remote, respQueue, send, total, size metrics.Run }

// answered notes where the time of a request went whose answer was written between
// begin and end.
func (s *spans) answered(r *Request, begin, end time.Time) {
	t := r.api.ensureTimes()
	sent := int64(begin.Sub(r.ReceivedAt))
	handled := r.handledNs.Load()
	if handled == 0 {
		handled = sent // the handler is still at work
	}
	done := max(r.doneNs, handled)
	s.queue.ObserveAbove(t.RequestQueue, r.startedNs)
	s.local.ObserveAbove(t.Local, handled-r.startedNs)
	s.remote.ObserveAbove(t.Remote, done-handled)
	s.respQueue.ObserveAbove(t.ResponseQueue, sent-done)
	s.send.ObserveAbove(t.ResponseSend, int64(end.Sub(begin)))
	s.total.Observe(t.Total, int64(end.Sub(r.ReceivedAt)))
	s.size.Observe(t.Sizes, int64(r.inSize))
}

func (s *spans) flush() {
	for _, r := range [...]*metrics.Run{&s.queue, &s.local, &s.remote, &s.respQueue, &s.send, &s.total, &s.size} {
		r.Flush()
	}
}
