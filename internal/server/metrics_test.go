package server

import (
	"math"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/metrics"
)

// TestTimesSayWhereARequestWas: two requests in one write are handled for 10 ms each,
// wait 50 ms for somebody else, and are answered together.
func TestTimesSayWhereARequestWas(t *testing.T) {
	v := clock.NewVirtual(time.Unix(1_000_000, 0))
	parked := make(chan *Request, 2)
	k := newKit(t, func(r *Request) {
		v.Advance(10 * time.Millisecond)
		parked <- r
	}, func(c *Config) { c.Clock, c.ConnectionsMaxIdle = v, -1 })
	c := k.dial()
	c.raw(append(request(testKey, 0, 1, []byte("a")), request(testKey, 0, 2, []byte("b"))...))
	first, second := <-parked, <-parked
	awaitHandled(t, second)
	v.Advance(50 * time.Millisecond)
	second.CountErrors(6, 1)
	second.ReplyRaw(nil)
	first.CountErrors(0, 3)
	first.ReplyRaw(nil)
	c.receive()
	c.receive()
	api := k.s.Metrics().API(testKey)
	eventually(t, "both are counted", func() bool { return api.Times() != nil && api.Times().Total.Read(v.Now()).Count == 2 })
	times := api.Times()
	now := v.Now()
	total := times.Total.Read(now)
	mean := func(h *metrics.Histogram) float64 { return h.ReadOf(now, total.Count).Mean() / 1e6 }
	for _, c := range []struct {
		name      string
		got, want float64
	}{
		{"request queue", mean(times.RequestQueue), (0 + 10) / 2.},
		{"local", mean(times.Local), 10},
		{"remote", mean(times.Remote), (60 + 50) / 2.},
		{"response queue", mean(times.ResponseQueue), 0},
		{"total", total.Mean() / 1e6, 70},
	} {
		if math.Abs(c.got-c.want) > .13*c.want+.001 {
			t.Errorf("%s: %v ms, want %v", c.name, c.got, c.want)
		}
	}
	if d := times.Sizes.Read(now); d.Count != 2 || d.Max() > 32 {
		t.Errorf("%d sizes, the largest %v", d.Count, d.Max())
	}
	got := map[int16]int64{}
	api.Errors(func(code int16, n int64) { got[code] = n })
	if len(got) != 2 || got[0] != 3 || got[6] != 1 {
		t.Errorf("error codes %v", got)
	}
	l := k.s.listeners[0].Metrics()
	if l.Created.Load() != 1 || l.Closed.Load() != 0 {
		t.Errorf("%d connections made, %d closed", l.Created.Load(), l.Closed.Load())
	}
}

// TestWaitingInAHandlerIsNotLocal: what a handler waits for after WillBlock counts as
// remote.
func TestWaitingInAHandlerIsNotLocal(t *testing.T) {
	v := clock.NewVirtual(time.Unix(1_000_000, 0))
	k := newKit(t, func(r *Request) {
		v.Advance(10 * time.Millisecond)
		r.WillBlock()
		v.Advance(50 * time.Millisecond)
		r.ReplyRaw(nil)
	}, func(c *Config) { c.Clock, c.ConnectionsMaxIdle = v, -1 })
	c := k.dial()
	c.send(1, nil)
	c.receive()
	api := k.s.Metrics().API(testKey)
	eventually(t, "it is counted", func() bool { return api.Times() != nil && api.Times().Total.Read(v.Now()).Count == 1 })
	local, remote := api.Times().Local.Read(v.Now()).Mean()/1e6, api.Times().Remote.Read(v.Now()).Mean()/1e6
	if math.Abs(local-10) > 1.3 || math.Abs(remote-50) > 6.5 {
		t.Errorf("local %v ms, remote %v ms", local, remote)
	}
}

// awaitHandled waits until the handler of a request has returned.
func awaitHandled(t *testing.T, r *Request) {
	t.Helper()
	eventually(t, "the handler returns", func() bool { return r.handledNs.Load() != 0 })
}
