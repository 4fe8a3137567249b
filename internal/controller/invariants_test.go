package controller

import (
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/gregorhq/gregor/internal/metadata"
)

// TestInvariants lets brokers come, go, crash and propose ISRs at random, and checks
// after every decision what must hold for every partition at any time.
func TestInvariants(t *testing.T) {
	for _, boot := range []string{
		"boot mv=3.9",
		"boot mv=3.5",
		"boot mv=4.3 min.insync.replicas:2",
		"boot mv=4.4 min.insync.replicas:3 unclean.leader.election.enable:true",
	} {
		for seed := range int64(6) {
			w := newWorld(t)
			rng := rand.New(rand.NewSource(seed))
			lines := []string{boot}
			w.run(boot)
			for range 400 {
				before := w.log.Image()
				line := randomCommand(rng, w)
				lines = append(lines, line)
				w.run(line)
				unclean := strings.Contains(boot, "unclean")
				if err := checkImages(before, w.log.Image(), unclean); err != nil {
					t.Fatalf("seed %d: %v, after\n%s", seed, err, strings.Join(lines[max(0, len(lines)-15):], "\n"))
				}
			}
		}
	}
}

func randomCommand(rng *rand.Rand, w *world) string {
	id := 1 + rng.Intn(5)
	switch rng.Intn(14) {
	case 0:
		return fmt.Sprintf("register %d incarnation=i%d", id, rng.Intn(4))
	case 1:
		prev := int64(-1)
		if b := w.log.Image().Broker(int32(id)); b != nil {
			prev = b.Epoch
		}
		return fmt.Sprintf("register %d incarnation=i%d prev=%d", id, rng.Intn(4), prev)
	case 2:
		return fmt.Sprintf("advance ms=%d", rng.Intn(6000))
	case 3, 4:
		return "tick"
	case 5:
		return fmt.Sprintf("heartbeat %d fence", id)
	case 6:
		return fmt.Sprintf("heartbeat %d shutdown", id)
	case 7:
		return fmt.Sprintf("create t%d partitions=2 rf=%d", rng.Intn(6), 1+rng.Intn(3))
	case 8, 9:
		return randomISR(rng, w)
	case 10:
		how := []string{"preferred", "unclean"}[rng.Intn(2)]
		return fmt.Sprintf("elect %s t%d %d", how, rng.Intn(6), rng.Intn(2))
	case 11:
		if rng.Intn(2) == 0 {
			line := fmt.Sprintf("reassign t%d %d", rng.Intn(6), rng.Intn(2))
			if rng.Intn(3) > 0 {
				var to []string
				for _, r := range rng.Perm(5)[:1+rng.Intn(3)] {
					to = append(to, fmt.Sprint(r+1))
				}
				line += " to=" + strings.Join(to, ",")
			}
			return line
		}
		if rng.Intn(8) == 0 {
			return fmt.Sprintf("unregister %d", id)
		}
	}
	return fmt.Sprintf("heartbeat %d", id)
}

// randomISR is a proposal by a leader, or by somebody who is not.
func randomISR(rng *rand.Rand, w *world) string {
	topic, index := fmt.Sprintf("t%d", rng.Intn(6)), int32(rng.Intn(2))
	p := w.log.Image().Partition(topic, index)
	if p == nil {
		return "tick"
	}
	leader := p.Leader
	if rng.Intn(8) == 0 {
		leader = 1 + rng.Int31n(5)
	}
	var isr []string
	for _, r := range p.Replicas {
		if r == leader || rng.Intn(2) == 0 {
			isr = append(isr, fmt.Sprint(r))
		}
	}
	return fmt.Sprintf("isr %d %s %d isr=%s", leader, topic, index, strings.Join(isr, ","))
}

func checkImages(before, after *metadata.Image, unclean bool) error {
	for t := range after.Topics() {
		old := before.TopicByID(t.ID)
		for i, p := range t.Partitions() {
			if err := checkPartition(after, p); err != nil {
				return fmt.Errorf("%s-%d %+v: %w", t.Name, i, *p, err)
			}
			if old == nil || old.Partition(i) == nil {
				continue
			}
			if err := checkStep(old.Partition(i), p, unclean); err != nil {
				return fmt.Errorf("%s-%d %+v -> %+v: %w", t.Name, i, *old.Partition(i), *p, err)
			}
		}
	}
	return nil
}

// checkPartition holds for every state.
func checkPartition(img *metadata.Image, p *metadata.Partition) error {
	active := func(id int32) bool { b := img.Broker(id); return b != nil && b.Active() }
	seen := map[int32]bool{}
	for _, id := range slices.Concat(p.ISR, p.ELR) {
		if seen[id] || !p.HasReplica(id) {
			return fmt.Errorf("%d is twice in ISR and ELR, or no replica", id)
		}
		seen[id] = true
	}
	switch {
	case len(p.Directories) != len(p.Replicas):
		return fmt.Errorf("%d directories", len(p.Directories))
	case len(p.ISR) == 0 && !img.ELREnabled():
		return fmt.Errorf("the ISR is empty")
	case p.HasLeader() && !p.InISR(p.Leader):
		return fmt.Errorf("the leader is not in the ISR")
	case p.HasLeader() && !active(p.Leader):
		return fmt.Errorf("the leader is not active")
	}
	if !p.HasLeader() && !img.ELREnabled() {
		return nil // the ISR is who led last
	}
	for _, id := range p.ISR {
		if !active(id) {
			return fmt.Errorf("broker %d in the ISR is not active", id)
		}
	}
	return nil
}

// checkStep holds between two states: epochs only grow, and whoever leads next has
// every acknowledged record unless the change says otherwise.
func checkStep(old, p *metadata.Partition, unclean bool) error {
	if p.LeaderEpoch < old.LeaderEpoch || p.PartitionEpoch < old.PartitionEpoch {
		return fmt.Errorf("an epoch went back")
	}
	if p.PartitionEpoch == old.PartitionEpoch && !p.Equal(old) {
		return fmt.Errorf("a change without a new partition epoch")
	}
	if p.Leader == old.Leader {
		return nil
	}
	if p.LeaderEpoch == old.LeaderEpoch {
		return fmt.Errorf("another leader in the same epoch")
	}
	if p.HasLeader() && !old.InISR(p.Leader) && !old.InELR(p.Leader) {
		lastKnown := slices.Equal(old.LastKnownELR, []int32{p.Leader}) && len(old.ISR)+len(old.ELR) == 0
		if !unclean && !lastKnown {
			// ElectLeaders may ask for an unclean election of a leaderless partition.
			if old.HasLeader() {
				return fmt.Errorf("a leader that was neither in ISR nor in ELR")
			}
		}
		if p.LeaderRecoveryState != metadata.LeaderRecovering {
			return fmt.Errorf("an unclean leader that does not recover")
		}
	}
	return nil
}
