package sim

import (
	"fmt"
	"math/rand"
	"strings"
	"time"

	"github.com/gregorhq/gregor/internal/vfs"
)

// storm draws faults from the seed. It belongs to the goroutine that runs the schedule.
type storm struct {
	c   *Cluster
	rng *rand.Rand
	// down is how many nodes may be away at a time (dead, paused or cut off): a majority
	// stays.
	down int
	// lossy says that a disk lost unsynced data since all replicas were last in sync:
	// min.insync.replicas-1 such disks are what the cluster promises to survive.
	lossy bool
	trace []string
	began time.Time
	done  map[string]int
	// undo heals what is broken, at its time.
	undo []healing
}

type healing struct {
	at time.Time
	f  func() error
}

func newStorm(c *Cluster, rng *rand.Rand) *storm {
	return &storm{c: c, rng: rng, down: (len(c.hosts) - 1) / 2, began: time.Now(), done: map[string]int{}}
}

func (s *storm) note(kind, format string, args ...any) {
	s.done[kind]++
	s.trace = append(s.trace, fmt.Sprintf("%8.3fs %s %s", time.Since(s.began).Seconds(), kind, fmt.Sprintf(format, args...)))
}

func (s *storm) between(min, max time.Duration) time.Duration {
	return min + time.Duration(s.rng.Int63n(int64(max-min)))
}

func (s *storm) later(d time.Duration, f func() error) {
	s.undo = append(s.undo, healing{time.Now().Add(d), f})
}

// healDue ends the faults whose time is over; all ends every one.
func (s *storm) healDue(all bool) error {
	rest := s.undo[:0]
	for _, h := range s.undo {
		if !all && time.Now().Before(h.at) {
			rest = append(rest, h)
			continue
		}
		if err := h.f(); err != nil {
			return err
		}
	}
	s.undo = rest
	return nil
}

// away counts the nodes that do not take part. A cluster of one may lose its only node.
func (s *storm) away() int {
	n := 0
	for _, h := range s.c.hosts {
		if h.run == nil || h.paused {
			n++
		}
	}
	return n
}

func (s *storm) mayLose() bool { return s.away() < max(s.down, 1) }

// blow does one fault.
func (s *storm) blow() {
	h := s.c.hosts[s.rng.Intn(len(s.c.hosts))]
	switch n := s.rng.Intn(10); {
	case n < 4:
		s.kill(h)
	case n < 5:
		s.stop(h)
	case n < 7:
		s.isolate(h)
	case n < 8:
		s.oneWay(h)
	default:
		s.slow(h)
	}
}

func (s *storm) kill(h *host) {
	if h.run == nil || !s.mayLose() {
		return
	}
	mode, kind := vfs.ProcessKill, "kill"
	if !s.lossy && len(s.c.hosts) > 1 && s.rng.Intn(4) == 0 {
		mode, kind, s.lossy = vfs.PowerLoss, "power loss", true
	}
	h.kill(s.rng, mode)
	down := s.between(time.Millisecond, 20*time.Second)
	s.note(kind, "%s for %v", h.name, down)
	s.later(down, func() error {
		s.note("start", "%s", h.name)
		return h.start()
	})
}

// stop ends the node as SIGTERM does, beside the schedule.
func (s *storm) stop(h *host) {
	if h.run == nil || !s.mayLose() {
		return
	}
	down := s.between(time.Millisecond, 20*time.Second)
	s.note("stop", "%s for %v", h.name, down)
	stopped := h.stop(10 * time.Second)
	s.later(down, func() error {
		<-stopped
		s.note("start", "%s", h.name)
		return h.start()
	})
}

// isolate holds everything to and from the host back, as a pause of the process or of
// its link does.
func (s *storm) isolate(h *host) {
	if h.paused || h.run == nil || !s.mayLose() {
		return
	}
	h.paused = true
	peers := s.peers(h)
	for _, p := range peers {
		s.c.net.Cut(h.name, p)
		s.c.net.Cut(p, h.name)
	}
	d := s.between(100*time.Millisecond, 25*time.Second)
	s.note("isolate", "%s for %v", h.name, d)
	s.later(d, func() error {
		h.paused = false
		for _, p := range peers {
			s.c.net.Heal(h.name, p)
			s.c.net.Heal(p, h.name)
		}
		return nil
	})
}

// oneWay holds back what the host sends to one other node.
func (s *storm) oneWay(h *host) {
	if len(s.c.hosts) == 1 || h.paused {
		return
	}
	p := s.c.hosts[s.rng.Intn(len(s.c.hosts))]
	if p == h || p.paused {
		return
	}
	s.c.net.Cut(h.name, p.name)
	d := s.between(100*time.Millisecond, 15*time.Second)
	s.note("one way", "%s to %s for %v", h.name, p.name, d)
	s.later(d, func() error { s.c.net.Heal(h.name, p.name); return nil })
}

// slow delays what the host sends to everybody.
func (s *storm) slow(h *host) {
	by := s.between(time.Millisecond, 300*time.Millisecond)
	for _, p := range s.peers(h) {
		s.c.net.SetDelay(h.name, p, by)
	}
	d := s.between(100*time.Millisecond, 10*time.Second)
	s.note("slow", "%s by %v for %v", h.name, by, d)
	s.later(d, func() error {
		for _, p := range s.peers(h) {
			s.c.net.SetDelay(h.name, p, 0)
		}
		return nil
	})
}

// peers are all other hosts, clients included.
func (s *storm) peers(h *host) []string {
	out := append([]string{}, clientHosts...)
	for _, p := range s.c.hosts {
		if p != h {
			out = append(out, p.name)
		}
	}
	return out
}

// String is the schedule so far.
func (s *storm) String() string { return strings.Join(s.trace, "\n") }
