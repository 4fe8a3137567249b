package raft

import (
	"bytes"
	"context"
	"math/rand"
	"reflect"
	"syscall"
	"testing"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/storage"
	"github.com/gregorhq/gregor/internal/vfs"
)

// A leader whose address refuses connections is replaced long before its time is out.
func TestRefusedLeaderIsReplacedAtOnce(t *testing.T) {
	for seed := range int64(20) {
		s := newSim(t, seed, 3, func(_ *simNode, o *Options) { o.StaticVoters = staticSet(3) })
		for _, n := range s.nodes {
			n.format(false, nil)
			n.start()
		}
		dead := s.awaitLeader()
		s.propose()
		s.run(time.Second)
		dead.kill(vfs.ProcessKill)
		died := s.clock.Now()
		for _, n := range s.nodes {
			if n.engine != nil {
				n.engine.disconnected(dead.id())
				n.pump()
			}
		}
		s.awaitLeader()
		if took := s.clock.Since(died); took > 250*time.Millisecond {
			t.Errorf("seed %d: it took %s", seed, took)
		}
		s.settle()
		s.close()
	}
}

// A leader that closes hands over, so that nobody waits for an election timeout.
func TestClosingLeaderHandsOver(t *testing.T) {
	s := newSim(t, 3, 3, func(_ *simNode, o *Options) { o.StaticVoters = staticSet(3) })
	for _, n := range s.nodes {
		n.format(false, nil)
		n.start()
	}
	lead := s.awaitLeader()
	s.propose()
	s.run(time.Second)
	began := s.clock.Now()
	done := make(chan struct{})
	go func() {
		defer close(done)
		lead.engine.handOver(context.Background())
	}()
	for over := false; !over; {
		s.run(time.Millisecond)
		select {
		case <-done:
			over = true
		default:
		}
		if s.clock.Since(began) > time.Minute {
			t.Fatal("the leader does not hand over")
		}
	}
	if l := lead.engine.Leader(); l.Leader == lead.id() || l.Leader == kafka.NoNode {
		t.Errorf("after handing over %+v leads", l)
	}
	s.settle()
	s.close()
}

// A leader whose successor is dead does not wait for it: its address refuses.
func TestClosingLeaderDoesNotWaitForTheDead(t *testing.T) {
	s := newSim(t, 3, 3, func(_ *simNode, o *Options) { o.StaticVoters = staticSet(3) })
	for _, n := range s.nodes {
		n.format(false, nil)
		n.start()
	}
	lead := s.awaitLeader()
	s.propose()
	s.run(time.Second)
	for _, n := range s.nodes {
		if n != lead {
			n.kill(vfs.ProcessKill)
		}
	}
	began := s.clock.Now()
	done := make(chan struct{})
	go func() {
		defer close(done)
		lead.engine.handOver(context.Background())
	}()
	for over := false; !over; {
		s.run(time.Millisecond)
		select {
		case <-done:
			over = true
		case <-time.After(time.Millisecond): // the other goroutine may have to run
		}
	}
	if took := s.clock.Since(began); took > 500*time.Millisecond {
		t.Errorf("it waits %s of an election timeout of 1s", took)
	}
	s.close()
}

// A leader whose write fails (N9, KAFKA-10655) stops for good: it tells nobody of what it
// could not write, and another one leads; so too if it is its vote that cannot be
// written. With a disk that works again it follows.
func TestLeaderWhoseWriteFailsIsReplaced(t *testing.T) {
	for seed := range int64(20) {
		s := newSim(t, seed, 3, func(_ *simNode, o *Options) { o.StaticVoters = staticSet(3) })
		for _, n := range s.nodes {
			n.format(false, nil)
			n.start()
		}
		failed := s.awaitLeader()
		s.propose()
		s.run(time.Second)
		next := failed.rec.next
		failed.failing = true
		switch op := []vfs.Op{vfs.OpWrite, vfs.OpSync, vfs.OpCreate}[seed%3]; op {
		case vfs.OpCreate: // of quorum-state, for a new epoch
			failed.fault.Add(vfs.Rule{Op: op, Path: "quorum-state.tmp", Err: syscall.EIO, Times: -1})
			failed.engine.Resign(failed.rec.leader.Epoch)
		default:
			failed.fault.Add(vfs.Rule{Op: op, Path: "*.log", Err: syscall.EIO})
			s.propose()
		}
		for range 100 {
			if s.run(100 * time.Millisecond); failed.engine == nil {
				break
			}
		}
		if failed.engine != nil {
			t.Fatalf("seed %d: the node goes on", seed)
		}
		if failed.rec.next != next {
			t.Errorf("seed %d: the failed leader delivered up to %d, it had written up to %d", seed, failed.rec.next, next)
		}
		if lead := s.awaitLeader(); lead == failed {
			t.Errorf("seed %d: the failed node leads", seed)
		}
		failed.failing = false
		failed.start()
		s.settle()
		s.close()
	}
}

func sampleEnvelope() *envelope {
	rec := records.NewTopicRecord()
	rec.Name = "t"
	data, err := storage.AppendBatch(nil, 9, 3, 1, []records.Message{rec, rec})
	if err != nil {
		panic(err)
	}
	entries := []*pb.Entry{
		{Term: new(uint64(3)), Index: new(uint64(9)), Data: filler},
		{Term: new(uint64(3)), Index: new(uint64(10)), Data: data},
		{Term: new(uint64(3)), Index: new(uint64(11)), Data: filler},
	}
	return &envelope{ClusterID: "c", From: 1, FromDir: kafka.UUID{1: 2}, To: 2, ToDir: kafka.UUID{3: 4}, Endpoints: endpoint(1),
		Hello: &hello{MaxKRaftVersion: 1},
		Messages: []*pb.Message{
			{Type: pb.MsgApp.Enum(), Term: new(uint64(4)), LogTerm: new(uint64(3)), Index: new(uint64(8)), Commit: new(uint64(7)), Entries: entries},
			{Type: pb.MsgVote.Enum(), Term: new(uint64(5)), LogTerm: new(uint64(3)), Index: new(uint64(11)), Context: []byte("CampaignTransfer")},
			{Type: pb.MsgAppResp.Enum(), Term: new(uint64(5)), Index: new(uint64(11)), Reject: new(true), RejectHint: new(uint64(6))},
			{Type: pb.MsgSnap.Enum(), Term: new(uint64(5)), Snapshot: &pb.Snapshot{Metadata: &pb.SnapshotMetadata{Index: new(uint64(40)), Term: new(uint64(2))}}},
		}}
}

func TestMessagesTravelWhole(t *testing.T) {
	want := sampleEnvelope()
	body := appendEnvelope(nil, want)
	got, err := parseEnvelope(body)
	if err != nil {
		t.Fatal(err)
	}
	if again := appendEnvelope(nil, got); !bytes.Equal(body, again) {
		t.Error("what was decoded encodes differently")
	}
	if got.ClusterID != "c" || got.From != 1 || got.ToDir != want.ToDir || !reflect.DeepEqual(got.Endpoints, want.Endpoints) || len(got.Messages) != 4 {
		t.Errorf("envelope %+v", got)
	}
	app, wanted := got.Messages[0], want.Messages[0]
	for i, en := range app.Entries {
		w := wanted.Entries[i]
		if en.GetIndex() != w.GetIndex() || en.GetTerm() != w.GetTerm() || !bytes.Equal(en.Data, w.Data) {
			t.Errorf("entry %d: %v, want %v", i, en, w)
		}
	}
	if s := got.Messages[3].GetSnapshot().GetMetadata(); s.GetIndex() != 40 || s.GetTerm() != 2 {
		t.Errorf("snapshot %v", s)
	}
	for n := range body {
		if _, err := parseEnvelope(body[:n]); err == nil {
			t.Fatalf("the first %d of %d bytes are taken for a whole request", n, len(body))
		}
	}
	rng := rand.New(rand.NewSource(1))
	for range 2000 {
		bad := bytes.Clone(body)
		bad[rng.Intn(len(bad))] ^= byte(1 + rng.Intn(255))
		if e, err := parseEnvelope(bad); err == nil && len(e.Messages) > 0 && len(e.Messages[0].Entries) == 3 &&
			e.Messages[0].GetType() == pb.MsgApp && !bytes.Equal(e.Messages[0].Entries[1].Data, wanted.Entries[1].Data) {
			t.Fatal("a damaged batch was taken")
		}
	}
	a := answer{Code: 3, Leader: 2, Epoch: 7, Endpoints: endpoint(2)}
	if b, err := parseAnswer(appendAnswer(nil, a)); err != nil || !reflect.DeepEqual(a, b) {
		t.Errorf("answer %+v, %v", b, err)
	}
}

func FuzzEnvelope(f *testing.F) {
	f.Add(appendEnvelope(nil, sampleEnvelope()))
	f.Add(appendEnvelope(nil, &envelope{ClusterID: "x", To: kafka.NoNode}))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := parseEnvelope(b)
		if err != nil {
			return
		}
		for _, m := range e.Messages {
			for i, en := range m.Entries {
				if en.GetIndex() != m.GetIndex()+1+uint64(i) {
					t.Fatalf("entry %d of a message behind index %d has index %d", i, m.GetIndex(), en.GetIndex())
				}
			}
		}
	})
}

func FuzzAnswer(f *testing.F) {
	f.Add(appendAnswer(nil, answer{Leader: 1, Epoch: 2, Endpoints: endpoint(1)}))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = parseAnswer(b) })
}
