package cluster

import (
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"
)

// fault is one thing that goes wrong with a cluster whose replicas are all in sync.
type fault struct {
	kind   string
	inject func()
	repair func()
	// hold is the least time between the two.
	hold time.Duration
}

// beyond is long enough for a session to end, and for a silent replica to leave an ISR: the
// leader looks every half of the lag.
const (
	beyondSession = sessionTimeout + 700*time.Millisecond
	beyondLag     = lagTime + lagTime/2 + 200*time.Millisecond
)

// kinds returns those of a fleet. Each makes a fault with hosts of its own choice.
func (f *fleet) kinds(rng *rand.Rand) []func() fault {
	one := func(hosts []*host) *host { return hosts[rng.IntN(len(hosts))] }
	two := func(hosts []*host) (a, b *host) {
		i := rng.IntN(len(hosts))
		return hosts[i], hosts[(i+1+rng.IntN(len(hosts)-1))%len(hosts)]
	}
	leader := func() *host {
		if h := f.active(); h != nil {
			return h
		}
		return one(f.controllers())
	}
	kinds := []func() fault{
		func() fault { return f.killed("kill -9 of a broker", one(f.brokers())) },
		func() fault { return f.killed("kill -9 of the active controller", leader()) },
		func() fault { return f.paused("SIGSTOP of a broker", one(f.brokers())) },
		func() fault { return f.paused("SIGSTOP of the active controller", leader()) },
		func() fault { return f.stopped("SIGTERM of a broker", one(f.brokers())) },
		func() fault { return f.stopped("SIGTERM of the active controller", leader()) },
		func() fault { a, b := two(f.brokers()); return f.cut("link of two brokers cut", pairs{{a, b}, {b, a}}) },
		func() fault { a, b := two(f.brokers()); return f.cut("link of two brokers cut one way", pairs{{a, b}}) },
		func() fault {
			a := one(f.brokers())
			return f.cut("broker cut off from the controllers", append(f.from(a, f.controllers()), f.to(a, f.controllers())...))
		},
		func() fault {
			return f.cut("broker cut off from the controllers, one way", f.from(one(f.brokers()), f.controllers()))
		},
		func() fault {
			return f.cut("controllers cut off from a broker, one way", f.to(one(f.brokers()), f.controllers()))
		},
		func() fault {
			a := leader()
			return f.cut("active controller cut off from the others", append(f.from(a, f.controllers()), f.to(a, f.controllers())...))
		},
		func() fault {
			return f.cut("active controller cut off from the others, one way", f.from(leader(), f.controllers()))
		},
		func() fault {
			return f.cut("the others cut off from the active controller, one way", f.to(leader(), f.controllers()))
		},
		func() fault { return f.isolated("broker cut off from everybody", one(f.brokers())) },
	}
	if rng.IntN(5) == 0 { // it takes the time of several others
		kinds = append(kinds, f.rolling)
	}
	return kinds
}

// wanted picks the kinds that GREGOR_FAULT_KIND is part of.
func (f *fleet) wanted(kinds []func() fault) []func() fault {
	part := os.Getenv("GREGOR_FAULT_KIND")
	some := slices.DeleteFunc(kinds[:len(kinds):len(kinds)], func(k func() fault) bool { return !strings.Contains(k().kind, part) })
	if len(some) == 0 {
		f.t.Fatalf("no fault is called %q", part)
	}
	return some
}

func (f *fleet) killed(kind string, h *host) fault {
	return fault{kind, func() { f.kill(h) }, func() { f.start(h) }, 0}
}

func (f *fleet) paused(kind string, h *host) fault {
	return fault{kind, func() { f.pause(h) }, func() { f.resume(h) }, beyondSession}
}

func (f *fleet) stopped(kind string, h *host) fault {
	return fault{kind, func() { f.stop(h) }, func() { f.start(h) }, 0}
}

// rolling restarts every host in turn, each when the one before is in sync again.
func (f *fleet) rolling() fault {
	return fault{"rolling restart", func() {
		for _, h := range f.hosts {
			f.stop(h)
			f.start(h)
			f.until(recovery, f.unhealthy)
		}
	}, func() {}, 0}
}

func (f *fleet) isolated(kind string, h *host) fault {
	return fault{kind, func() { f.links.isolate(h.number) }, f.links.heal, beyondSession}
}

// pairs are senders and receivers.
type pairs [][2]*host

func (f *fleet) from(h *host, to []*host) (out pairs) {
	for _, o := range to {
		if o != h {
			out = append(out, [2]*host{h, o})
		}
	}
	return out
}

func (f *fleet) to(h *host, from []*host) (out pairs) {
	for _, p := range f.from(h, from) {
		out = append(out, [2]*host{p[1], p[0]})
	}
	return out
}

func (f *fleet) cut(kind string, of pairs) fault {
	return fault{kind, func() {
		for _, p := range of {
			f.links.cut(p[0].number, p[1].number)
		}
	}, f.links.heal, beyondLag}
}
