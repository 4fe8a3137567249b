package bufpool

import (
	"context"
	"sync"

	"github.com/gregorhq/gregor/internal/invariant"
)

// Budget bounds the bytes that are in use at a time. Requests are granted strictly in the order they came, so a large
// one is not starved by small ones behind it. A request larger than the whole budget is granted when nothing else is in
// use. mu guards every field.
type Budget struct {
	max int64

	mu          sync.Mutex
	used        int64
	first, last *budgetWaiter
	free        *budgetWaiter // reused waiters, at most maxFreeWaiters
	numFree     int
}

// maxFreeWaiters bounds how many waiters a Budget keeps for reuse.
const maxFreeWaiters = 64

// budgetWaiter is one blocked Acquire, in a doubly linked queue.
type budgetWaiter struct {
	n          int64
	granted    chan struct{} // capacity one, one send a grant
	prev, next *budgetWaiter
}

// NewBudget returns a budget of max bytes; zero or less means no bound.
func NewBudget(max int64) *Budget { return &Budget{max: max} }

// Max returns the bound; zero or less means none.
func (b *Budget) Max() int64 { return b.max }

// InUse returns the bytes in use. It is above the bound only while one request larger than the bound is alone in use, and
// by what Take took.
func (b *Budget) InUse() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}

// Waiting tells whether somebody is blocked in Acquire.
func (b *Budget) Waiting() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.first != nil
}

// fits tells whether n more bytes may be used now. Caller holds mu.
func (b *Budget) fits(n int64) bool {
	return b.max <= 0 || b.used == 0 || n <= b.max-b.used
}

// TryAcquire takes n bytes if they are free and nobody waits.
func (b *Budget) TryAcquire(n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.first != nil || !b.fits(n) {
		return false
	}
	b.used += n
	return true
}

// Take takes n bytes at once, whether they are free or not. It is for those who must not wait for others.
func (b *Budget) Take(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used += n
}

// Acquire takes n bytes, waiting for its turn. It returns ctx's error, having taken nothing, if ctx ends first.
func (b *Budget) Acquire(ctx context.Context, n int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b.mu.Lock()
	if b.first == nil && b.fits(n) {
		b.used += n
		b.mu.Unlock()
		return nil
	}
	w := b.enqueue(n)
	b.mu.Unlock()

	select {
	case <-w.granted:
		b.mu.Lock()
		b.recycle(w)
		b.mu.Unlock()
		return nil
	case <-ctx.Done():
		b.abandon(w)
		return ctx.Err()
	}
}

// abandon takes back a request whose context ended: out of the queue, or, if the grant came meanwhile, the bytes.
func (b *Budget) abandon(w *budgetWaiter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-w.granted:
		b.used -= w.n
	default:
		b.unlink(w)
	}
	b.recycle(w)
	b.grant()
}

// Release gives n acquired bytes back.
func (b *Budget) Release(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= n
	invariant.Check(b.used >= 0, "budget released %d bytes too many", -b.used)
	b.grant()
}

// grant serves the head of the queue as long as it fits. Caller holds mu.
func (b *Budget) grant() {
	for w := b.first; w != nil && b.fits(w.n); w = b.first {
		b.used += w.n
		b.unlink(w)
		w.granted <- struct{}{}
	}
}

// enqueue appends a waiter. Caller holds mu.
func (b *Budget) enqueue(n int64) *budgetWaiter {
	w := b.free
	if w != nil {
		b.free = w.next
		b.numFree--
	} else {
		w = &budgetWaiter{granted: make(chan struct{}, 1)}
	}
	w.n, w.prev, w.next = n, b.last, nil
	if b.last != nil {
		b.last.next = w
	} else {
		b.first = w
	}
	b.last = w
	return w
}

// unlink takes w out of the queue. Caller holds mu.
func (b *Budget) unlink(w *budgetWaiter) {
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		b.first = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		b.last = w.prev
	}
	w.prev, w.next = nil, nil
}

// recycle keeps w for a later Acquire. Its channel is empty. Caller holds mu.
func (b *Budget) recycle(w *budgetWaiter) {
	if b.numFree >= maxFreeWaiters {
		return
	}
	w.next = b.free
	b.free = w
	b.numFree++
}
