package replica

import (
	"fmt"
	"math/rand"
	"slices"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/vfs"
)

// idempotent is a batch of one record of a producer.
func idempotent(pid int64, sequence int32, value string) []byte {
	return ofEpoch(pid, 0, sequence, value)
}

func ofEpoch(pid int64, epoch int16, sequence int32, value string) []byte {
	b := batch.NewBuilder(0)
	b.ProducerID, b.ProducerEpoch, b.BaseSequence = pid, epoch, sequence
	b.Append(1_700_000_000_000, []byte("k"), []byte(value), nil)
	out, err := b.Build(nil)
	if err != nil {
		panic(err)
	}
	return out
}

func (c *cluster) leader(topic string, index int32) *tnode {
	return c.nodes[c.truth.Partition(topic, index).Leader]
}

// produce appends with acks=1 to the leader.
func (c *cluster) produce(topic, value string) {
	c.t.Helper()
	if s, done := c.leader(topic, 0).append(topic, 0, AcksLeader, records1(value)); !done || s.Err != nil {
		c.t.Fatal(done, s.Err)
	}
}

// follow makes one fetch of every fetcher of a node.
func (n *tnode) follow() {
	for _, f := range n.fetchers() {
		f.fetch()
	}
}

func TestFollowersReplicateAndCommit(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	c.configureMinISR("t", 2)
	c.topic("t", 1, 1, 2, 3)
	c.catchUp()
	s, done := c.nodes[1].append("t", 0, AcksAll, records1("a"))
	if done {
		t.Fatalf("acknowledged by the leader alone: %v", s.Err)
	}
	c.nodes[2].follow() // gets the record
	c.nodes[2].follow() // says so
	if over, _ := s.acked(); over {
		t.Fatal("acknowledged while a member of the ISR does not have it")
	}
	c.nodes[3].follow()
	c.nodes[3].follow()
	if over, err := s.acked(); !over || err != nil {
		t.Fatalf("over %v, %v", over, err)
	}
	c.settle()
	c.audit()
	if got := c.nodes[3].log("t", 0).HighWatermark(); got != 1 {
		t.Errorf("the follower's high watermark is %d", got)
	}
}

func (c *cluster) configureMinISR(topic string, n int) {
	c.configure(topic, "min.insync.replicas", fmt.Sprint(n))
}

// TestAckedRecordsSurviveAlternatingBounces: the leader dies before its followers learn
// of the high watermark, over and over, with what was not synced (R1).
func TestAckedRecordsSurviveAlternatingBounces(t *testing.T) {
	c := newCluster(t, 1, 2)
	rng := rand.New(rand.NewSource(1))
	c.topic("t", 1, 1, 2)
	c.catchUp()
	acked := map[string]bool{}
	for round := range 12 {
		value := fmt.Sprint("v", round)
		l := c.leader("t", 0)
		follower := c.nodes[3-l.id]
		s, _ := l.append("t", 0, AcksAll, records1(value))
		follower.follow()
		follower.follow()
		if over, err := s.acked(); !over || err != nil {
			t.Fatalf("round %d: %v, %v", round, over, err)
		}
		acked[value] = true
		if hw := follower.log("t", 0).HighWatermark(); round > 0 && hw > int64(round) {
			// The second fetch told the leader; its answer carried the old watermark or the new one.
			_ = hw
		}
		// The follower restarts first, so that what it knows of the watermark is its checkpoint.
		follower.crash(rng, vfs.ProcessKill)
		c.fence(l.id)
		follower.start()
		l.crash(rng, vfs.PowerLoss)
		follower.catchUp()
		if got := c.truth.Partition("t", 0).Leader; got != follower.id {
			// The ISR was cut to the leader when the follower went: it must come back first.
			l.start()
			c.settle()
			continue
		}
		l.start()
		c.settle()
	}
	c.settle()
	c.audit()
	have := map[string]bool{}
	for _, v := range values(t, c.leader("t", 0).log("t", 0)) {
		have[v] = true
	}
	for v := range acked {
		if !have[v] {
			t.Errorf("%s was acknowledged and is gone", v)
		}
	}
}

// TestRestartedFollowerKeepsWhatIsAboveItsWatermark: a follower that comes back with a
// high watermark behind its log end cuts nothing off that the leader has (R1).
func TestRestartedFollowerKeepsWhatIsAboveItsWatermark(t *testing.T) {
	c := newCluster(t, 1, 2)
	c.topic("t", 1, 1, 2)
	c.catchUp()
	for i := range 5 {
		c.produce("t", fmt.Sprint(i))
	}
	c.nodes[2].follow()
	if l := c.nodes[2].log("t", 0); l.LogEndOffset() != 5 || l.HighWatermark() != 0 {
		t.Fatalf("end %d, watermark %d", l.LogEndOffset(), l.HighWatermark())
	}
	c.nodes[2].crash(nil, vfs.ProcessKill)
	c.nodes[2].start()
	c.catchUp()
	c.nodes[2].follow()
	if n := c.nodes[2].m.Stats.Truncations.Load(); n != 0 {
		t.Errorf("truncated %d times", n)
	}
	if end := c.nodes[2].log("t", 0).LogEndOffset(); end != 5 {
		t.Errorf("the log ends at %d", end)
	}
}

// divergent leaves node 2 with records of its own leader epochs that node 1, the leader
// of a later one, does not have.
func divergent(t *testing.T) *cluster {
	c := newCluster(t, 1, 2)
	c.topic("t", 1, 1, 2)
	c.catchUp()
	c.produce("t", "both")
	c.nodes[2].follow()
	c.nodes[2].follow()
	// Two elections within one fetch interval: each leader appends alone.
	for i, leader := range []int32{2, 1, 2} {
		c.elect("t", 0, leader)
		n := c.nodes[leader]
		n.catchUp()
		for k := range 2 + i {
			if s, done := n.append("t", 0, AcksLeader, records1(fmt.Sprintf("%d-%d", i, k))); !done || s.Err != nil {
				t.Fatal(done, s.Err)
			}
		}
	}
	c.elect("t", 0, 1)
	c.catchUp()
	return c
}

// TestFollowerTruncatesUntilEpochAndOffsetMatch (R2, KIP-279).
func TestFollowerTruncatesUntilEpochAndOffsetMatch(t *testing.T) {
	c := divergent(t)
	f := c.nodes[2]
	before := f.log("t", 0).EpochEntries()
	if len(before) < 3 {
		t.Fatalf("epochs %v", before)
	}
	c.settle()
	c.audit()
	if n := f.m.Stats.Truncations.Load(); n < 2 {
		t.Errorf("truncated %d times; the epochs %v need more than one round", n, before)
	}
	if a, b := c.nodes[1].log("t", 0).LogEndOffset(), f.log("t", 0).LogEndOffset(); a != b {
		t.Errorf("ends %d and %d", a, b)
	}
}

// TestDivergingAnswerDoesNotRaiseTheWatermark (R11, KAFKA-14704): truncate first.
func TestDivergingAnswerDoesNotRaiseTheWatermark(t *testing.T) {
	c := divergent(t)
	f := c.nodes[2]
	hw, end := f.log("t", 0).HighWatermark(), f.log("t", 0).LogEndOffset()
	ft := f.fetchers()[0]
	if ok, _ := ft.prepare(); !ok {
		t.Fatal("nothing to fetch")
	}
	resp := c.nodes[1].serve(&ft.req)
	if d := resp.Topics[0].Partitions[0].DivergingEpoch; d.Epoch < 0 {
		t.Fatal("the leader does not notice")
	}
	resp.Topics[0].Partitions[0].HighWatermark = end
	resp.Topics[0].Partitions[0].LogStartOffset = hw
	ft.finish(resp, nil)
	if got := f.log("t", 0).HighWatermark(); got > hw {
		t.Errorf("the high watermark went from %d to %d with records that the leader does not have", hw, got)
	}
	if got := f.log("t", 0).LogEndOffset(); got >= end {
		t.Error("nothing was truncated")
	}
}

// TestAnswerOfAnEarlierEpochIsDropped: what a deposed leader sent arrives after the
// follower has heard of the next one (R2, R3).
func TestAnswerOfAnEarlierEpochIsDropped(t *testing.T) {
	for _, next := range []int32{2, 3} {
		c := newCluster(t, 1, 2, 3)
		c.topic("t", 1, 1, 2, 3)
		c.catchUp()
		c.produce("t", "old leader's")
		f := c.nodes[2].fetchers()[0]
		f.prepare()
		resp := c.nodes[1].serve(&f.req)
		c.elect("t", 0, next)
		c.nodes[2].catchUp()
		f.finish(resp, nil)
		if end := c.nodes[2].log("t", 0).LogEndOffset(); end != 0 {
			t.Errorf("node %d leads, and node 2's log ends at %d: it took records of the old leader after the new epoch began", next, end)
		}
	}
}

// TestBatchesAboveTheRequestsEpochAreLeftOut (KAFKA-18723).
func TestBatchesAboveTheRequestsEpochAreLeftOut(t *testing.T) {
	c := newCluster(t, 1, 2)
	c.topic("t", 1, 1, 2)
	c.catchUp()
	c.produce("t", "a")
	f := c.nodes[2].fetchers()[0]
	f.prepare()
	c.elect("t", 0, 1) // the leader goes on in the next epoch
	c.nodes[1].catchUp()
	c.produce("t", "b")
	d, err := c.nodes[1].log("t", 0).Read(0, 1<<20, 2, true)
	if err != nil {
		t.Fatal(err)
	}
	raw := readAll(t, d)
	d.Release()
	f.req.Topics[0].Partitions[0].CurrentLeaderEpoch = -1
	resp := c.nodes[1].serve(&f.req)
	resp.Topics[0].Partitions[0].RecordBatches = raw
	f.finish(resp, nil)
	if end := c.nodes[2].log("t", 0).LogEndOffset(); end != 1 {
		t.Errorf("the log ends at %d, with records of an epoch that the request did not know", end)
	}
}

// TestRequestsAreFencedByLeaderEpoch (R3).
func TestRequestsAreFencedByLeaderEpoch(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	c.topic("t", 1, 1, 2, 3)
	c.elect("t", 0, 2)
	c.elect("t", 0, 1)
	c.catchUp() // leader epoch 2
	for _, tc := range []struct {
		node  int32
		epoch kafka.LeaderEpoch
		fetch *kafka.Code
		query *kafka.Code
	}{
		{1, -1, nil, nil}, {1, 1, kafka.FencedLeaderEpoch, kafka.FencedLeaderEpoch}, {1, 2, nil, nil}, {1, 3, kafka.UnknownLeaderEpoch, kafka.UnknownLeaderEpoch},
		{2, -1, kafka.NotLeaderOrFollower, kafka.NotLeaderOrFollower}, {2, 1, kafka.FencedLeaderEpoch, kafka.FencedLeaderEpoch},
		{2, 2, kafka.NotLeaderOrFollower, kafka.NotLeaderOrFollower}, {2, 3, kafka.UnknownLeaderEpoch, kafka.UnknownLeaderEpoch},
	} {
		p := c.nodes[tc.node].m.Get("t", 0)
		op := &FetchOp{Owner: new(recorder), ReplicaID: 3, BrokerEpoch: c.nodes[3].epoch, MaxBytes: 1 << 20, Isolation: ToLogEnd, OnlyLeader: true,
			Parts: []FetchPart{{P: p, MaxBytes: 1 << 20, CurrentLeaderEpoch: tc.epoch, LastFetchedEpoch: -1}}}
		op.Start(c.nodes[tc.node].m)
		if got := kafka.CodeOf(op.Parts[0].Err); got != tc.fetch {
			t.Errorf("node %d, epoch %d: Fetch %v", tc.node, tc.epoch, got)
		}
		_, err := p.ListOffset(OffsetQuery{Timestamp: -1, CurrentLeaderEpoch: tc.epoch, OnlyLeader: true})
		if got := kafka.CodeOf(err); got != tc.query {
			t.Errorf("node %d, epoch %d: ListOffsets %v", tc.node, tc.epoch, got)
		}
		_, _, err = p.EndOffsetForEpoch(tc.epoch, 0)
		if got := kafka.CodeOf(err); got != tc.query {
			t.Errorf("node %d, epoch %d: OffsetForLeaderEpoch %v", tc.node, tc.epoch, got)
		}
	}
}

// TestIdlePartitionRejoinsAfterElection: without new records a follower must get back
// into the ISR, whose last epoch the leader has none of (R4).
func TestIdlePartitionRejoinsAfterElection(t *testing.T) {
	c := newCluster(t, 1, 2)
	c.topic("t", 1, 1, 2)
	c.catchUp()
	c.produce("t", "a")
	c.settle()
	for round := range 4 {
		c.nodes[2].crash(nil, vfs.ProcessKill)
		c.fence(2)
		c.catchUp()
		c.elect("t", 0, 1)
		c.catchUp()
		c.nodes[2].start()
		c.settle()
		c.elect("t", 0, 2)
		c.catchUp()
		c.elect("t", 0, 1)
		c.catchUp()
		c.settle()
		if len(c.truth.Partition("t", 0).ISR) != 2 {
			t.Fatalf("round %d: ISR %v", round, c.truth.Partition("t", 0).ISR)
		}
	}
	c.audit()
}

// TestEpochIsDurableBeforeServing: a leader that loses what was not synced knows the
// epoch of its records still (R4, KAFKA-7415).
func TestEpochIsDurableBeforeServing(t *testing.T) {
	c := newCluster(t, 1, 2)
	c.topic("t", 1, 1, 2)
	c.catchUp()
	c.produce("t", "a")
	if err := c.nodes[1].log("t", 0).FlushTo(1); err != nil {
		t.Fatal(err)
	}
	c.elect("t", 0, 2)
	c.elect("t", 0, 1)
	c.catchUp()
	c.produce("t", "b")
	for seed := range int64(5) {
		after := c.nodes[1].fs.Crash(rand.New(rand.NewSource(seed)), vfs.PowerLoss)
		raw, err := vfs.ReadFile(after, "/data/t-0/leader-epoch-checkpoint")
		if err != nil || string(raw) != "0\n2\n0 0\n2 1\n" {
			t.Fatalf("%q, %v", raw, err)
		}
	}
}

// TestHighWatermarkWaitsForProposedMember: a member that is proposed counts from the
// proposal on, whichever way the answer takes (R5).
func TestHighWatermarkWaitsForProposedMember(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	c.topic("t", 1, 1, 2, 3)
	c.catchUp()
	c.fence(3)
	c.register(3)
	c.catchUp()
	leader := c.nodes[1].m.Get("t", 0)
	c.nodes[2].follow()
	c.nodes[3].follow() // has reached the end: the leader proposes it
	if leader.leader.Pending() == nil || leader.leader.Pending().Added != 3 {
		t.Fatalf("no proposal for 3: %+v", leader.leader.Pending())
	}
	c.clock.Advance(time.Hour) // no benefit of the doubt
	s, _ := c.nodes[1].append("t", 0, AcksAll, records1("a"))
	c.nodes[2].follow()
	c.nodes[2].follow()
	if over, _ := s.acked(); over {
		t.Fatal("acknowledged without the proposed member")
	}
	// The controller has committed it, but the answer is lost.
	c.nodes[1].proposals(true)
	c.nodes[2].follow()
	if over, _ := s.acked(); over {
		t.Fatal("acknowledged without a member of the ISR")
	}
	c.catchUp()
	c.nodes[3].follow()
	c.nodes[3].follow()
	if over, err := s.acked(); !over || err != nil {
		t.Fatalf("%v, %v", over, err)
	}
}

// TestImageOfTheSameVersionKeepsTheProposal: the metadata that confirms an answer comes
// after the next proposal was made (R5).
func TestImageOfTheSameVersionKeepsTheProposal(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	c.topic("t", 1, 1, 2, 3)
	c.catchUp()
	c.fence(2)
	c.fence(3)
	c.register(2)
	c.register(3)
	c.catchUp()
	p := c.nodes[1].m.Get("t", 0)
	c.nodes[2].follow()
	c.nodes[1].proposals(false) // 2 is in, by the answer
	c.nodes[3].follow()         // 3 is proposed
	c.nodes[1].catchUp()        // the image that has 2 in
	if x := p.leader.Pending(); x == nil || x.Added != 3 {
		t.Fatalf("the proposal for 3 was forgotten: %+v", x)
	}
}

// TestFetchOfEarlierIncarnationDoesNotCount: a fetch of a broker from before its disk
// was lost must not bring it into the ISR (R7, KIP-903).
func TestFetchOfEarlierIncarnationDoesNotCount(t *testing.T) {
	c := newCluster(t, 1, 2)
	c.topic("t", 1, 1, 2)
	c.catchUp()
	c.produce("t", "a")
	c.nodes[2].follow()
	f := c.nodes[2].fetchers()[0]
	f.prepare() // at offset 1; it is on its way while the broker dies
	ghost := f.req
	c.nodes[2].halt()
	c.nodes[2].fs = newDisk(t)
	c.nodes[2].start()
	c.catchUp()
	resp := c.nodes[1].serve(&ghost)
	if code := resp.Topics[0].Partitions[0].ErrorCode; code != kafka.NotLeaderOrFollower.Num() {
		t.Errorf("answered with code %d", code)
	}
	c.nodes[1].proposals(false)
	if reg := c.truth.Partition("t", 0); slices.Contains(reg.ISR, 2) {
		t.Fatalf("ISR %v, with a broker that has lost its disk", reg.ISR)
	}
	c.settle()
	c.audit()
}

// TestLaggingFollowerLeavesAndComesBack: the ISR shrinks by the tick and grows by a fetch.
func TestLaggingFollowerLeavesAndComesBack(t *testing.T) {
	c := newCluster(t, 1, 2)
	c.topic("t", 1, 1, 2)
	c.catchUp()
	c.settle()
	m := c.nodes[1].m
	c.clock.Advance(time.Hour)
	m.tick()
	if c.nodes[1].proposals(false) {
		t.Fatal("an idle partition's follower was dropped")
	}
	if len(m.lag.parts) != 0 {
		t.Fatalf("%d partitions are watched while nothing lags", len(m.lag.parts))
	}
	c.nodes[2].follow()
	s, _ := c.nodes[1].append("t", 0, AcksAll, records1("a"))
	if len(m.lag.parts) != 1 {
		t.Fatal("a lagging follower is not watched")
	}
	c.clock.Advance(900 * time.Millisecond)
	m.tick()
	if c.nodes[1].proposals(false) {
		t.Fatal("dropped too early")
	}
	c.clock.Advance(200 * time.Millisecond)
	m.tick()
	if over, _ := s.acked(); over {
		t.Fatal("acknowledged before the controller has committed the smaller ISR")
	}
	if !c.nodes[1].proposals(false) || len(c.truth.Partition("t", 0).ISR) != 1 {
		t.Fatalf("ISR %v", c.truth.Partition("t", 0).ISR)
	}
	c.nodes[1].catchUp()
	if over, err := s.acked(); !over || err != nil {
		t.Fatalf("%v, %v", over, err)
	}
	c.settle()
	c.audit()
}

// TestISRHeedsNoStepOfTheWallClock: a follower that is stuck leaves when its time is up,
// also when the clock was set back, and one that keeps up stays, also when it was set ahead.
func TestISRHeedsNoStepOfTheWallClock(t *testing.T) {
	for _, step := range []time.Duration{time.Hour, -time.Hour} {
		t.Run(step.String(), func(t *testing.T) {
			c := newCluster(t, 1, 2, 3)
			c.topic("t", 1, 1, 2, 3)
			c.catchUp()
			c.settle()
			m := c.nodes[1].m
			s, _ := c.nodes[1].append("t", 0, AcksAll, records1("a"))
			c.clock.Step(step)
			late, _ := c.nodes[1].append("t", 0, AcksAll, records1("b"))
			m.tick()
			if c.nodes[1].proposals(false) {
				t.Fatalf("followers were dropped because the clock was set; ISR %v", c.truth.Partition("t", 0).ISR)
			}
			c.clock.Advance(900 * time.Millisecond)
			c.nodes[3].follow()
			c.nodes[3].follow()
			m.tick()
			if c.nodes[1].proposals(false) {
				t.Fatalf("dropped too early; ISR %v", c.truth.Partition("t", 0).ISR)
			}
			c.clock.Advance(200 * time.Millisecond)
			m.tick()
			if !c.nodes[1].proposals(false) || !slices.Equal(c.truth.Partition("t", 0).ISR, []int32{1, 3}) {
				t.Fatalf("ISR %v", c.truth.Partition("t", 0).ISR)
			}
			c.nodes[1].catchUp()
			for _, s := range []*AppendSlot{s, late} {
				if over, err := s.acked(); !over || err != nil {
					t.Fatalf("%v, %v", over, err)
				}
			}
			c.settle()
			c.audit()
		})
	}
}

// TestAcksBelowMinISR: refused before the append, or said after it.
func TestAcksBelowMinISR(t *testing.T) {
	c := newCluster(t, 1, 2)
	c.configureMinISR("t", 2)
	c.topic("t", 1, 1, 2)
	c.catchUp()
	s, _ := c.nodes[1].append("t", 0, AcksAll, records1("a"))
	c.clock.Advance(2 * time.Second)
	c.nodes[1].m.tick()
	c.nodes[1].proposals(false)
	if over, _ := s.acked(); over {
		t.Fatalf("over with %v", s.Err)
	}
	if s, _ := c.nodes[1].append("t", 0, AcksAll, records1("b")); kafka.CodeOf(s.Err) != kafka.NotEnoughReplicas {
		t.Errorf("appended below min.insync.replicas: %v", s.Err)
	}
	c.settle()
	if over, err := s.acked(); !over || err != nil {
		t.Errorf("over %v, %v", over, err)
	}
}

// TestFollowerBehindLogStartBeginsAgain (R12): of two partitions only the one that is
// out of range is touched.
func TestFollowerBehindLogStartBeginsAgain(t *testing.T) {
	c := newCluster(t, 1, 2)
	c.topic("t", 1, 1, 2)
	c.topic("u", 1, 1, 2)
	c.catchUp()
	c.settle()
	c.nodes[2].crash(nil, vfs.ProcessKill)
	c.fence(2)
	c.catchUp()
	for i := range 10 {
		c.produce("t", fmt.Sprint(i))
		c.produce("u", fmt.Sprint(i))
	}
	var d DeleteSlot
	if !c.nodes[1].m.Get("t", 0).DeleteRecords(7, &d) || d.Err != nil {
		t.Fatal(d.Err)
	}
	c.nodes[2].start()
	c.settle()
	c.audit()
	if l := c.nodes[2].log("t", 0); l.LogStartOffset() != 7 || l.LogEndOffset() != 10 {
		t.Errorf("%d to %d", l.LogStartOffset(), l.LogEndOffset())
	}
	if l := c.nodes[2].log("u", 0); l.LogStartOffset() != 0 || l.LogEndOffset() != 10 {
		t.Errorf("u: %d to %d", l.LogStartOffset(), l.LogEndOffset())
	}
}

// TestDeleteRecordsInsideOfABatch: the leader's log starts in the middle of a batch,
// which a new follower gets whole.
func TestDeleteRecordsInsideOfABatch(t *testing.T) {
	c := newCluster(t, 1, 2)
	c.topic("t", 1, 1, 2)
	c.catchUp()
	c.nodes[2].crash(nil, vfs.ProcessKill)
	c.fence(2)
	c.catchUp()
	b := batch.NewBuilder(0)
	b.ProducerID, b.ProducerEpoch, b.BaseSequence = -1, -1, -1
	for i := range 5 {
		b.Append(1_700_000_000_000, nil, []byte(fmt.Sprint(i)), nil)
	}
	raw, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	if s, _ := c.nodes[1].append("t", 0, AcksLeader, raw); s.Err != nil {
		t.Fatal(s.Err)
	}
	var d DeleteSlot
	if !c.nodes[1].m.Get("t", 0).DeleteRecords(3, &d) || d.Err != nil {
		t.Fatal(d.Err)
	}
	c.nodes[2].start()
	c.settle()
	c.audit()
	if l := c.nodes[2].log("t", 0); l.LogStartOffset() != 3 || l.LogEndOffset() != 5 {
		t.Errorf("%d to %d", l.LogStartOffset(), l.LogEndOffset())
	}
}

type deleted struct{ n int }

func (d *deleted) Deleted(*DeleteSlot) { d.n++ }

// TestDeleteRecordsWaitsForFollowers: the low watermark is that of the slowest live
// replica.
func TestDeleteRecordsWaitsForFollowers(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	c.topic("t", 1, 1, 2, 3)
	c.catchUp()
	for i := range 4 {
		c.produce("t", fmt.Sprint(i))
	}
	c.settle()
	owner := new(deleted)
	s := DeleteSlot{Owner: owner}
	if c.nodes[1].m.Get("t", 0).DeleteRecords(3, &s) {
		t.Fatalf("done before the followers know: %d, %v", s.LowWatermark, s.Err)
	}
	c.nodes[2].follow()
	c.nodes[2].follow()
	if owner.n != 0 {
		t.Fatal("done before the last follower")
	}
	c.nodes[3].follow()
	c.nodes[3].follow()
	if owner.n != 1 || s.LowWatermark != 3 || s.Err != nil {
		t.Fatalf("%d completions, low watermark %d, %v", owner.n, s.LowWatermark, s.Err)
	}
	// A follower that dies is not waited for.
	s = DeleteSlot{Owner: owner}
	if c.nodes[1].m.Get("t", 0).DeleteRecords(4, &s) {
		t.Fatal("done too early")
	}
	c.nodes[2].follow()
	c.nodes[2].follow()
	c.nodes[3].crash(nil, vfs.ProcessKill)
	c.fence(3)
	c.catchUp()
	if owner.n != 2 || s.Err != nil {
		t.Fatalf("%d completions, %v", owner.n, s.Err)
	}
}

// TestDuplicateAfterElectionIsRecognised: what was stored under one leader and is
// repeated to the next is answered with its offset, not stored again and not refused (T2).
func TestDuplicateAfterElectionIsRecognised(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	c.topic("t", 1, 1, 2, 3)
	c.catchUp()
	for round := range int32(30) {
		l := c.leader("t", 0)
		var first [5]int64
		for k := range int32(5) {
			s, _ := l.append("t", 0, AcksAll, idempotent(7, round*5+k, fmt.Sprint(round, k)))
			if s.Err != nil {
				t.Fatal(s.Err)
			}
			first[k] = s.BaseOffset
		}
		for range 2 {
			for _, id := range c.ids() {
				c.nodes[id].follow()
			}
		}
		c.elect("t", 0, (l.id%3)+1)
		c.catchUp()
		next := c.leader("t", 0)
		for k := range int32(5) {
			s, _ := next.append("t", 0, AcksAll, idempotent(7, round*5+k, fmt.Sprint(round, k)))
			if s.Err != nil || s.BaseOffset != first[k] {
				t.Fatalf("round %d, batch %d: offset %d, was %d; %v", round, k, s.BaseOffset, first[k], s.Err)
			}
		}
		c.settle()
	}
	c.audit()
	if end := c.leader("t", 0).log("t", 0).LogEndOffset(); end != 150 {
		t.Errorf("%d records for 150 batches", end)
	}
}

// TestRecreatedTopicShowsNoOldByte (L10): deleted and created again under its name while
// a broker is down.
func TestRecreatedTopicShowsNoOldByte(t *testing.T) {
	c := newCluster(t, 1, 2)
	for round := range 5 {
		id := c.topic("t", 1, 1, 2)
		c.catchUp()
		c.produce("t", fmt.Sprint("round ", round))
		c.settle()
		c.nodes[2].crash(nil, vfs.ProcessKill)
		c.fence(2)
		c.catchUp()
		c.produce("t", "while one is down")
		r := records.NewRemoveTopicRecord()
		r.TopicID = id
		c.commit(r)
		next := c.topic("t", 1, 1, 2)
		c.nodes[1].catchUp()
		c.nodes[2].start()
		c.settle()
		for _, n := range []int32{1, 2} {
			if vs := values(t, c.nodes[n].log("t", 0)); len(vs) != 0 {
				t.Fatalf("node %d shows %v under the new id", n, vs)
			}
		}
		r = records.NewRemoveTopicRecord()
		r.TopicID = next
		c.commit(r)
		c.catchUp()
	}
}

// TestFetchForAnotherTopicIDIsRefused: the leader has the new topic, the follower still
// the old one (L10).
func TestFetchForAnotherTopicIDIsRefused(t *testing.T) {
	c := newCluster(t, 1, 2)
	id := c.topic("t", 1, 1, 2)
	c.catchUp()
	c.produce("t", "old")
	r := records.NewRemoveTopicRecord()
	r.TopicID = id
	c.commit(r)
	c.topic("t", 1, 1, 2)
	c.nodes[1].catchUp()
	c.produce("t", "new")
	c.nodes[2].follow()
	if end := c.nodes[2].log("t", 0).LogEndOffset(); end != 0 {
		t.Fatal("the old topic's replica took a record of the new topic")
	}
	if d := c.nodes[2].fetchers()[0]; len(d.delayed) != 1 {
		t.Error("the partition is asked for again at once")
	}
	c.settle()
	c.audit()
}

// TestFollowerServesUpToItsWatermark (KIP-392, R11).
func TestFollowerServesUpToItsWatermark(t *testing.T) {
	c := newCluster(t, 1, 2)
	c.topic("t", 1, 1, 2)
	c.catchUp()
	c.produce("t", "a")
	c.nodes[2].follow()
	p := c.nodes[2].m.Get("t", 0)
	rec := new(recorder)
	op := fetchOp(rec, p)
	op.Start(c.nodes[2].m)
	if rec.done() != 0 {
		t.Fatal("a follower served what may not be committed")
	}
	c.nodes[2].follow()
	if rec.done() != 1 || op.Parts[0].Data.Size == 0 || op.Parts[0].HighWatermark != 1 {
		t.Fatalf("%d completions, %d bytes", rec.done(), op.Parts[0].Data.Size)
	}
	op.ReleaseData()
}

// TestReplicaWithoutLeaderServesNobody (R11): what it knows of the high watermark may
// be from before a crash, and a consumer must not see it go back.
func TestReplicaWithoutLeaderServesNobody(t *testing.T) {
	c := newCluster(t, 1, 2)
	id := c.topic("t", 1, 1, 2)
	c.catchUp()
	c.produce("t", "a")
	c.settle()
	c.commit(leaderChange(id, 0, -1, []int32{1, 2}))
	c.catchUp()
	for _, node := range []int32{1, 2} {
		op := fetchOp(new(recorder), c.nodes[node].m.Get("t", 0))
		op.MaxWait = 0
		op.Start(c.nodes[node].m)
		if err := op.Parts[0].Err; kafka.CodeOf(err) != kafka.NotLeaderOrFollower || op.Parts[0].HighWatermark != -1 {
			t.Errorf("node %d answered %v, high watermark %d", node, err, op.Parts[0].HighWatermark)
		}
	}
}

// TestFollowerKnowsLessThanTheConsumer (KIP-392).
func TestFollowerKnowsLessThanTheConsumer(t *testing.T) {
	c := newCluster(t, 1, 2)
	c.topic("t", 1, 1, 2)
	c.catchUp()
	c.produce("t", "a")
	c.nodes[2].follow() // it has the record and does not know that it is committed
	op := fetchOp(new(recorder), c.nodes[2].m.Get("t", 0))
	op.Parts[0].FetchOffset, op.MaxWait = 1, 0
	op.Start(c.nodes[2].m)
	if err := op.Parts[0].Err; kafka.CodeOf(err) != kafka.OffsetNotAvailable {
		t.Errorf("got %v", err)
	}
}

// TestConsumerIsSentToReplicaInItsRack (KIP-392).
func TestConsumerIsSentToReplicaInItsRack(t *testing.T) {
	c := newCluster(t)
	c.props["replica.selector.class"] = rackAwareSelector
	for _, id := range []int32{1, 2, 3} {
		n := &tnode{c: c, id: id, fs: newDisk(t)}
		c.nodes[id] = n
		n.start()
	}
	c.topic("t", 1, 1, 2, 3)
	c.catchUp()
	c.produce("t", "a")
	c.settle()
	for _, tc := range []struct {
		rack string
		at   int64
		want int32
	}{{"rack1", 0, NoReplica}, {"rack2", 0, 2}, {"rack3", 1, 3}, {"", 0, NoReplica}, {"nowhere", 0, NoReplica}, {"rack2", 5, NoReplica}} {
		rec := new(recorder)
		op := fetchOp(rec, c.nodes[1].m.Get("t", 0))
		op.Rack, op.Listener, op.Parts[0].FetchOffset, op.MaxWait = tc.rack, "PLAINTEXT", tc.at, 0
		op.Start(c.nodes[1].m)
		if got := op.Parts[0].Preferred; got != tc.want || tc.want != NoReplica && op.Parts[0].Data.Size != 0 {
			t.Errorf("rack %q, offset %d: replica %d", tc.rack, tc.at, got)
		}
		op.ReleaseData()
	}
	c.fence(2)
	c.register(2) // it is there, but not in the ISR
	c.catchUp()
	op := fetchOp(new(recorder), c.nodes[1].m.Get("t", 0))
	op.Rack, op.Listener = "rack2", "PLAINTEXT"
	op.Start(c.nodes[1].m)
	if got := op.Parts[0].Preferred; got != NoReplica {
		t.Errorf("sent to a replica that is not in sync: %d", got)
	}
	op.ReleaseData()
}
