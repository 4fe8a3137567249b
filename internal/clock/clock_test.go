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
