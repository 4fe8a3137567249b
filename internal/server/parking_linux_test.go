package server

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/netx"
)

// newParkingKit is a kit whose connections are parked.
func newParkingKit(t *testing.T, h HandlerFunc) *kit {
	t.Helper()
	k := newKit(t, h, nil)
	if k.s.parking.get(k.s) == nil {
		t.Fatal("connections cannot be parked")
	}
	return k
}

// TestAcceptedConnectionsAreParked: one that never sends anything never has a reader.
func TestAcceptedConnectionsAreParked(t *testing.T) {
	k := newParkingKit(t, echo)
	c := k.dial()
	eventually(t, "it is there", func() bool { return k.s.metrics.ConnectionsActive.Load() == 1 })
	if n := k.readers(); n != 0 {
		t.Errorf("%d readers", n)
	}
	c.send(1, []byte("hello"))
	c.expect(1, "hello")
	if n := k.readers(); n != 1 {
		t.Errorf("%d readers of a connection that just had a request", n)
	}
}

// TestParkedConnectionsGoOn: requests, pipelined ones and those that come in pieces find
// the connection as it was before.
func TestParkedConnectionsGoOn(t *testing.T) {
	k := newParkingKit(t, echo)
	c := k.dial()
	for i := range int32(20) {
		c.send(3*i, []byte("one"))
		c.expect(3*i, "one")
		k.park()
		c.raw(append(request(testKey, 0, 3*i+1, []byte("two")), request(testKey, 0, 3*i+2, []byte("three"))...))
		c.expect(3*i+1, "two")
		c.expect(3*i+2, "three")
	}
}

// TestReaderInsideARequestIsNotParked: it reads on when it is woken, and can be found when
// memory is short.
func TestReaderInsideARequestIsNotParked(t *testing.T) {
	k := newParkingKit(t, echo)
	c := k.dial()
	whole := request(testKey, 0, 100, []byte("in pieces"))
	c.raw(whole[:9])
	eventually(t, "the server has the connection", func() bool { return len(k.s.snapshot()) == 1 })
	conn := k.s.snapshot()[0]
	other := k.dial()
	for i := range int32(20) {
		eventually(t, "it reads on inside the request", conn.midFrame.Load)
		other.send(i, nil)
		other.expect(i, "")
		eventually(t, "the other one is parked", func() bool {
			k.s.wakeIdle(0)
			return k.readers() < 2
		})
		if n := k.readers(); n != 1 {
			t.Fatalf("%d readers", n)
		}
	}
	eventually(t, "it reads on inside the request", conn.midFrame.Load)
	c.raw(whole[9:])
	c.expect(100, "in pieces")
}

// TestResponseOfAParkedConnection: a request that is answered late does not need the
// reader that took it.
func TestResponseOfAParkedConnection(t *testing.T) {
	var p parked
	k := newParkingKit(t, p.handle)
	c := k.dial()
	c.send(1, []byte("late"))
	eventually(t, "the request waits", func() bool { return p.len() == 1 })
	k.park()
	echo(p.take()[0])
	c.expect(1, "late")
}

// TestParkedConnectionsEnd: by their peer, by the server's Close and in an orderly stop.
func TestParkedConnectionsEnd(t *testing.T) {
	k := newParkingKit(t, echo)
	killed := k.dial()
	eventually(t, "the server has the connection", func() bool { return len(k.s.snapshot()) == 1 })
	k.s.snapshot()[0].kill()
	eventually(t, "it ends when it is killed", func() bool { return k.s.metrics.ConnectionsActive.Load() == 0 })
	killed.expectClosed()
	gone, reset, left := k.dial(), k.dial(), k.dial()
	for i, c := range []*client{gone, reset, left} {
		c.send(int32(i), nil)
		c.expect(int32(i), "")
	}
	k.park()
	_ = gone.Close()
	eventually(t, "the peer's close is seen", func() bool { return k.s.metrics.ConnectionsActive.Load() == 2 })
	if r, ok := reset.Conn.(interface{ SetLinger(int) error }); !ok || r.SetLinger(0) != nil {
		t.Fatal("the connection cannot be reset")
	}
	_ = reset.Close()
	eventually(t, "the peer's reset is seen", func() bool { return k.s.metrics.ConnectionsActive.Load() == 1 })
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := k.s.Stop(ctx); err != nil {
		t.Error(err)
	}
	left.expectClosed()
}

// TestParkingRaces: requests, wakes, closes and kills at any moment; each request that
// is sent to a connection that lives is answered once.
func TestParkingRaces(t *testing.T) {
	k := newParkingKit(t, echo)
	stop := make(chan struct{})
	var wakers, clients sync.WaitGroup
	wakers.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				k.s.wakeIdle(0)
				runtime.Gosched() // with one processor the others wait for this one
			}
		}
	})
	for range 8 {
		clients.Go(func() {
			for round := range 40 {
				c, err := k.net.Dial(context.Background(), "tcp", k.s.listeners[0].BoundAddr().String())
				if err != nil {
					t.Error(err)
					return
				}
				cl := &client{t, c}
				for i := range int32(round) {
					_ = c.SetDeadline(time.Now().Add(20 * time.Second))
					body := fmt.Sprintf("%d-%d", round, i)
					if _, err := c.Write(request(testKey, 0, i, []byte(body))); err != nil {
						t.Error(err)
					}
					id, got, err := cl.tryReceive()
					if err != nil || id != i || string(got) != body {
						t.Errorf("response %d %q, %v, want %d %q", id, got, err, i, body)
						break
					}
				}
				_ = c.Close()
			}
		})
	}
	clients.Wait()
	close(stop)
	wakers.Wait()
	eventually(t, "all ended", func() bool { return k.s.metrics.ConnectionsActive.Load() == 0 })
}

// TestStopMeetsParking: an orderly stop finds a connection that parks at that moment.
func TestStopMeetsParking(t *testing.T) {
	for range 100 {
		k := newParkingKit(t, echo)
		clients := make([]*client, 8)
		for i := range clients {
			clients[i] = k.dial()
			clients[i].send(1, nil)
		}
		for _, c := range clients {
			c.expect(1, "")
		}
		var both sync.WaitGroup
		both.Go(func() { k.s.wakeIdle(0) })
		both.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			if err := k.s.Stop(ctx); err != nil {
				t.Error(err)
			}
		})
		both.Wait()
		if t.Failed() {
			return
		}
	}
}

// TestKillMeetsParking: a connection that is killed while it parks ends, whoever is
// first.
func TestKillMeetsParking(t *testing.T) {
	k := newParkingKit(t, echo)
	for range 300 {
		c := k.dial()
		c.send(1, nil)
		c.expect(1, "")
		var both sync.WaitGroup
		both.Go(func() { k.s.wakeIdle(0) })
		both.Go(func() {
			for _, conn := range k.s.snapshot() {
				conn.kill()
			}
		})
		both.Wait()
		eventually(t, "it ended", func() bool { return k.s.metrics.ConnectionsActive.Load() == 0 })
	}
}

// TestWithoutParking: where there is no waiter, readers wait and a wake changes nothing.
func TestWithoutParking(t *testing.T) {
	mem := netx.NewMem(clock.Real())
	k := newKit(t, echo, func(c *Config) { c.Net = mem.Host("127.0.0.1") })
	k.net = mem.Host("127.0.0.1")
	c := k.dial()
	c.send(1, []byte("a"))
	c.expect(1, "a")
	k.s.wakeIdle(0)
	c.send(2, []byte("b"))
	c.expect(2, "b")
	if n := k.readers(); n != 0 {
		t.Errorf("%d readers that could be parked", n)
	}
}
