package raft

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/quorum"
	"github.com/gregorhq/gregor/internal/storage"
	"github.com/gregorhq/gregor/internal/vfs"
)

// newDynamicSim has n nodes of which the first alone is a voter at the beginning.
func newDynamicSim(t *testing.T, seed int64, n int, autoJoin bool) *sim {
	s := newSim(t, seed, n, func(_ *simNode, o *Options) {
		o.AutoJoin = autoJoin
		o.BootstrapServers = []storage.Endpoint{endpoint(1)[0], endpoint(2)[0], endpoint(3)[0]}
	})
	for i, node := range s.nodes {
		var voters storage.VoterSet
		if i == 0 {
			voters = storage.NewVoterSet(storage.NewVoter(1, node.dirID, "C", "h", 1))
		}
		node.format(true, voters)
		node.start()
	}
	return s
}

func (n *simNode) voter() storage.Voter {
	return storage.Voter{ID: n.id(), DirectoryID: n.engine.o.DirectoryID, Endpoints: endpoint(n.i), MaxKRaftVersion: 1}
}

// ids are the voters as a node knows them.
func (n *simNode) ids() string {
	var out []int
	for _, v := range n.engine.Describe().VoterSet {
		out = append(out, int(v.ID))
	}
	return fmt.Sprint(out)
}

// removeVoter asks the node to remove another; the change goes on by itself.
func (n *simNode) removeVoter(other *simNode) error {
	err := n.engine.RemoveVoter(expired(), quorum.Replica{ID: other.id(), DirectoryID: other.engine.o.DirectoryID})
	n.pump()
	return err
}

// expired is a context that does not wait: the change goes on by itself.
func expired() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func TestVotersComeAndGo(t *testing.T) {
	s := newDynamicSim(t, 1, 4, false)
	defer s.close()
	lead := s.awaitLeader()
	s.propose()
	if err := lead.engine.AddVoter(expired(), storage.Voter{ID: 77, DirectoryID: kafka.UUID{1: 1}, Endpoints: endpoint(77)}, false); !errors.Is(err, kafka.RequestTimedOut) {
		t.Errorf("a voter that nobody has heard of: %v", err)
	}
	s.run(3 * time.Second)
	if obs := lead.engine.Describe().Observers; len(obs) != 3 || obs[0].LogEndOffset != s.end {
		t.Fatalf("the others follow: %+v", obs)
	}
	for i := 2; i <= 4; i++ {
		n := s.nodes[i-1]
		if err := lead.engine.AddVoter(expired(), n.voter(), false); err != nil {
			t.Fatal(err)
		}
		if i == 2 {
			if err := lead.engine.AddVoter(expired(), s.nodes[2].voter(), false); !errors.Is(err, kafka.RequestTimedOut) {
				t.Errorf("a change before the one before is committed: %v", err)
			}
		}
		lead.pump()
		s.run(3 * time.Second)
	}
	if err := lead.engine.AddVoter(expired(), s.nodes[1].voter(), false); !errors.Is(err, kafka.DuplicateVoter) {
		t.Errorf("a voter twice: %v", err)
	}
	for _, n := range s.nodes {
		if got := n.ids(); got != "[1 2 3 4]" {
			t.Fatalf("node %d knows the voters %s", n.i, got)
		}
	}
	s.settle()
	// A leader that is to be removed hands over first; the next one removes it, and it
	// follows without a vote.
	if err := lead.removeVoter(lead); !errors.Is(err, kafka.RequestTimedOut) {
		t.Fatal(err) // the wait was cut short
	}
	s.run(100 * time.Millisecond)
	second := s.awaitLeader()
	if second == lead || second.ids() != "[1 2 3 4]" {
		t.Fatalf("node %d leads, of %s", second.i, second.ids())
	}
	if err := lead.removeVoter(lead); !errors.Is(err, kafka.NotLeaderOrFollower) {
		t.Errorf("asked again, who led: %v", err)
	}
	if err := second.removeVoter(lead); !errors.Is(err, kafka.RequestTimedOut) {
		t.Fatal(err)
	}
	s.run(5 * time.Second)
	if got := s.awaitLeader(); got != second || second.ids() != "[2 3 4]" {
		t.Fatalf("node %d leads, of %s", got.i, second.ids())
	}
	s.settle()
	if err := second.engine.RemoveVoter(expired(), quorum.Replica{ID: 2}); !errors.Is(err, kafka.VoterNotFound) {
		t.Errorf("a voter of another directory: %v", err)
	}
	// Two of three are enough, and what they know survives a restart of all.
	for _, n := range s.nodes[1:] {
		n.kill(vfs.PowerLoss)
	}
	s.nodes[1].start()
	s.nodes[2].start()
	s.run(5 * time.Second)
	third := s.awaitLeader()
	if third.ids() != "[2 3 4]" {
		t.Errorf("after the restart: %s", third.ids())
	}
	s.settle()
}

// A leader that is to be removed while nobody can take over stays: had it proposed its own
// removal, its log would be ahead of the other's, who would get no vote of it, and it
// might not stand itself.
func TestLeaderThatIsRemovedInVain(t *testing.T) {
	for seed := range int64(10) {
		s := newDynamicSim(t, seed, 2, true)
		lead := s.awaitLeader()
		s.run(20 * time.Second)
		if got := lead.ids(); got != "[1 2]" {
			t.Fatalf("seed %d: the voters are %s", seed, got)
		}
		other := s.nodes[1]
		if lead = s.awaitLeader(); lead == other {
			other = s.nodes[0]
		}
		switch seed % 3 {
		case 0:
			other.kill(vfs.PowerLoss)
		case 1:
			other.cut = true
		}
		if err := lead.removeVoter(lead); !errors.Is(err, kafka.RequestTimedOut) {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if seed%3 == 2 {
			s.run(time.Duration(s.rng.Intn(3000)) * time.Microsecond)
			other.kill(vfs.PowerLoss) // while it is handed leadership
		}
		s.run(time.Duration(s.rng.Intn(4000)) * time.Millisecond)
		lead.kill(vfs.PowerLoss)
		s.settle()
		s.close()
	}
}

// newVoters has three nodes that all vote, and who leads them.
func newVoters(t *testing.T, seed int64) (*sim, *simNode) {
	s := newDynamicSim(t, seed, 3, false)
	lead := s.awaitLeader()
	for _, n := range s.nodes[1:] {
		s.run(3 * time.Second)
		if err := lead.engine.AddVoter(expired(), n.voter(), false); err != nil {
			t.Fatal(err)
		}
		lead.pump()
		s.run(time.Second)
	}
	s.settle()
	return s, s.awaitLeader()
}

// beside runs f beside the simulation, which goes on whenever f waits, until it returns.
func (s *sim) beside(f func() error) error {
	s.t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	for began := s.clock.Now(); s.clock.Since(began) < time.Minute; s.run(time.Millisecond) {
		synctest.Wait()
		select {
		case err := <-done:
			return err
		default:
		}
	}
	s.t.Fatal("it does not return")
	return nil
}

// Who asks a leader for its own removal is told when another leads, and that one, asked
// at once, answers when it is done, whatever its beginning has to commit first.
func TestRemovalOfALeaderTakesTwoRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, lead := newVoters(t, 4)
		defer s.close()
		gone := quorum.Replica{ID: lead.id(), DirectoryID: lead.engine.o.DirectoryID}
		began := s.clock.Now()
		if err := s.beside(func() error { return lead.engine.RemoveVoter(context.Background(), gone) }); !errors.Is(err, kafka.NotController) {
			t.Fatalf("the leader's answer: %v", err)
		}
		if took := s.clock.Since(began); took > 100*time.Millisecond {
			t.Errorf("handing over took %s", took)
		}
		next := s.nodes[lead.engine.Leader().Leader-1]
		if next == lead {
			t.Fatal("it leads still")
		}
		if err := s.beside(func() error { return next.engine.RemoveVoter(context.Background(), gone) }); err != nil {
			t.Fatalf("the next leader's answer: %v", err)
		}
		left := next.ids()
		if _, ok := next.engine.Describe().VoterSet.Find(gone.ID); ok {
			t.Errorf("the voters are %s", left)
		}
		// Nobody can take over: the answer comes when the request's time is up.
		for _, n := range s.nodes {
			n.cut = n != next
		}
		ctx, cancel := context.WithCancel(context.Background())
		errs := make(chan error, 1)
		go func() {
			errs <- next.engine.RemoveVoter(ctx, quorum.Replica{ID: next.id(), DirectoryID: next.engine.o.DirectoryID})
		}()
		for range 700 {
			synctest.Wait()
			s.run(time.Millisecond)
		}
		cancel()
		if err := <-errs; !errors.Is(err, kafka.RequestTimedOut) || next.ids() != left {
			t.Errorf("without others: %v, voters %s", err, next.ids())
		}
		s.settle()
	})
}

// A snapshot holds the voters as of its end, not those of an entry behind it, which may
// be cut off.
func TestSnapshotHoldsTheVotersOfItsEnd(t *testing.T) {
	s, lead := newVoters(t, 6)
	defer s.close()
	other := s.nodes[0]
	if other == lead {
		other = s.nodes[1]
	}
	s.propose()
	s.run(time.Second)
	lead.cut = true
	if err := lead.removeVoter(other); !errors.Is(err, kafka.RequestTimedOut) || lead.ids() == "[1 2 3]" {
		t.Fatalf("%v, voters %s", err, lead.ids())
	}
	lead.snapshot()
	lead.kill(vfs.ProcessKill)
	s.run(5 * time.Second)
	s.settle()
	for _, n := range s.nodes {
		if got := n.ids(); got != "[1 2 3]" {
			t.Errorf("node %d knows the voters %s", n.i, got)
		}
	}
}

func TestNodesJoinByThemselves(t *testing.T) {
	s := newDynamicSim(t, 5, 3, true)
	defer s.close()
	s.awaitLeader()
	s.propose()
	s.run(20 * time.Second)
	for _, n := range s.nodes {
		if got := n.ids(); got != "[1 2 3]" {
			t.Fatalf("node %d knows the voters %s", n.i, got)
		}
	}
	s.settle()
}

// A voter comes back at another address: the leader hears of it from the voter itself,
// whether it leads on or not, and the set says so everywhere.
func TestVotersMove(t *testing.T) {
	for seed := range int64(5) {
		s := newDynamicSim(t, seed, 3, true)
		s.awaitLeader()
		s.run(20 * time.Second)
		for i, n := range s.nodes {
			n.kill(vfs.ProcessKill)
			s.run(time.Duration(i) * 3 * time.Second)
			n.port += 100
			n.start()
			s.run(20 * time.Second)
			for _, other := range s.nodes {
				v, ok := other.engine.Describe().VoterSet.Find(n.id())
				if !ok || !slices.Equal(v.Endpoints, endpoint(int(n.port))) {
					t.Fatalf("seed %d: node %d knows node %d at %v", seed, other.i, n.i, v.Endpoints)
				}
			}
		}
		s.settle()
		s.close()
	}
}

// Random changes of the voter set among random faults.
func TestVotersChangeWhateverHappens(t *testing.T) {
	for seed := range int64(30) {
		s := newDynamicSim(t, seed, 5, false)
		s.awaitLeader()
		for range 150 {
			n := s.nodes[s.rng.Intn(5)]
			lead := s.leader()
			switch s.rng.Intn(12) {
			case 0:
				s.lossy = !s.lossy
			case 1:
				if n.cut = !n.cut; lead != nil && s.rng.Intn(2) == 0 {
					lead.cut = true // a change that it proposes now is not to be committed
				}
			case 2:
				if n.engine == nil {
					n.start()
				} else if s.rng.Intn(3) == 0 {
					n.kill(vfs.PowerLoss)
				}
			case 3:
				n.snapshot()
			case 4, 5, 6:
				if lead == nil || n.engine == nil {
					break
				}
				voters := lead.engine.Describe().VoterSet
				is := slices.ContainsFunc(voters, func(v storage.Voter) bool { return v.ID == n.id() })
				var err error
				if is && len(voters) > 1 {
					err = lead.removeVoter(n)
				} else if !is {
					err = lead.engine.AddVoter(expired(), n.voter(), false)
				}
				if err != nil && !errors.Is(err, kafka.RequestTimedOut) && !errors.Is(err, kafka.NotLeaderOrFollower) {
					t.Fatalf("seed %d: %v", seed, err)
				}
				lead.pump()
			case 7:
				n.crashIn = 1 + s.rng.Intn(30)
			default:
				s.propose()
			}
			s.run(time.Duration(s.rng.Intn(400)) * time.Millisecond)
		}
		s.settle()
		for _, n := range s.nodes {
			if got, want := n.ids(), s.nodes[0].ids(); got != want {
				t.Errorf("seed %d: node %d knows the voters %s, node 1 knows %s", seed, n.i, got, want)
			}
		}
		s.close()
	}
}
