package replica

import (
	"io/fs"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/vfs"
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

// TestFetchOfAnEarlierEpochDoesNotCount: a fetch is verified against the log of one epoch,
// and stalls on the disk until the broker leads again in a later one. By then the follower
// may have cut its log.
func TestFetchOfAnEarlierEpochDoesNotCount(t *testing.T) {
	disk := vfs.NewFault(vfs.NewMem())
	k := newKitOn(t, disk)
	id := k.topic("t", 1, 1, 2)
	k.produce(k.m.Get("t", 0), AcksLeader, "a")
	k.produce(k.m.Get("t", 0), AcksLeader, "b")
	k.reopen() // nothing is in memory any more
	p := k.m.Get("t", 0)
	reads := 0
	disk.Add(vfs.Rule{Op: vfs.OpRead, Path: "*.log", Before: func(vfs.Op, string) {
		reads++
		k.apply(leaderChange(id, 0, 2, nil))
		k.apply(leaderChange(id, 0, 1, nil))
	}})
	op := fetchOp(new(recorder), p)
	op.ReplicaID, op.BrokerEpoch, op.Isolation, op.OnlyLeader = 2, -1, ToLogEnd, true
	op.Parts[0].FetchOffset, op.Parts[0].CurrentLeaderEpoch, op.Parts[0].LastFetchedEpoch = 1, 0, 0
	op.Start(k.m)
	defer op.ReleaseData()
	if reads != 1 {
		t.Fatalf("the fetch read the disk %d times", reads)
	}
	if code := kafka.CodeOf(op.Parts[0].Err); code != kafka.NotLeaderOrFollower {
		t.Errorf("the fetch of leader epoch 0 is answered in epoch 2: %v", op.Parts[0].Err)
	}
	if f := p.leader.Follower(2); f.EndOffset != -1 {
		t.Errorf("the follower counts with the end offset %d of an earlier epoch", f.EndOffset)
	}
}

// TestFetchThatTheLogMovesUnderIsCheckedAgain: a fetch that goes on in the log's new
// directory must not pass as one of the leader epoch that began meanwhile.
func TestFetchThatTheLogMovesUnderIsCheckedAgain(t *testing.T) {
	k := newDirsKit(t, nil)
	p := k.topicIn("t", k.dir("/a"))
	k.fillPart(p, 2)
	k.restart(nil)
	p = k.m.Get("t", 0)
	epoch := p.view.Load().leaderEpoch
	reads := 0
	k.fault.Add(vfs.Rule{Op: vfs.OpRead, Path: "*.log", Err: fs.ErrNotExist, Before: func(vfs.Op, string) {
		reads++
		k.fault.Clear()
		k.move(p, "/b")
		k.elect(p, 1)
	}})
	op := fetchOp(new(recorder), p)
	op.OnlyLeader = true
	op.Parts[0].FetchOffset, op.Parts[0].CurrentLeaderEpoch = 1, epoch
	op.Start(k.m)
	defer op.ReleaseData()
	if reads != 1 {
		t.Fatalf("the fetch read the disk %d times", reads)
	}
	if code := kafka.CodeOf(op.Parts[0].Err); code != kafka.FencedLeaderEpoch {
		t.Errorf("the fetch of leader epoch %d is answered in epoch %d: %v", epoch, p.view.Load().leaderEpoch, op.Parts[0].Err)
	}
}

// TestPositionIsOfOneMoment: what a follower asks for must not be put together from before and
// after a truncation by its other fetcher. The leader would count an end that is gone, or find
// that another epoch matches.
func TestPositionIsOfOneMoment(t *testing.T) {
	disk := vfs.NewFault(vfs.NewMem())
	k := newKitOn(t, disk)
	id := k.topic("t", 1, 1, 2)
	p := k.m.Get("t", 0)
	k.produce(p, AcksLeader, "a")
	k.apply(leaderChange(id, 0, 1, nil))
	k.produce(p, AcksLeader, "b")
	k.apply(leaderChange(id, 0, 2, nil))
	before, err := p.position(2)
	if err != nil || before.offset != 2 || before.lastEpoch != 1 {
		t.Fatalf("%+v, %v", before, err)
	}
	asked := make(chan position, 1)
	began := false
	disk.Add(vfs.Rule{Op: vfs.OpAny, Times: -1, Before: func(vfs.Op, string) {
		if began || p.Log().LogEndOffset() == before.offset {
			return
		}
		began = true
		done := make(chan struct{})
		go func() {
			pos, err := p.position(2)
			if err != nil {
				t.Error(err)
			}
			asked <- pos
			close(done)
		}()
		select {
		case <-done:
		case <-time.After(50 * time.Millisecond): // it waits for the truncation, as it should
		}
	}})
	if _, err := p.reconcile(before, 2, 0, 1); err != nil {
		t.Fatal(err)
	}
	if !began {
		t.Fatal("nothing touches the disk between the cut of the log and that of its epochs")
	}
	if pos := <-asked; pos != before && (pos.offset != 1 || pos.lastEpoch != 0) {
		t.Errorf("a follower asks for %+v: its log ended at offset 2 in epoch 1, and then at 1 in epoch 0", pos)
	}
}
