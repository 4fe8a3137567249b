package bufpool

import (
	"context"
	"errors"
	"math/rand"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// request is an Acquire on a goroutine of its own.
type request struct {
	done   chan error
	cancel context.CancelFunc
}

// start begins an Acquire that has to wait, and returns when it stands in the queue.
func start(b *Budget, n int64) request {
	ctx, cancel := context.WithCancel(context.Background())
	r := request{done: make(chan error, 1), cancel: cancel}
	before := queued(b)
	go func() { r.done <- b.Acquire(ctx, n) }()
	for queued(b) == before {
		runtime.Gosched()
	}
	return r
}

func queued(b *Budget) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for w := b.first; w != nil; w = w.next {
		n++
	}
	return n
}

func acquire(t *testing.T, b *Budget, n int64) {
	t.Helper()
	if !b.TryAcquire(n) {
		t.Fatalf("%d bytes were refused with %d of %d in use", n, b.InUse(), b.Max())
	}
}

func (r request) wait(t *testing.T) {
	t.Helper()
	if err := <-r.done; err != nil {
		t.Fatal(err)
	}
}

func TestBudgetIsFair(t *testing.T) {
	b := NewBudget(100)
	acquire(t, b, 60)
	large := start(b, 80)
	small := start(b, 10)
	if b.TryAcquire(1) {
		t.Fatal("TryAcquire overtook the queue")
	}
	if queued(b) != 2 || !b.Waiting() {
		t.Fatal("a small request overtook a large one")
	}
	b.Release(60)
	large.wait(t)
	small.wait(t)
	if b.InUse() != 90 || b.Waiting() {
		t.Fatalf("%d in use", b.InUse())
	}
}

func TestBudgetLargerThanMax(t *testing.T) {
	b := NewBudget(100)
	acquire(t, b, 1)
	huge := start(b, 1000)
	next := start(b, 1)
	b.Release(1)
	huge.wait(t)
	if b.InUse() != 1000 || queued(b) != 1 {
		t.Fatalf("%d in use, %d wait: a request larger than the budget must be alone", b.InUse(), queued(b))
	}
	b.Release(1000)
	next.wait(t)
	if b.InUse() != 1 {
		t.Fatalf("%d in use", b.InUse())
	}
}

func TestBudgetCancel(t *testing.T) {
	b := NewBudget(100)
	acquire(t, b, 60)
	large := start(b, 80)
	small := start(b, 10)
	large.cancel()
	if err := <-large.done; !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	small.wait(t)
	if b.InUse() != 70 {
		t.Fatalf("%d in use", b.InUse())
	}
	dead, cancel := context.WithCancel(context.Background())
	cancel()
	if err := b.Acquire(dead, 1); !errors.Is(err, context.Canceled) || b.InUse() != 70 {
		t.Fatalf("under a dead context: %v, %d in use", err, b.InUse())
	}
}

// TestBudgetCancelAfterGrant ends a context between the grant and the moment the waiter sees it.
func TestBudgetCancelAfterGrant(t *testing.T) {
	b := NewBudget(100)
	acquire(t, b, 60)
	b.mu.Lock()
	w := b.enqueue(80)
	b.mu.Unlock()
	next := start(b, 50)
	b.Release(60)
	if b.InUse() != 80 {
		t.Fatalf("%d in use after the grant", b.InUse())
	}
	b.abandon(w)
	next.wait(t)
	if b.InUse() != 50 {
		t.Fatalf("%d in use", b.InUse())
	}
}

func TestBudgetWithoutBound(t *testing.T) {
	b := NewBudget(0)
	acquire(t, b, 1<<40)
	acquire(t, b, 1<<40)
}

// TestBudgetUnderLoad checks the bound and that nothing is lost, with requests that are cancelled at any moment.
func TestBudgetUnderLoad(t *testing.T) {
	const limit = 1000
	b := NewBudget(limit)
	var used atomic.Int64
	var done sync.WaitGroup
	for g := range 8 {
		done.Go(func() {
			rng := rand.New(rand.NewSource(int64(g)))
			for range 500 {
				n := int64(rng.Intn(limit) + 1)
				ctx, cancel := context.WithCancel(context.Background())
				if rng.Intn(2) == 0 {
					go cancel()
				}
				if b.Acquire(ctx, n) == nil {
					if now := used.Add(n); now > limit {
						t.Errorf("%d bytes in use", now)
					}
					used.Add(-n)
					b.Release(n)
				}
				cancel()
			}
		})
	}
	done.Wait()
	if b.InUse() != 0 || b.Waiting() {
		t.Fatalf("%d bytes are left in use", b.InUse())
	}
	if b.numFree > maxFreeWaiters {
		t.Fatalf("%d waiters are kept", b.numFree)
	}
}

func BenchmarkBudget(b *testing.B) {
	budget := NewBudget(1 << 20)
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		budget.Acquire(ctx, 1000)
		budget.Release(1000)
	}
}
