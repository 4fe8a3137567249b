package replica

import (
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/vfs"
)

// TestRaisedMinISRIsHeededBeforeItIsKnown: the controller goes by a min.insync.replicas that
// the leader does not know yet, and keeps a replica that leaves the ISR as an eligible leader
// (KIP-966). Nothing may be acknowledged that this replica does not have.
func TestRaisedMinISRIsHeededBeforeItIsKnown(t *testing.T) {
	c := newCluster(t, 1, 2)
	c.configureMinISR("t", 1)
	c.topic("t", 1, 1, 2)
	c.catchUp()
	c.produce("t", "a")
	c.nodes[2].follow()
	c.nodes[2].follow()
	c.configureMinISR("t", 2)
	c.clock.Advance(2 * time.Second)
	s, _ := c.nodes[1].append("t", 0, AcksAll, records1("b"))
	c.nodes[1].m.tick()
	if !c.nodes[1].proposals(false) || len(c.truth.Partition("t", 0).ISR) != 1 {
		t.Fatalf("ISR %v", c.truth.Partition("t", 0).ISR)
	}
	c.nodes[1].m.tick()
	if over, err := s.acked(); over && err == nil {
		t.Fatal("acknowledged without a replica that is eligible as leader")
	}
	// What the leader gets first is in the order of the metadata's log.
	c.nodes[1].applyOne()
	c.nodes[1].catchUp()
	if over, err := s.acked(); over && err == nil {
		t.Fatal("acknowledged below min.insync.replicas")
	}
	// The leader is lost, with its disk. The other one, as the controller has it, leads.
	c.nodes[1].crash(nil, vfs.ProcessKill)
	r := leaderChange(c.topics["t"], 0, 2, []int32{2})
	c.commit(r)
	c.nodes[2].catchUp()
	c.nodes[1].fs = newDisk(t)
	c.nodes[1].start()
	c.settle()
	c.audit()
	if over, err := s.acked(); over && err == nil {
		t.Fatal("acknowledged and lost")
	}
	if code := kafka.CodeOf(s.Err); code != kafka.NotLeaderOrFollower {
		t.Errorf("the append ended with %v", s.Err)
	}
}

// TestHighWatermarkFollowsTheImageOfAShrink: when the metadata has what the answer said, the
// replica that was removed holds nobody up any more.
func TestHighWatermarkFollowsTheImageOfAShrink(t *testing.T) {
	c := newCluster(t, 1, 2)
	c.topic("t", 1, 1, 2)
	c.catchUp()
	s, _ := c.nodes[1].append("t", 0, AcksAll, records1("a"))
	c.clock.Advance(2 * time.Second)
	c.nodes[1].m.tick()
	c.nodes[1].proposals(false)
	if over, _ := s.acked(); over {
		t.Fatal("acknowledged before the metadata has the ISR")
	}
	c.nodes[1].catchUp()
	if over, err := s.acked(); !over || err != nil {
		t.Fatalf("over %v, %v", over, err)
	}
}
