package replica

import (
	"context"
	"flag"
	"fmt"
	"math/rand"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/vfs"
)

var (
	firstSeed = flag.Int64("seed", 1, "first seed of the schedules")
	numSeeds  = flag.Int64("seeds", 25, "number of schedules")
)

// TestSeededSchedules runs whole clusters through schedules of elections, lost and late
// messages, metadata that comes late, clocks that are set, crashes and power losses. -seed
// and -seeds choose.
func TestSeededSchedules(t *testing.T) {
	n := *numSeeds
	if testing.Short() {
		n = min(n, 5)
	}
	for seed := *firstSeed; seed < *firstSeed+n; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { newSchedule(t, seed).run(1000) })
	}
}

// schedule is one run.
type schedule struct {
	*cluster
	rng       *rand.Rand
	flights   map[*fetcher]*flight
	alters    map[*Manager]*alterFlight
	producers []*tproducer
	seen      []map[int64]string // by partition: what consumers have read
	down      int32              // the node that is down, 0 for none
	fenced    bool
	stepped   time.Duration // how far the wall clock is ahead
}

// flight is a fetch on its way.
type flight struct {
	resp   *kmsg.FetchResponse
	served bool
}

type alterFlight struct {
	req  *kmsg.AlterPartitionRequest
	sent []alteration
	resp kmsg.Response
}

// tproducer is an idempotent producer of one partition with several batches in flight.
type tproducer struct {
	index   int32
	next    int32 // sequence of the next batch
	flights []*tbatch
	acked   map[string]int64
}

type tbatch struct {
	sequence int32
	slot     *AppendSlot // nil: to be sent (again)
	on       *Manager
}

func newSchedule(t *testing.T, seed int64) *schedule {
	s := &schedule{cluster: newCluster(t, 1, 2, 3), rng: rand.New(rand.NewSource(seed)), flights: map[*fetcher]*flight{}, alters: map[*Manager]*alterFlight{}}
	if seed%2 == 0 {
		s.configureMinISR("t", 2)
	}
	if seed%3 == 0 {
		s.configure("t", "segment.bytes", "2000")
	}
	const partitions = 2
	s.topic("t", partitions, 1, 2, 3)
	s.catchUp()
	for i := range int32(partitions) {
		s.producers = append(s.producers, &tproducer{index: i, acked: map[string]int64{}})
		s.seen = append(s.seen, map[int64]string{})
	}
	return s
}

func (s *schedule) run(steps int) {
	for range steps {
		switch k := s.rng.Intn(100); {
		case k < 22:
			s.produceStep()
		case k < 74:
			s.fetchStep()
		case k < 83:
			s.node().applyOne()
		case k < 89:
			s.alterStep()
		case k < 92:
			s.clock.Advance(time.Duration(s.rng.Intn(200)) * time.Millisecond)
			if s.rng.Intn(4) == 0 {
				s.setClock()
			}
			s.node().m.tick()
		case k < 95:
			s.readStep()
		case k < 98:
			s.electStep()
		default:
			s.crashStep()
		}
		if s.t.Failed() {
			return
		}
	}
	s.heal()
	s.check()
}

// setClock sets the wall clock ahead or back, or right again; by less than an hour, since
// records of a later time than that are refused.
func (s *schedule) setClock() {
	to := time.Duration(s.rng.Intn(3)-1) * 50 * time.Minute
	s.clock.Step(to - s.stepped)
	s.stepped = to
}

// node is a node that is up.
func (s *schedule) node() *tnode {
	for {
		if n := s.nodes[int32(s.rng.Intn(3)+1)]; n.up {
			return n
		}
	}
}

func (s *schedule) produceStep() {
	p := s.producers[s.rng.Intn(len(s.producers))]
	p.reap(s.cluster)
	b := p.unsent()
	if b == nil {
		if len(p.flights) >= 5 {
			return
		}
		b = &tbatch{sequence: p.next}
		p.next++
		p.flights = append(p.flights, b)
	}
	n := s.node()
	if r := n.m.Get("t", p.index); r == nil || !r.IsLeader() {
		return
	}
	// With what is on its way to another leader undecided, a client that sent more would
	// leave a gap that its retries cannot fill.
	if slices.ContainsFunc(p.flights, func(o *tbatch) bool { return o.slot != nil && o.on != n.m }) {
		return
	}
	b.slot, _ = n.append("t", p.index, AcksAll, idempotent(int64(p.index)+100, b.sequence, p.value(b.sequence)))
	b.on = n.m
	p.reap(s.cluster)
}

func (p *tproducer) value(sequence int32) string { return fmt.Sprintf("p%d-%d", p.index, sequence) }

// unsent is the oldest batch that has to be sent (again).
func (p *tproducer) unsent() *tbatch {
	for _, b := range p.flights {
		if b.slot == nil {
			return b
		}
	}
	return nil
}

// reap looks at the outcome of what was sent. After a failure everything from there on
// is sent again, in order, as clients do.
func (p *tproducer) reap(c *cluster) {
	for i, b := range p.flights {
		if b.slot == nil {
			continue
		}
		over, err := b.slot.acked()
		alive := false
		for _, n := range c.nodes {
			alive = alive || n.up && n.m == b.on
		}
		if !over && alive {
			continue
		}
		if over && err == nil {
			p.acked[p.value(b.sequence)] = b.slot.BaseOffset
			continue
		}
		if code := kafka.CodeOf(err); over && code == kafka.OutOfOrderSequenceNumber && i == 0 {
			c.t.Errorf("producer %d, sequence %d: %v", p.index, b.sequence, err)
		}
		for _, later := range p.flights[i:] {
			later.slot = nil
		}
		break
	}
	p.flights = slices.DeleteFunc(p.flights, func(b *tbatch) bool {
		_, ok := p.acked[p.value(b.sequence)]
		return ok
	})
}

// fetchStep moves one fetch on: to the leader, back, or into nowhere.
func (s *schedule) fetchStep() {
	n := s.node()
	list := n.fetchers()
	if len(list) == 0 {
		return
	}
	f := list[s.rng.Intn(len(list))]
	fl := s.flights[f]
	switch {
	case fl == nil:
		if ok, _ := f.prepare(); ok {
			s.flights[f] = &flight{}
		}
		return
	case !fl.served && s.rng.Intn(12) > 0:
		if to := s.nodes[f.leader]; to.up {
			fl.resp, fl.served = to.serve(&f.req), true
			return
		}
	case fl.served && s.rng.Intn(12) > 0:
		if f.peer == nil {
			f.peer = n.m.cluster.Peers(kafka.NodeID(f.leader))
		}
		f.finish(fl.resp, nil)
		delete(s.flights, f)
		return
	}
	f.finish(nil, errUnreachable)
	delete(s.flights, f)
}

func (s *schedule) alterStep() {
	n := s.node()
	fl := s.alters[n.m]
	switch {
	case fl == nil:
		if req, sent := n.m.alter.prepare(); req != nil {
			s.alters[n.m] = &alterFlight{req: req, sent: sent}
		}
		return
	case fl.resp == nil && s.rng.Intn(10) > 0:
		fl.resp, _ = tcontroller{n}.Do(context.Background(), fl.req)
		return
	case fl.resp != nil && s.rng.Intn(10) > 0:
		n.m.alter.finish(fl.sent, fl.resp, nil)
	default:
		n.m.alter.finish(fl.sent, nil, errUnreachable)
	}
	delete(s.alters, n.m)
}

// readStep is a consumer that reads a replica from its start: an offset that was seen
// once has the same record for ever.
func (s *schedule) readStep() {
	n := s.node()
	index := int32(s.rng.Intn(len(s.seen)))
	p := n.m.Get("t", index)
	if p == nil || p.Log() == nil {
		return
	}
	for offset, v := range values(s.t, p.Log()) {
		if old, ok := s.seen[index][offset]; ok && old != v {
			s.t.Errorf("partition %d, offset %d: %q was read, and now %q from node %d", index, offset, old, v, n.id)
		}
		s.seen[index][offset] = v
	}
}

func (s *schedule) electStep() {
	index := int32(s.rng.Intn(len(s.seen)))
	p := s.truth.Partition("t", index)
	if leader := p.ISR[s.rng.Intn(len(p.ISR))]; s.nodes[leader].up && s.truth.Broker(leader).Active() {
		s.elect("t", index, leader)
	}
}

// crashStep kills a node, has its session end, or starts it again; one is down at a time.
func (s *schedule) crashStep() {
	switch {
	case s.down == 0:
		n := s.node()
		mode := vfs.ProcessKill
		if s.rng.Intn(2) == 0 && s.expendable(n.id) {
			mode = vfs.PowerLoss
		}
		if s.rng.Intn(4) == 0 {
			n.stop()
		} else {
			n.crash(s.rng, mode)
		}
		s.down, s.fenced = n.id, false
	case !s.fenced && s.rng.Intn(2) == 0:
		s.fence(s.down)
		s.fenced = true
	default:
		s.nodes[s.down].start()
		s.down = 0
	}
}

// expendable says whether every partition has another member of the ISR that is up: what
// the configuration does not promise to survive is not tried.
func (s *schedule) expendable(id int32) bool {
	for index := range int32(len(s.seen)) {
		if !slices.ContainsFunc(s.truth.Partition("t", index).ISR, func(o int32) bool { return o != id && s.nodes[o].up }) {
			return false
		}
	}
	return true
}

// heal brings everybody back and waits until the producers are done and all is equal.
func (s *schedule) heal() {
	if s.down != 0 {
		s.nodes[s.down].start()
	}
	for _, id := range s.ids() {
		n := s.nodes[id]
		for _, f := range n.fetchers() {
			if s.flights[f] != nil {
				f.finish(nil, errUnreachable)
			}
		}
		if fl := s.alters[n.m]; fl != nil {
			n.m.alter.finish(fl.sent, nil, errUnreachable)
		}
	}
	s.catchUp()
	for range 300 {
		s.round()
		waiting := false
		for _, p := range s.producers {
			p.reap(s.cluster)
			for b := p.unsent(); b != nil; b = p.unsent() {
				leader := s.truth.Partition("t", p.index).Leader
				if leader == metadata.NoLeader {
					break
				}
				b.slot, _ = s.nodes[leader].append("t", p.index, AcksAll, idempotent(int64(p.index)+100, b.sequence, p.value(b.sequence)))
				b.on = s.nodes[leader].m
			}
			waiting = waiting || len(p.flights) > 0
		}
		if !waiting {
			break
		}
	}
	s.settle()
}

func (s *schedule) check() {
	s.audit()
	for _, p := range s.producers {
		if len(p.flights) > 0 {
			s.t.Errorf("producer %d: %d batches were never acknowledged, the first with %v", p.index, len(p.flights), p.flights[0].slot)
		}
		have := values(s.t, s.leader("t", p.index).log("t", p.index))
		at := map[string]int64{}
		last := int64(-1)
		for offset := range int64(len(have)) {
			v := have[offset]
			if _, dup := at[v]; dup {
				s.t.Errorf("partition %d: %s is there twice", p.index, v)
			}
			at[v] = offset
		}
		for sequence := range p.next {
			v := p.value(sequence)
			offset, ok := p.acked[v]
			if !ok {
				continue
			}
			if got, there := at[v]; !there || got != offset {
				s.t.Errorf("partition %d: %s was acknowledged at %d and is at %d (%v)", p.index, v, offset, got, there)
			}
			if offset <= last {
				s.t.Errorf("partition %d: %s is out of order", p.index, v)
			}
			last = offset
		}
		for offset, v := range s.seen[p.index] {
			if have[offset] != v {
				s.t.Errorf("partition %d: %q was read at offset %d, where %q is now", p.index, v, offset, have[offset])
			}
		}
	}
}
