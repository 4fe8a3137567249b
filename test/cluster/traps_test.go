package cluster

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestTrapsOnProcesses walks into traps of replication that need real processes.
func TestTrapsOnProcesses(t *testing.T) {
	f := newFleet(t, shape{brokers: 3, spare: true})
	t.Run("zombie leader", func(t *testing.T) { f.as(t, zombieLeader) })
	t.Run("second process with the id", func(t *testing.T) { f.as(t, secondProcess) })
	t.Run("restart before the session ends", func(t *testing.T) { f.as(t, quickRestart) })
	t.Run("follower behind the log start", func(t *testing.T) { f.as(t, farBehind) })
	t.Run("SIGTERM under load", func(t *testing.T) { f.as(t, stopUnderLoad) })
	var out tally
	f.audit(&out)
}

// as runs a part on a fleet in its own name. Every part leaves the fleet in sync.
func (f *fleet) as(t *testing.T, part func(*testing.T, *fleet, *crash)) {
	was := f.t
	name := func(t *testing.T) {
		f.t = t
		for _, h := range append(f.hosts[:len(f.hosts):len(f.hosts)], f.spare) {
			h.t = t
		}
	}
	name(t)
	defer name(was)
	cr := newCrash(t, f.seeds()...)
	cr.moving = true
	part(t, f, cr)
	f.until(recovery, f.unhealthy)
}

// zombieLeader pauses a leader beyond its session and lets it go on (R6). What it is sent
// meanwhile it does not acknowledge, for its followers have another leader, and nothing
// of it stays.
func zombieLeader(t *testing.T, f *fleet, cr *crash) {
	f.create("zombie", 1, nil)
	f.until(recovery, f.unhealthy)
	s := cr.stream("zombie", 1, 100)
	s.write(context.Background(), 20, time.Millisecond)
	leader, epoch := f.leaderOf("zombie", 0)
	if leader == nil {
		t.Fatal("no leader")
	}
	c, err := dial(leader.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	f.pause(leader)
	var next *host
	var nextEpoch int32
	f.until(recovery, func() string {
		if next, nextEpoch = f.leaderOf("zombie", 0); next == nil || next == leader {
			return "there is no other leader"
		}
		return ""
	})
	value := binary.BigEndian.AppendUint64(nil, math.MaxUint64)
	req, err := produceRequest("zombie", [][]byte{value})
	if err != nil {
		t.Fatal(err)
	}
	req.Acks, req.TimeoutMillis = -1, 3000
	if err := c.send(req); err != nil {
		t.Fatal(err)
	}
	s.write(context.Background(), 20, time.Millisecond)
	f.resume(leader)
	resp, err := c.receive(req)
	if err != nil {
		t.Fatalf("the leader of the past does not answer: %v", err)
	}
	if offset, err := produced(resp); err == nil {
		t.Errorf("the leader of the past acknowledged a record at offset %d", offset)
	} else {
		t.Logf("epoch %d gave way to epoch %d; the leader of the past answered %v", epoch, nextEpoch, err)
	}
	f.until(recovery, f.unhealthy)
	s.verify() // it knows nothing of the record
}

// TestFollowerGivesUpASilentLeader pauses a leader for longer than followers wait for an
// answer (replica.socket.timeout.ms), but not until its session ends. A link that was cut
// for a while looks the same, and the next answer on the old connection may come much later
// than the link is there again.
func TestFollowerGivesUpASilentLeader(t *testing.T) {
	f := newFleet(t, shape{brokers: 3, overrides: []string{"broker.session.timeout.ms=60000", "replica.socket.timeout.ms=700"}})
	f.place("silent", [][]int32{{1, 2, 3}})
	f.until(recovery, f.unhealthy)
	f.pause(f.hosts[0])
	const says = "had no answer within 700ms"
	f.until(10*time.Second, func() string {
		for _, h := range f.hosts[1:3] {
			b, err := os.ReadFile(h.log())
			if err != nil || !strings.Contains(string(b), says) {
				return fmt.Sprintf("broker %d does not say that the leader %s (%v)", h.id, says, err)
			}
		}
		return ""
	})
	f.resume(f.hosts[0])
	f.until(recovery, f.unhealthy)
}

// secondProcess starts a second process with the id of a broker that lives (R14). It is
// refused and ends, and the first one does not notice.
func secondProcess(t *testing.T, f *fleet, cr *crash) {
	f.create("twice", 3, nil)
	f.until(recovery, f.unhealthy)
	before := f.described("twice")
	f.spare.launch()
	f.links.up(f.spare.number)
	select {
	case <-f.spare.done:
	case <-time.After(recovery):
		t.Error("the second process still runs")
		f.spare.cmd.Process.Kill()
		<-f.spare.done
	}
	f.links.down(f.spare.number)
	if code := f.spare.cmd.ProcessState.ExitCode(); code == 0 || !strings.Contains(f.spare.tail(), "DUPLICATE_BROKER_REGISTRATION") {
		t.Errorf("the second process ended with exit code %d:\n%s", code, f.spare.tail())
	}
	f.spare.cmd = nil
	if after := f.described("twice"); before == "" || before != after {
		t.Errorf("the partitions were %v and are %v", before, after)
	}
}

// described is what the metadata says of a topic.
func (f *fleet) described(topic string) string {
	f.t.Helper()
	parts, err := f.partitions()
	if err != nil {
		f.t.Fatal(err)
	}
	return fmt.Sprint(slices.DeleteFunc(parts, func(p partition) bool { return p.topic != topic }))
}

// quickRestart kills a leader and starts it again at once, before its session ends (R14).
// Its leadership of before counts no more: the leader epoch is a newer one.
func quickRestart(t *testing.T, f *fleet, cr *crash) {
	f.create("quick", 1, nil)
	f.until(recovery, f.unhealthy)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s := cr.stream("quick", 1, 100)
	var load sync.WaitGroup
	load.Go(func() { s.write(ctx, math.MaxInt, 2*time.Millisecond) })
	for range 5 {
		leader, epoch := f.leaderOf("quick", 0)
		if leader == nil {
			t.Fatal("no leader")
		}
		began := time.Now()
		f.kill(leader)
		f.start(leader)
		down := time.Since(began)
		f.until(recovery, func() string {
			if h, now := f.leaderOf("quick", 0); h == nil || now <= epoch {
				return fmt.Sprintf("the leader epoch is %d and was %d", now, epoch)
			}
			return f.unhealthy()
		})
		t.Logf("broker %d was away for %v", leader.id, down.Round(time.Millisecond))
	}
	cancel()
	load.Wait()
	t.Logf("%d records acknowledged, longest gap %v", s.verify(), s.longest.Round(time.Millisecond))
}

// farBehind deletes records that a dead follower does not have (R12): it begins again
// where the leader's log begins, and all of its partitions go on.
func farBehind(t *testing.T, f *fleet, cr *crash) {
	const parts = 3
	f.create("behind", parts, nil)
	f.until(recovery, f.unhealthy)
	s := cr.stream("behind", parts, 100)
	s.write(context.Background(), 50, time.Millisecond)
	follower := f.hosts[0]
	f.kill(follower)
	s.write(context.Background(), 50, time.Millisecond)
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.TimeoutMillis = 5000
	rt := kmsg.NewDeleteRecordsRequestTopic()
	rt.Topic = "behind"
	for p := range int32(2) { // one partition keeps all of its records
		rp := kmsg.NewDeleteRecordsRequestTopicPartition()
		rp.Partition, rp.Offset = p, 80
		rt.Partitions = append(rt.Partitions, rp)
	}
	req.Topics = append(req.Topics, rt)
	ctx, cancel := context.WithTimeout(context.Background(), recovery)
	defer cancel()
	resp, err := req.RequestWith(ctx, f.admin)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range resp.Topics[0].Partitions {
		if p.ErrorCode != 0 || p.LowWatermark != 80 {
			t.Fatalf("deleting records of partition %d: %v, low watermark %d", p.Partition, kerr.ErrorForCode(p.ErrorCode), p.LowWatermark)
		}
	}
	f.start(follower)
	f.until(recovery, f.unhealthy)
	s.write(context.Background(), 10, time.Millisecond)
	for tp, records := range cr.readAll("behind", parts) {
		first := int64(80)
		if tp == tpName("behind", 2) {
			first = 0
		}
		if len(records) != int(110-first) || records[0].offset != first {
			t.Errorf("%s has %d records from offset %d on", tp, len(records), records[0].offset)
		}
	}
	for _, b := range cr.bad {
		t.Error(b)
	}
}

// stopUnderLoad stops every broker in turn with SIGTERM (R15). Producers that retry lose
// nothing and wait for a bounded time.
func stopUnderLoad(t *testing.T, f *fleet, cr *crash) {
	f.create("stopped", 6, nil)
	f.until(recovery, f.unhealthy)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s := cr.stream("stopped", 6, 100)
	var load sync.WaitGroup
	load.Go(func() { s.write(ctx, math.MaxInt, 2*time.Millisecond) })
	for _, h := range f.brokers() {
		f.stop(h)
		if b, err := os.ReadFile(h.log()); err != nil || !strings.Contains(string(b), "The controller has asked us to exit controlled shutdown") {
			t.Errorf("broker %d ended before the controller let it go (%v)", h.id, err)
		}
		f.start(h)
		f.until(recovery, f.unhealthy)
	}
	cancel()
	load.Wait()
	acked := s.verify()
	t.Logf("%d records acknowledged, 0 failed, longest gap %v", acked, s.longest.Round(time.Millisecond))
	if limit := 5 * time.Second; s.longest > limit {
		t.Errorf("no record was acknowledged for %v", s.longest)
	}
}
