package placement

import (
	"errors"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/gregorhq/gregor/internal/kafka"
)

func brokers(racks ...string) []Broker {
	var out []Broker
	for i, r := range racks {
		b := Broker{ID: int32(i + 1)}
		if name, fenced := strings.CutSuffix(r, "!"); name != "" {
			b.Rack, b.Fenced = &name, fenced
		}
		out = append(out, b)
	}
	return out
}

// Every partition has its replicas on brokers of its own, in as many racks as there are,
// led by an unfenced one; leaders come out even.
func TestReplicasAreSpread(t *testing.T) {
	for seed := range int64(20) {
		list := brokers("a", "a", "b", "b", "c", "c!")
		p := New(list, rand.New(rand.NewSource(seed)))
		leads := map[int32]int{}
		for range 30 {
			got := p.Place(3)
			var racks []string
			for i, id := range got {
				if slices.Contains(got[:i], id) {
					t.Fatalf("seed %d: %v", seed, got)
				}
				racks = append(racks, *list[id-1].Rack)
			}
			slices.Sort(racks)
			if strings.Join(racks, "") != "abc" || list[got[0]-1].Fenced || slices.Contains(got, 6) {
				t.Fatalf("seed %d: %v", seed, got)
			}
			leads[got[0]]++
		}
		for id := int32(1); id < 6; id++ {
			if leads[id] < 1 || leads[id] > 15 {
				t.Errorf("seed %d: leaders %v", seed, leads)
			}
		}
	}
}

func TestFencedBrokersFollowWhenTheyMust(t *testing.T) {
	p := New(brokers("a", "a!", "b!"), rand.New(rand.NewSource(1)))
	for range 10 {
		if got := p.Place(3); got[0] != 1 || len(got) != 3 {
			t.Fatal(got)
		}
	}
}

func TestImpossibleFactorsAreRefused(t *testing.T) {
	for _, c := range []struct {
		brokers  []Broker
		replicas int
		ok       bool
	}{{brokers("a", "b"), 2, true}, {brokers("a", "b"), 3, false}, {brokers("a", "b"), 0, false}, {brokers("a!"), 1, false}, {nil, 1, false}} {
		if err := New(c.brokers, rand.New(rand.NewSource(1))).Check(c.replicas); (err == nil) != c.ok || err != nil && !errors.Is(err, kafka.InvalidReplicationFactor) {
			t.Errorf("%d of %d: %v", c.replicas, len(c.brokers), err)
		}
	}
}
