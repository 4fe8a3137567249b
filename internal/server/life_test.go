package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/netx"
)

func TestStopAnswersWhatWasRead(t *testing.T) {
	var p parked
	k := newKit(t, p.handle, nil)
	idle, busy := k.dial(), k.dial()
	idle.send(1, nil)
	eventually(t, "one is parked", func() bool { return p.len() == 1 })
	p.take()[0].ReplyRaw(nil)
	idle.expect(1, "")
	busy.send(2, []byte("a"))
	busy.send(3, []byte("b"))
	eventually(t, "two are parked", func() bool { return p.len() == 2 })
	stopped := make(chan error)
	go func() { stopped <- k.s.Stop(context.Background()) }()
	idle.expectClosed()
	if _, err := k.net.Dial(context.Background(), "tcp", k.s.listeners[0].BoundAddr().String()); err == nil {
		t.Error("a connection came in while stopping")
	}
	select {
	case err := <-stopped:
		t.Fatalf("stopped with requests in flight: %v", err)
	default:
	}
	for _, r := range p.take() {
		echo(r)
	}
	busy.expect(2, "a")
	busy.expect(3, "b")
	busy.expectClosed()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if err := k.s.Stop(context.Background()); err != nil {
		t.Errorf("stopping again: %v", err)
	}
}

func TestStopIsBounded(t *testing.T) {
	var p parked
	k := newKit(t, p.handle, nil)
	c := k.dial()
	c.send(1, nil)
	eventually(t, "it is parked", func() bool { return p.len() == 1 })
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := k.s.Stop(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	c.expectClosed()
	p.take()[0].ReplyRaw(nil)
	if n := k.s.metrics.RequestsInFlight.Load(); n != 0 {
		t.Errorf("%d in flight", n)
	}
}

func TestIdleConnectionsExpire(t *testing.T) {
	v := clock.NewVirtual(time.Unix(1_000_000, 0))
	var p parked
	k := newKit(t, func(r *Request) {
		if len(r.Body) > 0 {
			p.handle(r)
			return
		}
		echo(r)
	}, func(c *Config) { c.Clock, c.ConnectionsMaxIdle = v, time.Minute })
	idle, active, waiting := k.dial(), k.dial(), k.dial()
	eventually(t, "all are there", func() bool { return k.s.metrics.ConnectionsActive.Load() == 3 })
	sleepers := k.sleepers(1) // the reaper
	waiting.send(1, []byte("park"))
	eventually(t, "it is parked", func() bool { return p.len() == 1 })
	v.AwaitPending(sleepers)
	v.Advance(40 * time.Second)
	active.send(2, nil)
	active.expect(2, "")
	v.AwaitPending(sleepers)
	v.Advance(20 * time.Second)
	idle.expectClosed()
	active.send(3, nil)
	active.expect(3, "")
	echo(p.take()[0])
	waiting.expect(1, "park")
	if n := k.s.metrics.ConnectionsExpired.Load(); n != 1 {
		t.Errorf("%d connections expired", n)
	}
	v.AwaitPending(sleepers)
	v.Advance(time.Minute)
	v.AwaitPending(sleepers)
	v.Advance(time.Minute)
	active.expectClosed()
	waiting.expectClosed()
}

// TestIdlenessHeedsNoStepOfTheWallClock: whoever was idle for less than the limit stays,
// and whoever was for longer goes, also when the wall clock is set in between.
func TestIdlenessHeedsNoStepOfTheWallClock(t *testing.T) {
	for _, step := range []time.Duration{time.Hour, -time.Hour} {
		t.Run(step.String(), func(t *testing.T) {
			v := clock.NewSettable(time.Unix(1_000_000, 0))
			k := newKit(t, echo, func(c *Config) { c.Clock, c.ConnectionsMaxIdle = v, time.Minute })
			idle, active := k.dial(), k.dial()
			eventually(t, "both are there", func() bool { return k.s.metrics.ConnectionsActive.Load() == 2 })
			sleepers := k.sleepers(1) // the reaper
			v.AwaitPending(sleepers)
			v.Advance(40 * time.Second)
			active.send(2, nil)
			active.expect(2, "")
			v.Step(step)
			v.AwaitPending(sleepers)
			v.Advance(20 * time.Second)
			idle.expectClosed()
			v.AwaitPending(sleepers)
			v.Advance(39 * time.Second)
			active.send(3, nil)
			active.expect(3, "")
			if n := k.s.metrics.ConnectionsExpired.Load(); n != 1 {
				t.Errorf("%d connections expired", n)
			}
			v.AwaitPending(sleepers)
			v.Advance(time.Minute)
			v.AwaitPending(sleepers)
			v.Advance(time.Minute)
			active.expectClosed()
		})
	}
}

// TestSlowReaderOfAnAnswerIsNotIdle: a peer takes an answer of memory in steps that end
// within the idle time, and the whole long after it.
func TestSlowReaderOfAnAnswerIsNotIdle(t *testing.T) {
	const step, steps, size = 4 << 20, 6, 48 << 20 // more than steps and what sockets hold
	v := clock.NewVirtual(time.Unix(1_000_000, 0))
	k := newKit(t, func(r *Request) { r.ReplyRaw(make([]byte, size)) }, func(c *Config) { c.Clock, c.ConnectionsMaxIdle = v, time.Minute })
	c := k.dial()
	c.send(1, nil)
	eventually(t, "it is there", func() bool { return len(k.s.snapshot()) == 1 })
	conn := k.s.snapshot()[0]
	for i := range steps {
		v.AwaitPending(k.sleepers(1))
		v.Advance(40 * time.Second)
		if _, err := io.CopyN(io.Discard, c, step); err != nil {
			t.Fatalf("step %d of %d: %v", i, steps, err)
		}
		eventually(t, "the step is noted", func() bool { return conn.lastActive.Load() == k.s.elapsed() })
	}
	rest := int64(4 + 4 + size - step*steps)
	if n, err := io.CopyN(io.Discard, c, rest); err != nil {
		t.Errorf("%d of the last %d bytes: %v", n, rest, err)
	}
	if n := k.s.metrics.ConnectionsExpired.Load(); n != 0 {
		t.Errorf("%d connections expired", n)
	}
}

// TestAnswerOfALongWaitIsNotIdle: a request waits for most of the idle time, and its peer
// takes the answer slowly. The time of the answer begins when it is there.
func TestAnswerOfALongWaitIsNotIdle(t *testing.T) {
	v := clock.NewVirtual(time.Unix(1_000_000, 0))
	var p parked
	k := newKit(t, p.handle, func(c *Config) { c.Clock, c.ConnectionsMaxIdle = v, time.Minute })
	c := k.dial()
	c.send(1, nil)
	eventually(t, "it is parked", func() bool { return p.len() == 1 })
	v.AwaitPending(k.sleepers(1))
	v.Advance(59 * time.Second)
	body := bytes.Repeat([]byte("a"), 16<<20) // more than sockets hold
	p.take()[0].ReplyRaw(body)
	v.AwaitPending(k.sleepers(1))
	v.Advance(time.Second)
	v.AwaitPending(k.sleepers(1)) // the reaper has looked
	c.expect(1, string(body))
	if n := k.s.metrics.ConnectionsExpired.Load(); n != 0 {
		t.Errorf("%d connections expired", n)
	}
}

// limits are those of a test, none to begin with.
func (c *Config) limits() *Limits {
	if c.Limits == nil {
		l := NoLimits()
		c.Limits = &l
	}
	return c.Limits
}

func TestMaxConnectionsPerIP(t *testing.T) {
	k := newKit(t, echo, func(c *Config) { c.limits().MaxConnectionsPerIP = 2 })
	a, b := k.dial(), k.dial()
	for i, c := range []*client{a, b} {
		c.send(int32(i), nil)
		c.expect(int32(i), "")
	}
	k.dial().expectClosed()
	_ = a.Close()
	eventually(t, "the slot is free", func() bool { return k.s.metrics.ConnectionsActive.Load() == 1 })
	d := k.dial()
	d.send(3, nil)
	d.expect(3, "")
	if n := k.s.metrics.ConnectionsRejected.Load(); n != 1 {
		t.Errorf("%d were rejected", n)
	}
}

func TestMaxConnectionsPerIPOverride(t *testing.T) {
	k := newKit(t, echo, func(c *Config) {
		c.limits().MaxConnectionsPerIP = 1
		c.limits().MaxConnectionsPerIPOverrides = map[string]int{"127.0.0.1": 3}
	})
	for i := range int32(3) {
		c := k.dial()
		c.send(i, nil)
		c.expect(i, "")
	}
	k.dial().expectClosed()
}

// twoListeners makes the second listener the one between brokers.
func twoListeners(c *Config) {
	l := c.Listeners[0]
	l.Name, l.InterBroker = "INTERNAL", true
	c.Listeners = append(c.Listeners, l)
}

// TestInterBrokerIsNeverStarved: with max.connections used up, clients wait, the
// inter-broker listener goes on, and the least recently used client makes room.
func TestInterBrokerIsNeverStarved(t *testing.T) {
	k := newKit(t, echo, func(c *Config) {
		twoListeners(c)
		c.limits().MaxConnections = 3
	})
	var clients []*client
	for i := range int32(3) {
		c := k.dial()
		c.send(i, nil)
		c.expect(i, "")
		clients = append(clients, c)
	}
	waiting := k.dial()
	waiting.send(9, nil)
	broker := k.dial("INTERNAL")
	broker.send(10, nil)
	broker.expect(10, "")
	clients[0].expectClosed()
	_ = clients[1].Close()
	waiting.expect(9, "")
	if n := k.s.metrics.ConnectionsEvicted.Load(); n != 1 {
		t.Errorf("%d were evicted", n)
	}
}

func TestListenerMaxConnections(t *testing.T) {
	k := newKit(t, echo, func(c *Config) {
		twoListeners(c)
		c.limits().Listeners = map[string]ListenerLimits{"PLAINTEXT": {MaxConnections: 1}}
	})
	a := k.dial()
	a.send(1, nil)
	a.expect(1, "")
	b := k.dial()
	b.send(2, nil)
	other := k.dial("INTERNAL")
	other.send(3, nil)
	other.expect(3, "")
	_ = a.Close()
	b.expect(2, "")
}

func TestConnectionCreationRate(t *testing.T) {
	v := clock.NewVirtual(time.Unix(1_000_000, 0))
	k := newKit(t, echo, func(c *Config) {
		twoListeners(c)
		c.Clock, c.ConnectionsMaxIdle, c.limits().MaxConnectionCreationRate = v, -1, 10
	})
	for range 10 {
		k.dial()
	}
	late := k.dial()
	late.send(1, nil)
	v.AwaitPending(k.sleepers(1))
	if n := k.s.metrics.ConnectionsAccepted.Load(); n != 10 {
		t.Fatalf("%d came in at once", n)
	}
	broker := k.dial("INTERNAL")
	broker.send(2, nil)
	broker.expect(2, "")
	v.Advance(101 * time.Millisecond)
	late.expect(1, "")
}

// failingNet lets Accept fail some times.
type failingNet struct {
	netx.Net
	left atomic.Int32
}

type failingListener struct {
	net.Listener
	n *failingNet
}

func (f *failingNet) Listen(ctx context.Context, network, addr string) (net.Listener, error) {
	l, err := f.Net.Listen(ctx, network, addr)
	return &failingListener{l, f}, err
}

func (l *failingListener) Accept() (net.Conn, error) {
	if l.n.left.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return l.Listener.Accept()
}

// TestAcceptErrorsDoNotEndTheAcceptor runs out of descriptors ten times: the pauses
// grow, and then connections come in again.
func TestAcceptErrorsDoNotEndTheAcceptor(t *testing.T) {
	v := clock.NewVirtual(time.Unix(1_000_000, 0))
	f := &failingNet{Net: netx.OS()}
	f.left.Store(10)
	k := newKit(t, echo, func(c *Config) { c.Net, c.Clock, c.ConnectionsMaxIdle = f, v, -1 })
	c := k.dial()
	c.send(1, nil)
	start := v.Now()
	for i := range 10 {
		eventually(t, "the error is counted", func() bool { return k.s.metrics.AcceptErrors.Load() == int64(i+1) })
		v.AwaitPending(1)
		next, _ := v.Next()
		v.AdvanceTo(next)
	}
	c.expect(1, "")
	if d := v.Since(start); d < 3*time.Second || d > 10*time.Second {
		t.Errorf("ten pauses took %v", d)
	}
}

// TestThrottleMutes: the response of a throttled request leaves at once, the next
// request is taken when the time is over.
func TestThrottleMutes(t *testing.T) {
	v := clock.NewVirtual(time.Unix(1_000_000, 0))
	var served atomic.Int32
	k := newKit(t, func(r *Request) {
		served.Add(1)
		if string(r.Body) == "much" {
			r.Throttle(500)
		}
		echo(r)
	}, func(c *Config) { c.Clock, c.ConnectionsMaxIdle = v, -1 })
	sleepers := k.sleepers(1) // the muted reader
	for range 2 {             // together in one read, and one after the other
		c := k.dial()
		served.Store(0)
		c.raw(append(request(testKey, 0, 1, []byte("much")), request(testKey, 0, 2, []byte("more"))...))
		c.expect(1, "much")
		v.AwaitPending(sleepers)
		if n := served.Load(); n != 1 {
			t.Fatalf("%d requests were served while muted", n)
		}
		v.Advance(499 * time.Millisecond)
		v.AwaitPending(sleepers)
		if n := served.Load(); n != 1 {
			t.Fatalf("%d requests were served too early", n)
		}
		v.Advance(time.Millisecond)
		c.expect(2, "more")
	}
	c := k.dial()
	c.send(3, []byte("much"))
	c.expect(3, "much")
	v.AwaitPending(sleepers)
	if err := k.s.Stop(context.Background()); err != nil { // a muted connection does not hold it up
		t.Error(err)
	}
}

// TestAdvertisedListener: the request names the listener that the client used.
func TestAdvertisedListener(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]string{}
	k := newKit(t, func(r *Request) {
		mu.Lock()
		seen[r.Listener.Name] = net.JoinHostPort(r.Listener.AdvertisedHost, "") + r.ClientHost + r.Principal
		mu.Unlock()
		echo(r)
	}, func(c *Config) {
		twoListeners(c)
		c.Listeners[1].AdvertisedHost = "inside"
	})
	for i, l := range k.s.Listeners() {
		c := k.dial(l.Name)
		c.send(int32(i), nil)
		c.expect(int32(i), "")
		if _, port, _ := net.SplitHostPort(l.BoundAddr().String()); l.AdvertisedPort == 0 || port == "0" {
			t.Errorf("listener %s advertises port %d", l.Name, l.AdvertisedPort)
		}
	}
	if seen["PLAINTEXT"] != "localhost:127.0.0.1User:ANONYMOUS" || seen["INTERNAL"] != "inside:127.0.0.1User:ANONYMOUS" {
		t.Errorf("%v", seen)
	}
}

func TestConfigIsChecked(t *testing.T) {
	good := Config{Net: netx.OS(), Clock: clock.Real()}
	h := HandlerFunc(echo)
	for want, ls := range map[string][]ListenerConfig{
		"configured twice": {{Name: "A"}, {Name: "A"}},
		"is not served":    {{Name: "A", Protocol: SSL}},
		"is unknown":       {{Name: "A", Table: Table{500: {0, 0, h}}}},
		"versions 0-14":    {{Name: "A", Table: Table{0: {0, 14, h}}}},
		"versions 0-0":     {{Name: "A", Table: Table{76: {0, 0, h}}}},
		"versions 0-1":     {{Name: "A", Table: Table{76: {0, 1, nil}}}},
	} {
		c := good
		c.Listeners = ls
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

func TestAPIVersionsAreWhatIsServed(t *testing.T) {
	h := HandlerFunc(echo)
	k := newKit(t, echo, func(c *Config) {
		c.Listeners[0].Table = Table{22: {0, 5, h}, 0: {3, 13, h}, testKey: {0, 0, h}}
		l := c.Listeners[0]
		l.Name, l.Controller, l.Table = "CONTROLLER", true, Table{0: {3, 13, h}}
		c.Listeners = append(c.Listeners, l)
	})
	got := k.s.Listener("PLAINTEXT").APIVersions()
	if len(got) != 2 || got[0].ApiKey != 0 || got[0].MinVersion != 0 || got[0].MaxVersion != 13 ||
		got[1].ApiKey != 22 || got[1].MaxVersion != 5 {
		t.Errorf("%+v", got)
	}
	if got := k.s.Listener("CONTROLLER").APIVersions(); len(got) != 1 || got[0].MinVersion != 3 {
		t.Errorf("%+v", got)
	}
}

// TestLimitsChangeWhileRunning: a raised limit lets in who waits.
func TestLimitsChangeWhileRunning(t *testing.T) {
	k := newKit(t, echo, func(c *Config) { c.limits().MaxConnections = 1 })
	a := k.dial()
	a.send(1, nil)
	a.expect(1, "")
	b := k.dial()
	b.send(2, nil)
	k.s.SetLimits(Limits{MaxConnections: 2, MaxConnectionsPerIP: 2})
	b.expect(2, "")
	l := NoLimits()
	l.MaxConnectionsPerIP = 2
	k.s.SetLimits(l)
	k.dial().expectClosed()
	l.MaxConnectionsPerIP, l.Listeners = 9, map[string]ListenerLimits{"PLAINTEXT": {MaxConnections: 2}}
	k.s.SetLimits(l)
	c := k.dial()
	c.send(3, nil)
	_ = a.Close()
	c.expect(3, "")
	// 0 is nobody, not everybody.
	l.MaxConnectionsPerIP, l.Listeners = 0, nil
	k.s.SetLimits(l)
	k.dial().expectClosed()
}

// TestUndecodableBodyIsAnInvalidRequest: a handler that closes for a body that does
// not decode counts as the peer's fault.
func TestUndecodableBodyIsAnInvalidRequest(t *testing.T) {
	k := newKit(t, echo, func(c *Config) {
		c.Listeners[0].Table = Table{3: {0, 13, HandlerFunc(func(r *Request) {
			req := kmsg.NewPtrMetadataRequest()
			if err := r.Decode(req); err != nil {
				r.CloseConn(err)
				return
			}
			r.Reply(req.ResponseKind())
		})}}
	})
	c := k.dial()
	c.raw(request(3, 0, 1, []byte{0x7f, 0xff, 0xff, 0xff}))
	c.expectClosed()
	eventually(t, "it is counted", func() bool { return k.s.metrics.InvalidRequests.Load() == 1 })
}

// TestServeDuringStop: a node may be stopped while it starts; no acceptor may begin
// behind the back of who waits for them.
func TestServeDuringStop(t *testing.T) {
	var p parked
	k := newKit(t, p.handle, nil)
	if err := k.s.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	for _, l := range k.s.listeners {
		l.serving = false // as if it had not been served yet
	}
	if err := k.s.Serve(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("serving after Stop: %v", err)
	}
}
