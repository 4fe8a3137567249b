package replica

import (
	"sync"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/vfs"
)

// newFlushed is two brokers with a topic that is flushed after every record.
func newFlushed(t *testing.T) *cluster {
	c := newCluster(t, 1, 2)
	c.configure("t", "flush.messages", "1")
	c.topic("t", 1, 1, 2)
	c.catchUp()
	return c
}

// holdSync has the next sync of a log wait until it is let go; held says that it is there.
func (n *tnode) holdSync() (held <-chan struct{}, let func()) {
	here, on := make(chan struct{}), make(chan struct{})
	n.fault.Add(vfs.Rule{Op: vfs.OpSync, Path: "*.log", Before: func(vfs.Op, string) {
		close(here)
		<-on
	}})
	let = sync.OnceFunc(func() { close(on) })
	n.c.t.Cleanup(let) // the node ends after its flusher
	return here, let
}

// eventually waits for what the partition's flusher does on its goroutine.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("does not happen: %s", what)
		}
	}
}

func (p *Partition) isFlushing() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.flushing
}

// isOver says whether an append that was to wait has its outcome.
func (s *AppendSlot) isOver(done bool) bool {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	return done || !s.listed
}

// TestNewLeaderFlushesWhatItsFollowerHadNot: a follower becomes the leader between the append
// of what it has fetched and its flush.
func TestNewLeaderFlushesWhatItsFollowerHadNot(t *testing.T) {
	c := newFlushed(t)
	l, f := c.nodes[1], c.nodes[2]
	l.append("t", 0, AcksLeader, records1("a"))
	before, synced := int64(-1), int64(-1)
	f.fault.Add(vfs.Rule{Op: vfs.OpSync, Path: "*.log", Before: func(vfs.Op, string) {
		c.fence(1)
		f.catchUp()
		before, synced = f.log("t", 0).HighWatermark(), f.log("t", 0).RecoveryPoint()
		if s, done := f.append("t", 0, AcksAll, records1("b")); s.isOver(done) {
			t.Errorf("acknowledged before the sync: %v", s.Err)
		}
	}})
	f.follow()
	f.follow()
	if !f.m.Get("t", 0).IsLeader() {
		t.Fatal("nothing was synced")
	}
	if before > synced {
		t.Errorf("the high watermark is %d, durable is %d", before, synced)
	}
	eventually(t, "the high watermark reaches the log end", func() bool { return f.log("t", 0).HighWatermark() == 2 })
	if synced := f.log("t", 0).RecoveryPoint(); synced != 2 {
		t.Errorf("the high watermark is 2, durable is %d", synced)
	}
}

// TestFollowerClaimsOnlyWhatIsFlushed: whichever fetcher asks next, the request acknowledges.
func TestFollowerClaimsOnlyWhatIsFlushed(t *testing.T) {
	c := newFlushed(t)
	c.nodes[1].append("t", 0, AcksLeader, records1("a"))
	f := c.nodes[2]
	ft, p := f.fetchers()[0], f.m.Get("t", 0)
	if ok, _ := ft.prepare(); !ok {
		t.Fatal("nothing to fetch")
	}
	resp := c.nodes[1].serve(&ft.req)
	pos := ft.order[0].sent
	if _, err := p.replicate(pos, 0, &resp.Topics[0].Partitions[0], &ft.infos, &ft.wakes); err != nil {
		t.Fatal(err)
	}
	pos, err := p.position(0)
	if err != nil || pos.offset != 1 {
		t.Fatalf("%+v, %v", pos, err)
	}
	if synced := p.Log().RecoveryPoint(); synced < pos.offset {
		t.Errorf("the follower asks for offset %d, durable is %d", pos.offset, synced)
	}
}

// TestFlushOfAnEarlierStintDoesNotCount: a flush begins while the broker leads, ends when it
// leads again, and its log was cut in between.
func TestFlushOfAnEarlierStintDoesNotCount(t *testing.T) {
	c := newFlushed(t)
	n := c.nodes[1]
	p := n.m.Get("t", 0)
	s, done := n.append("t", 0, AcksLeader, records1("a"))
	eventually(t, "the first record is acknowledged", func() bool { return s.isOver(done) })
	eventually(t, "the flusher ends", func() bool { return !p.isFlushing() })
	held, let := n.holdSync()
	n.append("t", 0, AcksLeader, records1("cut off"))
	<-held
	c.elect("t", 0, 2)
	n.catchUp()
	pos := position{offset: 2, lastEpoch: 0}
	if _, err := p.reconcile(pos, 1, 0, 1); err != nil || n.log("t", 0).LogEndOffset() != 1 {
		t.Fatal(err, n.log("t", 0).LogEndOffset())
	}
	c.elect("t", 0, 1)
	n.catchUp()
	let()
	eventually(t, "the flusher ends", func() bool { return !p.isFlushing() })
	held, let = n.holdSync()
	s, done = n.append("t", 0, AcksLeader, records1("b"))
	if s.isOver(done) {
		t.Fatalf("acknowledged before the sync (%v), durable is %d", s.Err, n.log("t", 0).RecoveryPoint())
	}
	<-held
	let()
	eventually(t, "the record is acknowledged", func() bool { return s.isOver(done) })
	if synced := n.log("t", 0).RecoveryPoint(); synced != 2 || s.Err != nil {
		t.Errorf("durable is %d; %v", synced, s.Err)
	}
}
