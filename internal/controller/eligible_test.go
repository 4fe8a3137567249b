package controller

import (
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/gregorhq/gregor/internal/metadata"
)

// TestWhoeverLeadsHasEverything lets brokers stop and come back while min.insync.replicas changes
// and eligible leader replicas are turned on and off. A leader acknowledges whenever its ISR is
// large enough; whoever leads without recovery must have all of that, and in the end, with every
// broker back, every partition is led.
func TestWhoeverLeadsHasEverything(t *testing.T) {
	for seed := range int64(120) {
		w := newWorld(t)
		rng := rand.New(rand.NewSource(seed))
		crashes := seed%2 == 1 // then nobody counts who has what
		lines := []string{"boot mv=4.3"}
		for i := range 4 {
			lines = append(lines, fmt.Sprintf("register %d", i+1), fmt.Sprintf("heartbeat %d", i+1))
		}
		for i := range 4 {
			lines = append(lines, fmt.Sprintf("create t%d rf=%d", i, 1+i%3))
		}
		for _, line := range lines {
			w.run(line)
		}
		has := map[string][]int32{}
		for range 300 {
			lines = append(lines, eligibleCommand(rng, w, crashes))
			w.run(lines[len(lines)-1])
			if err := acknowledge(w, has); err != nil && !crashes {
				t.Fatalf("seed %d: %v, after\n%s", seed, err, strings.Join(lines[max(0, len(lines)-30):], "\n"))
			}
		}
		for i := range 8 {
			w.run(fmt.Sprintf("heartbeat %d", 1+i%4))
		}
		for topic := range w.log.Image().Topics() {
			if p := topic.Partition(0); !p.HasLeader() {
				t.Errorf("seed %d: nobody leads %s: %+v, after\n%s", seed, topic.Name, *p, strings.Join(lines[max(0, len(lines)-30):], "\n"))
			}
		}
	}
}

func eligibleCommand(rng *rand.Rand, w *world, crashes bool) string {
	id, topic, minISR := 1+rng.Intn(4), fmt.Sprintf("t%d", rng.Intn(4)), 1+rng.Intn(3)
	switch rng.Intn(12) {
	case 0:
		return fmt.Sprintf("incremental topic:%s set:min.insync.replicas=%d", topic, minISR)
	case 1:
		return fmt.Sprintf("incremental broker: set:min.insync.replicas=%d", minISR)
	case 2:
		return fmt.Sprintf("incremental topic:%s delete:min.insync.replicas", topic)
	case 3:
		if w.log.Image().ELREnabled() {
			return "features eligible.leader.replicas.version=0 safe"
		}
		return "features eligible.leader.replicas.version=1"
	case 4, 5:
		return fmt.Sprintf("heartbeat %d fence", id)
	case 6:
		w.nowMs += 9001 // no session stands in the way
		clean := " clean"
		if crashes && rng.Intn(2) == 0 {
			clean = ""
		}
		return fmt.Sprintf("register %d incarnation=i%d%s", id, rng.Intn(1000), clean)
	case 7, 8:
		return randomISR(rng, w)
	}
	return fmt.Sprintf("heartbeat %d", id)
}

// acknowledge has every leader that may do so acknowledge a record, which its ISR has and nobody
// else. has are those who have every acknowledged record, by topic.
func acknowledge(w *world, has map[string][]int32) error {
	d := w.m.decide(w.input())
	for t := range d.img.Topics() {
		p := t.Partition(0)
		if has[t.Name] == nil {
			has[t.Name] = p.Replicas
		}
		if !p.HasLeader() {
			continue
		}
		if !slices.Contains(has[t.Name], p.Leader) && p.LeaderRecoveryState == metadata.LeaderRecovered {
			return fmt.Errorf("%s: %v have everything, %+v", t.Name, has[t.Name], *p)
		}
		if len(p.ISR) < d.minISR(t) {
			has[t.Name] = append(slices.Clone(has[t.Name]), p.ISR...) // they have caught up
			continue
		}
		has[t.Name] = p.ISR
		if d.elr && len(p.ELR) > 0 {
			return fmt.Errorf("%s: eligible beside an ISR that acknowledges: %+v", t.Name, *p)
		}
	}
	return nil
}
