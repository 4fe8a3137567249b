package raft

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
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
	// The leader removes itself: another one takes over, and it follows without a vote.
	if err := lead.engine.RemoveVoter(expired(), quorum.Replica{ID: 1, DirectoryID: lead.engine.o.DirectoryID}); !errors.Is(err, kafka.RequestTimedOut) {
		t.Fatal(err) // the wait was cut short
	}
	lead.pump()
	s.run(5 * time.Second)
	second := s.awaitLeader()
	if second == lead || second.ids() != "[2 3 4]" {
		t.Fatalf("node %d leads, of %s", second.i, second.ids())
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
				if is && len(voters) > 2 {
					err = lead.engine.RemoveVoter(expired(), quorum.Replica{ID: n.id(), DirectoryID: n.engine.o.DirectoryID})
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
