package clock

import (
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var epoch = time.Unix(1_700_000_000, 0)

func newTestWheel() (*Virtual, *Wheel) {
	v := NewVirtual(epoch)
	w := NewWheel(v)
	w.Start()
	return v, w
}

func TestWheelFiresAtDeadline(t *testing.T) {
	for _, d := range []time.Duration{
		0, 1, time.Millisecond, 63 * time.Millisecond, 64 * time.Millisecond, 65 * time.Millisecond,
		4095 * time.Millisecond, 4096 * time.Millisecond, 4097 * time.Millisecond, time.Minute,
		time.Hour, 24 * time.Hour, 400 * 24 * time.Hour, 100 * 365 * 24 * time.Hour,
	} {
		t.Run(d.String(), func(t *testing.T) {
			v, w := newTestWheel()
			v.Advance(12345 * time.Millisecond)
			from := v.Now()
			var at time.Time
			e := &Entry{Fire: func() { at = v.Now() }}
			w.Schedule(e, d)
			for range 100 {
				next, ok := v.Next()
				if !ok {
					break
				}
				v.AdvanceTo(next)
			}
			late := at.Sub(from) - d
			if at.IsZero() || late < 0 || late > 2*time.Millisecond {
				t.Fatalf("deadline %v: fired %v late (zero time: %v)", d, late, at.IsZero())
			}
			if _, ok := v.Next(); ok || w.Len() != 0 {
				t.Fatalf("an empty wheel keeps a timer, %d entries", w.Len())
			}
		})
	}
}

// TestWheelScheduleBehindPresent schedules with a time that was read before the wheel went on.
func TestWheelScheduleBehindPresent(t *testing.T) {
	v, w := newTestWheel()
	w.now = 64
	fired := 0
	e := &Entry{Fire: func() { fired++ }}
	w.Schedule(e, 63*time.Millisecond)
	v.Advance(66 * time.Millisecond)
	if fired != 1 || w.Len() != 0 {
		t.Fatalf("fired %d times", fired)
	}
}

func TestWheelFarthestDuration(t *testing.T) {
	v, w := newTestWheel()
	v.Advance(time.Hour)
	fired := false
	e := &Entry{Fire: func() { fired = true }}
	w.Schedule(e, 1<<63-1)
	v.Advance(200 * 365 * 24 * time.Hour)
	if fired || !w.Cancel(e) {
		t.Fatal("the farthest deadline fired early or was lost")
	}
}

// TestWheelAgainstModel drives a wheel by random operations beside a plain map of deadlines.
func TestWheelAgainstModel(t *testing.T) {
	for seed := range int64(30) {
		rng := rand.New(rand.NewSource(seed))
		v, w := newTestWheel()
		deadlines := map[int]time.Time{}
		entries := make([]*Entry, 200)
		lastFired := time.Time{}
		for i := range entries {
			entries[i] = &Entry{Fire: func() {
				want, ok := deadlines[i]
				if !ok {
					t.Fatalf("seed %d: entry %d fired without being scheduled", seed, i)
				}
				late := v.Now().Sub(want)
				if late < 0 || late > 2*time.Millisecond {
					t.Fatalf("seed %d: entry %d fired %v late", seed, i, late)
				}
				if v.Now().Before(lastFired) {
					t.Fatalf("seed %d: fired out of order", seed)
				}
				lastFired = v.Now()
				delete(deadlines, i)
			}}
		}
		for range 2000 {
			i := rng.Intn(len(entries))
			switch rng.Intn(4) {
			case 0, 1:
				d := time.Duration(rng.Int63n(int64(1) << rng.Intn(45)))
				deadlines[i] = v.Now().Add(d)
				w.Schedule(entries[i], d)
			case 2:
				_, scheduled := deadlines[i]
				if got := w.Cancel(entries[i]); got != scheduled {
					t.Fatalf("seed %d: Cancel = %v, scheduled %v", seed, got, scheduled)
				}
				delete(deadlines, i)
			case 3:
				v.Advance(time.Duration(rng.Int63n(int64(1) << rng.Intn(38))))
			}
			if w.Len() != len(deadlines) {
				t.Fatalf("seed %d: %d entries, model has %d", seed, w.Len(), len(deadlines))
			}
		}
		v.Advance(1 << 47)
		if len(deadlines) != 0 || w.Len() != 0 {
			t.Fatalf("seed %d: %d deadlines never fired", seed, len(deadlines))
		}
	}
}

func TestWheelRepeatsOnVirtualClock(t *testing.T) {
	trace := func() string {
		v, w := newTestWheel()
		rng := rand.New(rand.NewSource(7))
		var out strings.Builder
		for i := range 500 {
			e := &Entry{}
			e.Fire = func() {
				fmt.Fprintf(&out, "%d@%d ", i, v.Since(epoch).Milliseconds())
				if rng.Intn(3) == 0 {
					w.Schedule(e, time.Duration(rng.Intn(1000))*time.Millisecond)
				}
			}
			w.Schedule(e, time.Duration(rng.Intn(5000))*time.Millisecond)
		}
		v.Advance(time.Minute)
		return out.String()
	}
	if a, b := trace(), trace(); a != b || a == "" {
		t.Fatal("two runs of one seed differ")
	}
}

func TestWheelStopKeepsEntries(t *testing.T) {
	v, w := newTestWheel()
	fired := 0
	e := &Entry{Fire: func() { fired++ }}
	w.Schedule(e, time.Second)
	w.Stop()
	v.Advance(time.Minute)
	if fired != 0 || v.Pending() != 0 {
		t.Fatalf("a stopped wheel fired %d times, has %d timers", fired, v.Pending())
	}
	w.Start()
	v.Advance(0)
	if fired != 1 {
		t.Fatalf("fired %d times after the restart", fired)
	}
}

// TestWheelNeverFiresConcurrently runs the timer's function while an entry is firing, as a Stop and a Start meanwhile do.
func TestWheelNeverFiresConcurrently(t *testing.T) {
	v, w := newTestWheel()
	firing, fired := false, 0
	fire := func() {
		if firing {
			t.Error("an entry fired while another was firing")
		}
		firing = true
		w.run()
		firing = false
		fired++
	}
	entries := []Entry{{Fire: fire}, {Fire: fire}}
	for i := range entries {
		w.Schedule(&entries[i], time.Second)
	}
	v.Advance(time.Second)
	if fired != 2 {
		t.Fatalf("fired %d times", fired)
	}
}

func TestWheelFireMaySchedule(t *testing.T) {
	v, w := newTestWheel()
	var ticks []int64
	e := &Entry{}
	e.Fire = func() {
		ticks = append(ticks, v.Since(epoch).Milliseconds())
		if len(ticks) < 4 {
			w.Schedule(e, 100*time.Millisecond)
		}
	}
	w.Schedule(e, 100*time.Millisecond)
	v.Advance(time.Second)
	if want := []int64{100, 200, 300, 400}; !slices.Equal(ticks, want) {
		t.Fatalf("fired at %v, want %v", ticks, want)
	}
}

// TestWheelCancelRace checks on the real clock that each Schedule ends in exactly one of a Fire and a true Cancel.
func TestWheelCancelRace(t *testing.T) {
	w := NewWheel(Real())
	w.Start()
	const goroutines, rounds = 4, 200
	var fired, cancelled atomic.Int64
	var done sync.WaitGroup
	for g := range goroutines {
		done.Go(func() {
			rng := rand.New(rand.NewSource(int64(g)))
			for range rounds {
				fires := make(chan struct{}, 2)
				e := &Entry{Fire: func() { fired.Add(1); fires <- struct{}{} }}
				w.Schedule(e, time.Duration(rng.Intn(2000))*time.Microsecond)
				if rng.Intn(2) == 0 {
					<-fires
					if w.Cancel(e) {
						t.Error("Cancel is true after Fire")
					}
				} else if w.Cancel(e) {
					cancelled.Add(1)
				} else {
					<-fires
				}
			}
		})
	}
	done.Wait()
	w.Stop()
	if n := fired.Load() + cancelled.Load(); n != goroutines*rounds {
		t.Fatalf("%d schedules ended %d times", goroutines*rounds, n)
	}
}

func TestWheelStopWaitsForFire(t *testing.T) {
	w := NewWheel(Real())
	w.Start()
	entered, leave := make(chan struct{}), make(chan struct{})
	var left atomic.Bool
	e := &Entry{Fire: func() { close(entered); <-leave; left.Store(true) }}
	w.Schedule(e, 0)
	<-entered
	go close(leave)
	w.Stop()
	if !left.Load() {
		t.Fatal("Stop returned while an entry was firing")
	}
}

func TestWheelAllocatesNothing(t *testing.T) {
	w := NewWheel(Real())
	w.Start()
	defer w.Stop()
	e := &Entry{Fire: func() {}}
	w.Schedule(e, time.Hour)
	if n := testing.AllocsPerRun(1000, func() { w.Schedule(e, time.Minute); w.Cancel(e) }); n != 0 {
		t.Fatalf("%v allocations a schedule", n)
	}
}

func BenchmarkWheelScheduleCancel(b *testing.B) {
	w := NewWheel(Real())
	w.Start()
	defer w.Stop()
	entries := make([]Entry, 1024)
	for i := range entries {
		entries[i].Fire = func() {}
		w.Schedule(&entries[i], time.Duration(i)*time.Second)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		e := &entries[i%len(entries)]
		w.Cancel(e)
		w.Schedule(e, 500*time.Millisecond)
		i++
	}
}
