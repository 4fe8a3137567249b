package clock

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// Virtual is a clock that moves only by Advance and AdvanceTo. Settable is one whose wall time can be set.
// mu guards every field and every vtimer of this clock; it is never held while a function of AfterFunc runs.
type Virtual struct {
	mu      sync.Mutex
	changed sync.Cond // signalled when a timer becomes pending
	now     time.Time
	seq     uint64
	timers  timerHeap
	// zero is where the monotonic readings of a settable clock begin, and step is how far its wall time was set. Without
	// zero the times of the clock have no monotonic reading.
	zero time.Time
	step time.Duration
	// advancing keeps a second Advance out while functions run; a Virtual clock has one driver at a time.
	advancing sync.Mutex
}

// NewVirtual returns a virtual clock that stands at start.
func NewVirtual(start time.Time) *Virtual {
	v := &Virtual{now: start.Round(0)}
	v.changed.L = &v.mu
	return v
}

// Settable is a Virtual clock whose wall time can be set. Its times carry a monotonic reading, as those of the real clock
// do: what compares two of them goes by what has elapsed.
type Settable struct{ *Virtual }

// NewSettable returns a settable clock that stands at start.
func NewSettable(start time.Time) *Settable {
	v := NewVirtual(start)
	v.zero = v.now
	return &Settable{v}
}

// Step sets the wall time ahead, or back if d is negative, as an administrator or NTP does it. No timer fires by it.
func (s *Settable) Step(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.step += d
}

// read is what is read from the clock at an instant. Caller holds mu.
func (v *Virtual) read(t time.Time) time.Time {
	if v.zero.IsZero() {
		return t
	}
	return WithMonotonic(t.Add(v.step), t.Sub(v.zero))
}

// Now returns the virtual time.
func (v *Virtual) Now() time.Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.read(v.now)
}

// Since returns the virtual time elapsed since t.
func (v *Virtual) Since(t time.Time) time.Duration { return v.Now().Sub(t) }

// NewTimer returns a timer whose channel gets the time once Advance reaches its deadline. A timer of zero or negative
// duration fires at once.
func (v *Virtual) NewTimer(d time.Duration) Timer {
	t := &vtimer{clock: v, ch: make(chan time.Time, 1), index: -1}
	t.Reset(d)
	return t
}

// AfterFunc runs f on the goroutine of the Advance that reaches the deadline. With a zero or negative d it runs at the
// next Advance, even one by zero.
func (v *Virtual) AfterFunc(d time.Duration, f func()) Timer {
	t := &vtimer{clock: v, f: f, index: -1}
	t.Reset(d)
	return t
}

// Sleep returns after the clock was advanced by d, or when ctx is done.
func (v *Virtual) Sleep(ctx context.Context, d time.Duration) error { return sleep(ctx, v, d) }

// Advance moves the clock by d; see AdvanceTo.
func (v *Virtual) Advance(d time.Duration) { v.AdvanceTo(v.Now().Add(d)) }

// AdvanceTo moves the clock to t, stopping at every deadline on the way to fire it there. Timers that firing functions
// create are honoured in the same call if they fall due by t. A t in the past fires only what is overdue. It must not be
// called from a function of AfterFunc.
func (v *Virtual) AdvanceTo(t time.Time) {
	v.advancing.Lock()
	defer v.advancing.Unlock()
	v.mu.Lock()
	if !v.zero.IsZero() {
		t = v.now.Add(t.Sub(v.read(v.now)))
	}
	v.mu.Unlock()
	for {
		v.mu.Lock()
		if len(v.timers) == 0 || v.timers[0].when.After(t) {
			if t.After(v.now) {
				v.now = t
			}
			v.mu.Unlock()
			return
		}
		due := heap.Pop(&v.timers).(*vtimer)
		if due.when.After(v.now) {
			v.now = due.when
		}
		due.send(v.read(v.now))
		v.mu.Unlock()
		if due.f != nil {
			due.f()
		}
	}
}

// Next returns the earliest pending deadline, and false if nothing is pending.
func (v *Virtual) Next() (time.Time, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.timers) == 0 {
		return time.Time{}, false
	}
	return v.read(v.timers[0].when), true
}

// Pending returns the number of pending timers.
func (v *Virtual) Pending() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.timers)
}

// AwaitPending blocks until at least n timers are pending: how a test knows that the goroutines it started are asleep
// before it advances the clock.
func (v *Virtual) AwaitPending(n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for len(v.timers) < n {
		v.changed.Wait()
	}
}

// vtimer is a timer of a Virtual clock. clock.mu guards when, seq and index.
type vtimer struct {
	clock *Virtual
	ch    chan time.Time // nil for AfterFunc; capacity one
	f     func()
	when  time.Time
	seq   uint64
	index int // position in the heap, -1 when not pending
}

func (t *vtimer) C() <-chan time.Time { return t.ch }

// send puts now on the channel of a timer that has one. The channel is empty here: Reset and Stop drain it.
func (t *vtimer) send(now time.Time) {
	if t.ch == nil {
		return
	}
	select {
	case t.ch <- now:
	default:
	}
}

// drain takes an old firing out of the channel.
func (t *vtimer) drain() {
	select {
	case <-t.ch:
	default:
	}
}

func (t *vtimer) Stop() bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	t.drain()
	return t.remove()
}

func (t *vtimer) Reset(d time.Duration) bool {
	v := t.clock
	v.mu.Lock()
	defer v.mu.Unlock()
	t.drain()
	was := t.remove()
	if d <= 0 {
		if t.f == nil {
			t.send(v.read(v.now))
			return was
		}
		d = 0
	}
	t.when = v.now.Add(d)
	v.seq++
	t.seq = v.seq
	heap.Push(&v.timers, t)
	v.changed.Broadcast()
	return was
}

// remove takes t out of the heap and tells whether it was there.
func (t *vtimer) remove() bool {
	if t.index < 0 {
		return false
	}
	heap.Remove(&t.clock.timers, t.index)
	return true
}

// timerHeap orders timers by deadline, then by the order they were set in.
type timerHeap []*vtimer

func (h timerHeap) Len() int { return len(h) }

func (h timerHeap) Less(i, j int) bool {
	if !h[i].when.Equal(h[j].when) {
		return h[i].when.Before(h[j].when)
	}
	return h[i].seq < h[j].seq
}

func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *timerHeap) Push(x any) {
	t := x.(*vtimer)
	t.index = len(*h)
	*h = append(*h, t)
}

func (h *timerHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	t.index = -1
	return t
}
