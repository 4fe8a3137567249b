package clock

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"
)

func TestVirtualFiresInOrder(t *testing.T) {
	v := NewVirtual(epoch)
	var got []int64
	note := func() { got = append(got, v.Since(epoch).Milliseconds()) }
	v.AfterFunc(30*time.Millisecond, note)
	v.AfterFunc(10*time.Millisecond, func() {
		note()
		v.AfterFunc(5*time.Millisecond, note)
		v.AfterFunc(500*time.Millisecond, note)
	})
	stopped := v.AfterFunc(20*time.Millisecond, note)
	if !stopped.Stop() || stopped.Stop() {
		t.Fatal("Stop must be true once")
	}
	v.Advance(100 * time.Millisecond)
	if want := []int64{10, 15, 30}; !slices.Equal(got, want) {
		t.Fatalf("fired at %v, want %v", got, want)
	}
	if next, ok := v.Next(); !ok || next.Sub(epoch) != 510*time.Millisecond {
		t.Fatalf("next is %v, %v", next, ok)
	}
	if now := v.Now(); now.Sub(epoch) != 100*time.Millisecond {
		t.Fatalf("now is %v", now)
	}
}

func TestVirtualEqualDeadlinesKeepOrder(t *testing.T) {
	v := NewVirtual(epoch)
	var got []int
	for i := range 20 {
		v.AfterFunc(time.Second, func() { got = append(got, i) })
	}
	v.Advance(time.Second)
	if !slices.IsSorted(got) || len(got) != 20 {
		t.Fatalf("order %v", got)
	}
}

func TestVirtualNeverGoesBack(t *testing.T) {
	v := NewVirtual(epoch)
	v.Advance(-time.Hour)
	v.AdvanceTo(epoch.Add(-time.Second))
	if !v.Now().Equal(epoch) {
		t.Fatalf("went back to %v", v.Now())
	}
}

// TestWithMonotonic: package time reads the wall time and the monotonic reading as they were given.
func TestWithMonotonic(t *testing.T) {
	for _, wall := range []time.Time{epoch, time.Unix(0, 0), time.Unix(2_000_000_000, 999_999_999)} {
		got := WithMonotonic(wall, 5*time.Second)
		if !got.Round(0).Equal(wall) || got.UnixNano() != wall.UnixNano() || got.Location() != wall.Location() {
			t.Errorf("%v became %v", wall, got)
		}
		if d := WithMonotonic(wall.Add(time.Hour), 7*time.Second).Sub(got); d != 2*time.Second {
			t.Errorf("%v elapsed, not two seconds", d)
		}
		later := got.Add(time.Second)
		if d := later.Sub(WithMonotonic(wall, 0)); d != 6*time.Second || !later.Round(0).Equal(wall.Add(time.Second)) {
			t.Errorf("a second after %v is %v, %v elapsed", got, later, d)
		}
	}
}

// TestStepLeavesWhatElapses: timers and differences do not heed that the wall time is set.
func TestStepLeavesWhatElapses(t *testing.T) {
	v := NewSettable(epoch)
	begin := v.Now()
	var fired []time.Duration
	for _, s := range []time.Duration{2, 5} {
		v.AfterFunc(s*time.Second, func() { fired = append(fired, v.Since(begin)) })
	}
	v.Advance(time.Second)
	before := v.Now()
	v.Step(-time.Hour)
	back := v.Now()
	if got := back.UnixMilli() - before.UnixMilli(); got != -time.Hour.Milliseconds() || !back.Equal(before) {
		t.Fatalf("the wall time was set by %d ms, %v passed", got, back.Sub(before))
	}
	v.Advance(time.Second)
	v.Step(3 * time.Hour)
	ahead := v.Now()
	if next, ok := v.Next(); !ok || next.Sub(ahead) != 3*time.Second {
		t.Fatalf("next is %v after %v, %v", next, ahead, ok)
	}
	timer := v.NewTimer(time.Second)
	v.AdvanceTo(ahead.Add(4 * time.Second))
	if at := <-timer.C(); at.Sub(ahead) != time.Second {
		t.Fatalf("fired at %v, %v later", at, at.Sub(ahead))
	}
	for _, c := range []struct {
		since time.Time
		want  time.Duration
	}{{before, 5 * time.Second}, {back, 5 * time.Second}, {ahead, 4 * time.Second}} {
		if got := v.Since(c.since); got != c.want {
			t.Errorf("%v since %v, want %v", got, c.since, c.want)
		}
	}
	if want := []time.Duration{2 * time.Second, 5 * time.Second}; !slices.Equal(fired, want) {
		t.Errorf("fired after %v, want %v", fired, want)
	}
	if got := v.Now().Round(0).Sub(epoch); got != 2*time.Hour+6*time.Second {
		t.Errorf("the wall time is %v on", got)
	}
}

func TestVirtualTimerChannel(t *testing.T) {
	v := NewVirtual(epoch)
	timer := v.NewTimer(time.Second)
	v.Advance(time.Second)
	if timer.Stop() {
		t.Fatal("Stop of a fired timer is true")
	}
	select {
	case <-timer.C():
		t.Fatal("Stop left a firing behind")
	default:
	}
	if timer.Reset(2 * time.Second) {
		t.Fatal("Reset of a stopped timer is true")
	}
	v.Advance(2 * time.Second)
	if at := <-timer.C(); at.Sub(epoch) != 3*time.Second {
		t.Fatalf("fired at %v", at)
	}
	if at := <-v.NewTimer(0).C(); !at.Equal(v.Now()) {
		t.Fatalf("a timer of zero fired at %v", at)
	}
}

func TestVirtualSleep(t *testing.T) {
	v := NewVirtual(epoch)
	woke := make(chan error, 1)
	go func() { woke <- v.Sleep(context.Background(), time.Hour) }()
	v.AwaitPending(1)
	v.Advance(time.Hour)
	if err := <-woke; err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { woke <- v.Sleep(ctx, time.Hour) }()
	v.AwaitPending(1)
	cancel()
	if err := <-woke; !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	if v.Pending() != 0 {
		t.Fatal("a cancelled sleep left its timer")
	}
	if err := v.Sleep(ctx, 0); !errors.Is(err, context.Canceled) {
		t.Fatalf("a sleep under a dead context returned %v", err)
	}
}

func TestRealClock(t *testing.T) {
	c := Real()
	start := c.Now()
	if err := c.Sleep(context.Background(), time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if c.Since(start) < time.Millisecond {
		t.Fatal("slept too short")
	}
	ran := make(chan struct{})
	if timer := c.AfterFunc(0, func() { close(ran) }); timer.C() != nil {
		t.Fatal("AfterFunc has a channel")
	}
	<-ran
	timer := c.NewTimer(time.Hour)
	if !timer.Reset(0) {
		t.Fatal("Reset of a pending timer is false")
	}
	<-timer.C()
}
