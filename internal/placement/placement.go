package placement

import (
	"cmp"
	"math/rand"
	"slices"

	"github.com/gregorhq/gregor/internal/kafka"
)

// Broker is one that may get replicas.
type Broker struct {
	ID     int32
	Rack   *string // nil: none
	Fenced bool
}

// Placer spreads replicas over racks and brokers. Partition after partition it
// starts one rack further, and in each rack one broker further, so that leaders
// and replicas come out even; fenced brokers are taken only as followers and only
// after the unfenced ones of their rack.
//
// One round is as many partitions as there are unfenced brokers; after it racks
// and brokers are shuffled, so that the same sets of brokers do not meet again and
// again.
type Placer struct {
	rng      *rand.Rand
	racks    []*rack
	brokers  int // usable
	unfenced int // usable and unfenced
	round    int // partitions placed in this round
	first    int // rack to begin the next partition with
}

// rack is the brokers of one rack; brokers without a rack share one.
type rack struct {
	name     *string
	unfenced ring
	fenced   ring
}

// ring hands out each of its brokers once a partition, beginning one further every
// partition.
type ring struct {
	ids    []int32
	start  int
	taken  int
	serial int // partition that start and taken are about
}

func (r *ring) init(rng *rand.Rand) {
	if len(r.ids) > 0 {
		slices.Sort(r.ids)
		r.start = rng.Intn(len(r.ids))
	}
}

// next returns the ring's next broker for the partition with that serial number.
func (r *ring) next(serial int) (int32, bool) {
	if len(r.ids) == 0 {
		return 0, false
	}
	if r.serial != serial {
		r.serial, r.taken = serial, 0
		r.start = (r.start + 1) % len(r.ids)
	}
	if r.taken == len(r.ids) {
		return 0, false
	}
	id := r.ids[(r.start+r.taken)%len(r.ids)]
	r.taken++
	return id, true
}

func (r *ring) shuffle(rng *rand.Rand) {
	rng.Shuffle(len(r.ids), func(i, j int) { r.ids[i], r.ids[j] = r.ids[j], r.ids[i] })
}

// next prefers unfenced brokers.
func (k *rack) next(serial int) (int32, bool) {
	if id, ok := k.unfenced.next(serial); ok {
		return id, true
	}
	return k.fenced.next(serial)
}

// New takes the brokers that may get new replicas. rng is used by New and Place alone.
func New(brokers []Broker, rng *rand.Rand) *Placer {
	p := &Placer{rng: rng, brokers: len(brokers)}
	for _, b := range brokers {
		k := p.rack(b.Rack)
		if b.Fenced {
			k.fenced.ids = append(k.fenced.ids, b.ID)
		} else {
			k.unfenced.ids = append(k.unfenced.ids, b.ID)
			p.unfenced++
		}
	}
	slices.SortFunc(p.racks, func(a, b *rack) int { return compareRack(a.name, b.name) })
	for _, k := range p.racks {
		k.unfenced.init(rng)
		k.fenced.init(rng)
	}
	if len(p.racks) > 0 {
		p.first = rng.Intn(len(p.racks))
	}
	return p
}

func compareRack(a, b *string) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return -1
	case b == nil:
		return 1
	}
	return cmp.Compare(*a, *b)
}

func (p *Placer) rack(name *string) *rack {
	for _, k := range p.racks {
		if compareRack(k.name, name) == 0 {
			return k
		}
	}
	k := &rack{name: name}
	p.racks = append(p.racks, k)
	return k
}

// Check says why no partition can have that many replicas.
func (p *Placer) Check(replicas int) error {
	switch {
	case replicas <= 0:
		return kafka.InvalidReplicationFactor.Errorf("Invalid replication factor %d: the replication factor must be positive.", replicas)
	case p.unfenced == 0:
		return kafka.InvalidReplicationFactor.Errorf("All brokers are currently fenced, or have all their log directories cordoned.")
	case replicas > p.brokers:
		return kafka.InvalidReplicationFactor.Errorf("The target replication factor of %d cannot be reached because only %d broker(s) are registered or some brokers have all their log directories cordoned.", replicas, p.brokers)
	}
	return nil
}

// Place returns the replicas of the next partition, its leader first. Check must
// have passed.
func (p *Placer) Place(replicas int) []int32 {
	if p.round == p.unfenced && p.unfenced > 1 {
		p.shuffle()
		p.round = 0
	}
	if p.first == len(p.racks) {
		p.first = 0
	}
	out := make([]int32, 0, replicas)
	leaderRack := p.first
	for {
		if id, ok := p.racks[leaderRack].unfenced.next(p.round); ok {
			out = append(out, id)
			break
		}
		leaderRack = (leaderRack + 1) % len(p.racks)
	}
	// The leader's rack has had its turn once when the walk first comes by.
	at, skip := p.first, leaderRack
	for len(out) < replicas {
		if at == skip {
			skip = -1
		} else if id, ok := p.racks[at].next(p.round); ok {
			out = append(out, id)
		}
		at = (at + 1) % len(p.racks)
	}
	p.round++
	p.first++
	return out
}

func (p *Placer) shuffle() {
	p.rng.Shuffle(len(p.racks), func(i, j int) { p.racks[i], p.racks[j] = p.racks[j], p.racks[i] })
	for _, k := range p.racks {
		k.unfenced.shuffle(p.rng)
		k.fenced.shuffle(p.rng)
	}
}
