package replica

import (
	"fmt"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/vfs"
)

// TestRaisedMinISRIsHeededBeforeItIsKnown: the controller goes by a min.insync.replicas that
// the leader does not know yet, and keeps a replica that leaves the ISR as an eligible leader
// (KIP-966). Nothing may be acknowledged that this replica does not have.
func TestRaisedMinISRIsHeededBeforeItIsKnown(t *testing.T) {
	// The image has both at once where the loader lags.
	for _, atOnce := range []bool{false, true} {
		t.Run(fmt.Sprintf("at once %v", atOnce), func(t *testing.T) { raiseMinISR(t, atOnce) })
	}
}

func raiseMinISR(t *testing.T, atOnce bool) {
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
	if atOnce {
		c.nodes[1].applyAtOnce()
	} else {
		c.nodes[1].catchUp()
	}
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

// TestMinISRIsThatOfTheSameImage: an ISR is judged by the min.insync.replicas of the image
// that it is in, whichever of both is looked at first and whether the value is the topic's
// own or the default of all brokers.
func TestMinISRIsThatOfTheSameImage(t *testing.T) {
	for _, c := range []struct {
		name       string
		start, end int
		change     func(c *cluster)
	}{
		{"raised, and a follower fenced", 1, 2, func(c *cluster) { c.fence(2) }},
		{"lowered, and another has led meanwhile", 2, 1, func(c *cluster) {
			c.commit(leaderChange(c.topics["t"], 0, 2, []int32{2}))
		}},
	} {
		for _, ofTopic := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, of the topic %v", c.name, ofTopic), func(t *testing.T) {
				minISROfOneImage(t, c.start, c.end, ofTopic, c.change)
			})
		}
	}
}

func minISROfOneImage(t *testing.T, start, end int, ofTopic bool, change func(c *cluster)) {
	c := newCluster(t, 1, 2)
	set := func(n int) { c.configureMinISR("t", n) }
	if !ofTopic {
		set = func(n int) {
			// The publisher of dynamic configurations comes before the one of images.
			cfg, _ := c.nodes[1].m.config.WithDynamic(nil, map[string]string{"min.insync.replicas": fmt.Sprint(n)})
			c.nodes[1].m.Reconfigure(cfg)
		}
	}
	set(start)
	c.topic("t", 1, 1, 2)
	c.catchUp()
	s, _ := c.nodes[1].append("t", 0, AcksAll, records1("a"))
	if start > 1 {
		// The follower stalls, and is in the ELR then.
		c.commit(leaderChange(c.topics["t"], 0, metadata.NoLeaderChange, []int32{1}))
		c.catchUp()
	}
	change(c)
	set(end)
	c.nodes[1].applyAtOnce()
	if over, err := s.acked(); over && err == nil {
		t.Fatal("acknowledged by the leader alone")
	}
	// Later ones go by the new value.
	c.elect("t", 0, c.truth.Partition("t", 0).ISR[0])
	c.catchUp()
	l := c.leader("t", 0).m.Get("t", 0)
	if got := l.leader.MinISR(); l.m.nodeID == 1 && got != end {
		t.Errorf("min.insync.replicas is %d, want %d", got, end)
	}
}

// TestLoweredDefaultOfMinISRComesWithItsImage: not before it, and without any change of the
// partitions.
func TestLoweredDefaultOfMinISRComesWithItsImage(t *testing.T) {
	c := newCluster(t, 1, 2)
	m := c.nodes[1].m
	set := func(n int) {
		cfg, _ := m.config.WithDynamic(nil, map[string]string{"min.insync.replicas": fmt.Sprint(n)})
		m.Reconfigure(cfg)
	}
	set(2)
	c.topic("t", 1, 1, 2)
	c.catchUp()
	s, _ := c.nodes[1].append("t", 0, AcksAll, records1("a"))
	c.fence(2)
	c.catchUp()
	set(1)
	if over, _ := s.acked(); over {
		t.Fatal("acknowledged by a value whose image has not come")
	}
	c.configure("other", "retention.ms", "1000")
	c.nodes[1].applyAtOnce()
	if over, err := s.acked(); !over || err != nil {
		t.Fatalf("over %v, %v", over, err)
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
