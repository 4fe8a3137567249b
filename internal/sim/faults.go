package sim

import (
	"fmt"
	"maps"
	"math/rand"
	"slices"
	"strings"
	"time"

	"github.com/gregorhq/gregor/internal/vfs"
)

// The faults by the names under which plans weigh them and schedules show them.
const (
	faultKill     = "kill"
	faultDouble   = "kill twice"
	faultPower    = "power loss"
	faultWipe     = "empty disk"
	faultStop     = "stop"
	faultIsolate  = "isolate"
	faultSplit    = "split"
	faultOneWay   = "one way"
	faultMute     = "mute client"
	faultSlow     = "slow"
	faultClock    = "clock step"
	faultReassign = "reassign"
	faultElect    = "elect"
	faultVoters   = "voters"
	faultHandOver = "hand over"
	faultRelapse  = "earlier life"
)

// storm draws faults from the seed. It belongs to the goroutine that runs the schedule.
type storm struct {
	r   *run
	c   *Cluster
	rng *rand.Rand
	// down is how many nodes may be away at a time (dead, paused or cut off): a majority
	// stays.
	down int
	// lossy is the one host whose disk may lose data, as often as it likes:
	// min.insync.replicas-1 such disks are what the cluster promises to survive.
	lossy *host
	draws []string // the names of faults, each as often as it weighs
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

func newStorm(r *run) *storm {
	s := &storm{r: r, c: r.c, rng: r.rng, began: time.Now(), done: map[string]int{}}
	s.down = max(1, (len(r.c.voters)-1)/2)
	if len(s.c.hosts) > 1 {
		s.lossy = s.c.hosts[s.rng.Intn(s.c.brokers)]
	}
	for _, name := range slices.Sorted(maps.Keys(r.plan.Weights)) {
		for range r.plan.Weights[name] {
			s.draws = append(s.draws, name)
		}
	}
	return s
}

func (s *storm) note(kind, format string, args ...any) {
	s.done[kind]++
	s.trace = append(s.trace, fmt.Sprintf("%8.3fs %s %s", time.Since(s.began).Seconds(), kind, fmt.Sprintf(format, args...)))
}

func (s *storm) outage() time.Duration { return magnitude(s.rng, s.r.plan.Outage) }

func (s *storm) later(d time.Duration, f func() error) {
	s.undo = append(s.undo, healing{time.Now().Add(d), f})
}

// next is when the first fault ends.
func (s *storm) next(otherwise time.Time) time.Time {
	for _, h := range s.undo {
		if h.at.Before(otherwise) {
			otherwise = h.at
		}
	}
	return otherwise
}

// healDue ends the faults whose time is over; all ends every one. What a healing begins
// anew counts from then on.
func (s *storm) healDue(all bool) error {
	for i := 0; i < len(s.undo); {
		h := s.undo[i]
		if !all && time.Now().Before(h.at) {
			i++
			continue
		}
		s.undo = slices.Delete(s.undo, i, i+1)
		if err := h.f(); err != nil {
			return err
		}
	}
	return nil
}

// spare says whether the host with the bad disk may lose data now: every partition that
// it counts for must have another replica that is eligible to lead and lives, in the
// incarnation that is known. A replica that was killed counts for nothing when it comes
// back, as nobody can know that its disk kept everything (KIP-966); the promise of
// min.insync.replicas holds for losses from one full set of replicas to the next.
func (s *storm) spare() bool {
	img, _ := s.r.readLedgers()
	me := int32(s.lossy.id)
	for t := range img.Topics() {
		for _, p := range t.Partitions() {
			if !p.InISR(me) && !p.InELR(me) && !slices.Contains(p.LastKnownELR, me) {
				continue
			}
			if !slices.ContainsFunc(s.c.hosts, func(h *host) bool {
				return h != s.lossy && h.settled() && (p.InISR(int32(h.id)) || p.InELR(int32(h.id)))
			}) {
				return false
			}
		}
	}
	return true
}

// mayLose says whether one more node may be away. A cluster of one may lose its only
// node.
func (s *storm) mayLose() bool {
	n := 0
	for _, h := range s.c.hosts {
		if h.run == nil || h.paused {
			n++
		}
	}
	// Until the controller knows of the loss of a disk, nobody else goes: it would take the
	// disk for what it was.
	return n < s.down && (s.lossy == nil || s.lossy.run == nil || s.lossy.settled())
}

// victim is a node, often one that leads something.
func (s *storm) victim() *host {
	if s.rng.Intn(100) < s.r.plan.Aimed {
		if h := s.leader(); h != nil {
			return h
		}
	}
	return s.c.hosts[s.rng.Intn(len(s.c.hosts))]
}

// leader is the node that a client heard of last as the leader of some partition.
func (s *storm) leader() *host {
	id := s.r.h.leader(s.rng.Intn(100))
	if id < 1 || int(id) > len(s.c.hosts) {
		return nil
	}
	return s.c.hosts[id-1]
}

// blow does one fault.
func (s *storm) blow() error {
	h := s.victim()
	switch s.draws[s.rng.Intn(len(s.draws))] {
	case faultKill:
		return s.kill(h, vfs.ProcessKill, faultKill)
	case faultDouble:
		return s.twice()
	case faultPower:
		if s.lossy != nil {
			return s.kill(s.lossy, vfs.PowerLoss, faultPower)
		}
	case faultWipe:
		if s.lossy != nil {
			return s.kill(s.lossy, vfs.ProcessKill, faultWipe)
		}
	case faultStop:
		s.stop(h)
	case faultIsolate:
		s.isolate(h, faultIsolate, s.peers(h))
	case faultSplit:
		s.isolate(h, faultSplit, s.nodes(h))
	case faultOneWay:
		s.oneWay(h)
	case faultMute:
		s.mute(h)
	case faultSlow:
		s.slow(h)
	case faultClock:
		s.stepClock(h)
	case faultReassign:
		s.reassign()
	case faultElect:
		s.elect()
	case faultVoters:
		s.changeVoters()
	case faultHandOver:
		return s.handOver()
	case faultRelapse:
		return s.earlierLife()
	}
	return nil
}

func (s *storm) kill(h *host, mode vfs.CrashMode, kind string) error {
	if h.run == nil || h.paused || !s.mayLose() || kind != faultKill && !s.spare() {
		return nil
	}
	h.kill(s.rng, mode)
	if kind == faultWipe {
		if err := h.wipe(); err != nil {
			return err
		}
	}
	down := s.outage()
	s.note(kind, "%s for %v", h.name, down)
	s.later(down, func() error { return s.start(h) })
	return nil
}

func (s *storm) start(h *host) error {
	s.note("start", "%s", h.name)
	return h.start()
}

// stop ends the node as SIGTERM does, beside the schedule.
func (s *storm) stop(h *host) {
	if h.run == nil || !s.mayLose() {
		return
	}
	down := s.outage()
	s.note(faultStop, "%s for %v", h.name, down)
	stopped := h.stop(10 * time.Second)
	s.later(down, func() error {
		<-stopped
		return s.start(h)
	})
}

// isolate holds everything to and from the host back: from everybody, as a pause of the
// process or of its link does, or from other nodes only, so that clients still reach it.
func (s *storm) isolate(h *host, kind string, peers []string) {
	if h.paused || h.run == nil || !s.mayLose() || len(peers) == 0 {
		return
	}
	h.paused = true
	for _, p := range peers {
		s.c.net.Cut(h.name, p)
		s.c.net.Cut(p, h.name)
	}
	d := s.outage()
	s.note(kind, "%s for %v", h.name, d)
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
	p := s.c.hosts[s.rng.Intn(len(s.c.hosts))]
	if p == h || h.paused || p.paused {
		return
	}
	s.hold(faultOneWay, h.name, p.name)
}

// mute holds back what one client sends to the host. The client gives up and goes on
// elsewhere; what it had sent arrives afterwards.
func (s *storm) mute(h *host) {
	if !h.paused {
		s.hold(faultMute, clientHosts[s.rng.Intn(len(clientHosts))], h.name)
	}
}

func (s *storm) hold(kind, from, to string) {
	s.c.net.Cut(from, to)
	d := s.outage()
	s.note(kind, "%s to %s for %v", from, to, d)
	s.later(d, func() error { s.c.net.Heal(from, to); return nil })
}

// slow delays what the host sends, to each other host by a time of its own: what it
// sends to several of them arrives in another order.
func (s *storm) slow(h *host) {
	peers := s.peers(h)
	most := magnitude(s.rng, 400*time.Millisecond)
	for _, p := range peers {
		s.c.net.SetDelay(h.name, p, time.Duration(s.rng.Int63n(int64(most)+1)))
	}
	d := s.outage()
	s.note(faultSlow, "%s by up to %v for %v", h.name, most, d)
	s.later(d, func() error {
		for _, p := range peers {
			s.c.net.SetDelay(h.name, p, 0)
		}
		return nil
	})
}

// stepClock sets the wall clock of the host.
func (s *storm) stepClock(h *host) {
	by := magnitude(s.rng, 30*time.Minute)
	if s.rng.Intn(2) == 0 {
		by = -by
	}
	h.clock.off.Store(int64(by))
	s.note(faultClock, "%s to %v", h.name, by)
}

// peers are all other hosts, clients included.
func (s *storm) peers(h *host) []string { return append(s.nodes(h), clientHosts...) }

// nodes are the other nodes.
func (s *storm) nodes(h *host) []string {
	var out []string
	for _, p := range s.c.hosts {
		if p != h {
			out = append(out, p.name)
		}
	}
	return out
}

// String is the schedule so far.
func (s *storm) String() string { return strings.Join(s.trace, "\n") }
