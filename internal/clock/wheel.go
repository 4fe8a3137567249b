package clock

import (
	"math"
	"math/bits"
	"sync"
	"time"
)

const (
	wheelBits  = 6
	wheelSlots = 1 << wheelBits
	// Eight levels of six bits number the ticks of 8,925 years, more than a time.Duration can say.
	wheelLevels = 8
	wheelTick   = time.Millisecond
	// wheelEnd is the last deadline, as a distance from the wheel's start, that can be counted in whole ticks.
	wheelEnd = (math.MaxInt64/wheelTick - 1) * wheelTick
)

// Entry is one deadline of a Wheel, to be embedded in whatever waits. The zero Entry with Fire set is ready to be
// scheduled. An Entry must not be copied while it is scheduled, and belongs to one wheel at a time.
type Entry struct {
	// Fire runs on the wheel's goroutine when the deadline has passed. It must be quick and must not block: every other
	// deadline waits for it. It may call Schedule and Cancel, also for its own entry, but not Stop.
	// It must not change while the entry is scheduled.
	Fire func()

	// The wheel's mutex guards what follows.
	prev, next *Entry
	when       int64 // tick
	level      uint8
	slot       uint8
	queued     bool
}

// Wheel keeps any number of deadlines, in ticks of a millisecond, on one timer of its clock. Adding and cancelling take
// constant time and allocate nothing. A wheel without entries sets no timer; one with entries wakes for the next
// deadline, and a few times on the way for deadlines far ahead.
//
// Level l has 64 slots of 64^l ticks each. An entry lies in the level of the highest group of six bits in which its tick
// differs from the current one, in the slot that this group names. So the lowest level that has entries holds the
// nearest ones, and within a level the lowest slot does.
//
// mu guards every field, and every queued Entry; it is not held while Fire runs.
type Wheel struct {
	clock Clock
	start time.Time

	mu       sync.Mutex
	idle     sync.Cond // signalled when firing becomes false
	now      int64     // the last tick that was handled
	armed    int64     // the tick that timer is set for; meaningless unless isArmed
	isArmed  bool
	started  bool
	firing   bool // a run is in progress; there is never more than one
	timer    Timer
	len      int
	occupied [wheelLevels]uint64 // bit s of level l: slot s has entries
	slots    [wheelLevels][wheelSlots]entryList
}

// entryList is a doubly linked list in the order of arrival.
type entryList struct{ first, last *Entry }

// NewWheel returns a wheel that keeps entries but fires none until Start. Time zero of the wheel is now.
func NewWheel(c Clock) *Wheel {
	w := &Wheel{clock: c, start: c.Now()}
	w.idle.L = &w.mu
	return w
}

// Start lets entries fire. On a real clock they fire on a goroutine of the wheel that lives only while something is due;
// on a Virtual clock on the goroutine that advances it. Entries never fire concurrently with each other.
func (w *Wheel) Start() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.started {
		return
	}
	w.started = true
	w.arm()
}

// Stop ends firing: it waits for the entry that is firing, after that none fires any more. Entries stay scheduled and
// can be cancelled; a later Start fires what is overdue. Stop must not be called from Fire.
func (w *Wheel) Stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.started = false
	if w.isArmed {
		w.timer.Stop()
		w.isArmed = false
	}
	for w.firing {
		w.idle.Wait()
	}
}

// Len returns the number of scheduled entries.
func (w *Wheel) Len() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.len
}

// Schedule makes e fire once, after at least d and at most two ticks later plus the lateness of the clock. An entry that
// is scheduled already is moved. Entries fire in the order of their ticks; among those of one tick the order is a
// function of the calls made so far, so it repeats on a Virtual clock.
func (w *Wheel) Schedule(e *Entry, d time.Duration) {
	at := w.clock.Since(w.start)
	at += min(max(d, 0), wheelEnd-at)
	when := int64((at + wheelTick - 1) / wheelTick)
	w.mu.Lock()
	defer w.mu.Unlock()
	if e.queued {
		w.remove(e)
	}
	e.when = max(when, w.now+1)
	w.insert(e)
	w.len++
	if w.started && !w.firing {
		w.arm()
	}
}

// Cancel takes e out of the wheel. It returns true if e was scheduled: then Fire will not run for that Schedule. False
// means that there was nothing to cancel: e was never scheduled, was cancelled before, or its Fire has run, is running
// or is about to run on another goroutine. Exactly one of a true Cancel and a Fire happens to each Schedule that is not
// replaced by a later one.
func (w *Wheel) Cancel(e *Entry) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !e.queued {
		return false
	}
	w.remove(e)
	return true
}

// insert puts e into the slot for e.when. Caller holds mu; e.when > w.now, or equal when cascading.
func (w *Wheel) insert(e *Entry) {
	level := 0
	if diff := uint64(e.when ^ w.now); diff >= wheelSlots {
		level = (bits.Len64(diff) - 1) / wheelBits
	}
	slot := uint(e.when>>(wheelBits*level)) % wheelSlots
	e.level, e.slot, e.queued = uint8(level), uint8(slot), true
	list := &w.slots[level][slot]
	e.prev, e.next = list.last, nil
	if list.last != nil {
		list.last.next = e
	} else {
		list.first = e
	}
	list.last = e
	w.occupied[level] |= 1 << slot
}

// remove takes e out of its slot. Caller holds mu.
func (w *Wheel) remove(e *Entry) {
	list := &w.slots[e.level][e.slot]
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		list.first = e.next
	}
	if e.next != nil {
		e.next.prev = e.prev
	} else {
		list.last = e.prev
	}
	if list.first == nil {
		w.occupied[e.level] &^= 1 << e.slot
	}
	e.prev, e.next, e.queued = nil, nil, false
	w.len--
}

// next returns the slot that is due first and the tick at which it must be handled: the deadline itself on level 0, the
// first tick of the slot above. Caller holds mu.
func (w *Wheel) next() (level, slot int, tick int64, ok bool) {
	for level := range wheelLevels {
		if w.occupied[level] == 0 {
			continue
		}
		slot := bits.TrailingZeros64(w.occupied[level])
		shift := wheelBits * level
		tick := w.now&^(1<<(shift+wheelBits)-1) | int64(slot)<<shift
		return level, slot, max(tick, w.now), true
	}
	return 0, 0, 0, false
}

// arm sets the timer for the next slot unless it is set early enough. Caller holds mu.
func (w *Wheel) arm() {
	_, _, tick, ok := w.next()
	if !ok || w.isArmed && w.armed <= tick {
		return
	}
	w.armed, w.isArmed = tick, true
	d := time.Duration(tick)*wheelTick - w.clock.Since(w.start)
	if w.timer == nil {
		w.timer = w.clock.AfterFunc(d, w.run)
		return
	}
	w.timer.Reset(d)
}

// run is the timer's function: it fires what is due and sets the timer for what is not.
func (w *Wheel) run() {
	w.mu.Lock()
	w.isArmed = false
	if w.started && !w.firing {
		w.firing = true
		w.fireDue()
		w.firing = false
		w.idle.Broadcast()
		if w.started {
			w.arm()
		}
	}
	w.mu.Unlock()
}

// fireDue handles every slot up to the present. Caller holds mu, which is released while Fire runs.
func (w *Wheel) fireDue() {
	for w.started {
		present := int64(w.clock.Since(w.start) / wheelTick)
		level, slot, tick, ok := w.next()
		if !ok || tick > present {
			w.now = max(w.now, present)
			return
		}
		w.now = tick
		w.expire(level, slot)
	}
}

// expire handles the first entry of a slot that is due on level 0, and spreads a slot of a higher level over the levels
// below it. Caller holds mu, which is released while Fire runs.
func (w *Wheel) expire(level, slot int) {
	list := &w.slots[level][slot]
	if level == 0 {
		e := list.first
		w.remove(e)
		w.mu.Unlock()
		e.Fire()
		w.mu.Lock()
		return
	}
	e := list.first
	*list = entryList{}
	w.occupied[level] &^= 1 << slot
	for e != nil {
		following := e.next
		w.insert(e)
		e = following
	}
}
