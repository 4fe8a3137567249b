package replica

import (
	"testing"
)

// TestSkippedEpochDoesNotCountOldEnds: a leader hears at once of an epoch of another leader
// and of its own next one. A follower has cut its log towards the other leader, so that what
// it had fetched before must not count.
func TestSkippedEpochDoesNotCountOldEnds(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	c.topic("t", 1, 1, 2, 3)
	c.catchUp()
	c.produce("t", "everybody's")
	c.settle()
	a, b := c.nodes[1], c.nodes[2]
	s, _ := a.append("t", 0, AcksAll, records1("not on 3"))
	b.follow()
	b.follow()
	if over, err := s.acked(); over {
		t.Fatalf("acknowledged without node 3: %v", err)
	}
	c.elect("t", 0, 3)
	c.nodes[3].catchUp()
	b.catchUp()
	b.follow()
	if end := b.log("t", 0).LogEndOffset(); end != 1 {
		t.Fatalf("node 2 ends at %d, it should have cut off what node 3 does not have", end)
	}
	c.fence(3)
	a.applyAtOnce()
	if p := c.truth.Partition("t", 0); p.Leader != 1 || len(p.ISR) != 2 || p.LeaderEpoch < 2 {
		t.Fatalf("leader %d, ISR %v, leader epoch %d", p.Leader, p.ISR, p.LeaderEpoch)
	}
	if over, err := s.acked(); over {
		t.Errorf("acknowledged (%v), and only the leader has it", err)
	}
	if hw := a.log("t", 0).HighWatermark(); hw != 1 {
		t.Errorf("the high watermark is %d, and node 2 ends at 1", hw)
	}
	c.catchUp()
	b.follow()
	b.follow()
	b.follow()
	if over, err := s.acked(); !over || err != nil {
		t.Errorf("node 2 has it again: over %v, %v", over, err)
	}
}
