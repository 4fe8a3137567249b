package quorum

import "sync"

// Queue is where a Listener keeps what it was told until its own goroutine takes it. Put
// never waits: the engine's goroutine, which calls it, sends heartbeats and answers votes,
// and a listener that works on a large step for longer than an election timeout would cost
// the leader its office; the next one has the same step before it.
//
// So it has no limit of its own, unlike every other queue here, and like the event queue
// of Apache Kafka's MetadataLoader. What waits was committed by a quorum, at the rate of
// its syncs and, but for what controllers do by themselves, on request of clients who wait
// for the answer; a node that comes back has to be given what was written since the newest
// snapshot, about metadata.log.max.record.bytes.between.snapshots. Who uses it for more
// than what the engine tells bounds the rest itself.
//
// Any goroutine may call Put, Len and Close; Next belongs to the one that takes.
type Queue[T any] struct {
	ready chan struct{} // holds a token while something waits

	mu     sync.Mutex
	items  []T  // guarded by mu
	closed bool // guarded by mu
}

// NewQueue returns an empty queue.
func NewQueue[T any]() *Queue[T] { return &Queue[T]{ready: make(chan struct{}, 1)} }

// Put adds v behind everything that waits. It is false when the queue is closed: then
// nobody takes v any more.
func (q *Queue[T]) Put(v T) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.items = append(q.items, v)
	q.signal()
	return true
}

// Ready has a token when there may be something for Next.
func (q *Queue[T]) Ready() <-chan struct{} { return q.ready }

// Next takes what has waited longest. It is false when nothing waits.
func (q *Queue[T]) Next() (v T, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) == 0 {
		return v, false
	}
	var none T
	v, q.items[0] = q.items[0], none
	if q.items = q.items[1:]; len(q.items) == 0 {
		q.items = nil // a long backlog leaves no memory behind
	} else {
		q.signal()
	}
	return v, true
}

// Len is how much waits.
func (q *Queue[T]) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items)
}

// Close makes Put refuse from now on, and drops what waits.
func (q *Queue[T]) Close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed, q.items = true, nil
}

// signal sees to it that there is a token. The caller holds mu.
func (q *Queue[T]) signal() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}
