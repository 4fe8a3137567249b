package replica

import (
	"errors"
	"testing"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/vfs"
)

// TestBrokersBehindTheMetadata (R18): while one of two brokers has not heard of the last
// election, of a new topic or of a deletion, it refuses as somebody whom clients ask
// again, acknowledges nothing, and serves nothing wrong; then it has caught up.
func TestBrokersBehindTheMetadata(t *testing.T) {
	c := newCluster(t, 1, 2)
	c.topic("t", 1, 1, 2)
	c.nodes[1].catchUp()
	if s, _ := c.nodes[2].append("t", 0, AcksLeader, records1("early")); s.Err != kafka.UnknownTopicOrPartition {
		t.Fatalf("a topic that the broker has not heard of: %v", s.Err)
	}
	c.catchUp()
	c.produce("t", "a")
	c.settle()

	// The new leader has not heard of its election: nobody takes records.
	c.elect("t", 0, 2)
	c.nodes[1].catchUp()
	for _, id := range c.ids() {
		if s, _ := c.nodes[id].append("t", 0, AcksLeader, records1("nobody")); !errors.Is(s.Err, kafka.NotLeaderOrFollower) {
			t.Fatalf("node %d: %v", id, s.Err)
		}
	}
	c.nodes[2].catchUp()
	c.produce("t", "b")
	c.settle()

	// The old leader has not heard of its successor: it takes records and acknowledges
	// none, and they are gone when it hears.
	c.elect("t", 0, 1)
	c.nodes[1].catchUp()
	lost, done := c.nodes[2].append("t", 0, AcksAll, records1("lost"))
	if done {
		t.Fatalf("the old leader answered at once: %v", lost.Err)
	}
	c.produce("t", "c")
	for range 5 {
		c.nodes[1].follow()
		if ok, err := lost.acked(); ok {
			t.Fatalf("the old leader answered: %v", err)
		}
	}
	c.nodes[2].catchUp()
	if ok, err := lost.acked(); !ok || !errors.Is(err, kafka.NotLeaderOrFollower) {
		t.Fatalf("answered %t, %v", ok, err)
	}
	c.settle()
	c.audit()
	got := values(t, c.nodes[2].log("t", 0))
	if len(got) != 3 || got[0] != "a" || got[1] != "b" || got[2] != "c" {
		t.Errorf("the log holds %v", got)
	}
}

// TestTopicCreatedAndDeletedInOneStep (R18, KAFKA-19497): a broker learns of both at once
// and of what came after.
func TestTopicCreatedAndDeletedInOneStep(t *testing.T) {
	c := newCluster(t, 1, 2)
	c.topic("t", 1, 1, 2)
	c.catchUp()
	c.produce("t", "kept")
	r := records.NewRemoveTopicRecord()
	r.TopicID = c.topic("gone", 1, 1, 2)
	delete(c.topics, "gone")
	c.commit(r)
	last := len(c.log) - 1
	c.log[last-1] = append(c.log[last-1], c.log[last]...)
	c.log = c.log[:last]
	c.catchUp()
	for _, n := range c.nodes {
		if n.m.Get("gone", 0) != nil {
			t.Errorf("node %d has the topic", n.id)
		}
	}
	c.settle()
	c.audit()
}

// TestProducersAreFencedByTheNextLeader (T8): epochs of producers go to the followers with
// the records, and through a restart.
func TestProducersAreFencedByTheNextLeader(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	c.topic("t", 1, 1, 2, 3)
	c.catchUp()
	for round := range int16(9) {
		l := c.leader("t", 0)
		if s, _ := l.append("t", 0, AcksLeader, ofEpoch(7, round+1, 0, "new")); s.Err != nil {
			t.Fatal(s.Err)
		}
		c.settle()
		next := c.nodes[l.id%3+1]
		switch round % 3 {
		case 1:
			next.stop()
			next.start()
			c.settle()
		case 2:
			next.crash(nil, vfs.ProcessKill)
			next.start()
			c.settle()
		}
		c.elect("t", 0, next.id)
		c.catchUp()
		if s, _ := next.append("t", 0, AcksLeader, ofEpoch(7, round, 1, "zombie")); !errors.Is(s.Err, kafka.InvalidProducerEpoch) {
			t.Fatalf("round %d: a producer that was fenced: %v", round, s.Err)
		}
		if s, _ := next.append("t", 0, AcksLeader, ofEpoch(7, round+1, 0, "new")); s.Err != nil || s.BaseOffset != int64(round) {
			t.Fatalf("round %d: the new one's duplicate: offset %d, %v", round, s.BaseOffset, s.Err)
		}
	}
	c.settle()
	c.audit()
}
