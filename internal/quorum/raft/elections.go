package raft

import (
	"context"
	"time"

	etcdraft "go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/gregorhq/gregor/internal/kafka"
)

// Fractions of the election timeout.
const (
	// A leader whose address refuses a connection is dead: the voters stand in their
	// order, hurryStep apart, and try again a few times before they fall back to waiting.
	hurryBase  = 100
	hurryStep  = 16
	hurryTries = 5
	// After the connection to the leader has ended it is asked whether it is there, a few
	// times: the first question may still meet the old connection.
	probeStep  = 50
	probeTries = 6
	// helloEvery is how often a node without a vote says that it follows.
	helloEvery = 4
)

// timers are the loop's deadlines; the zero time is none. Raft's own clock runs on the
// leader only, where it drives heartbeats and the check for a quorum. Followers wait
// by these timers, whose spread comes from Options.Seed.
type timers struct {
	tick     time.Time // the leader's next tick of raft
	forget   time.Time // a follower's leader counts no longer
	campaign time.Time // a voter stands for election
	hello    time.Time // a node without a vote says that it follows
	probe    time.Time // the leader, whose connection has ended, is asked for
	move     time.Time // a voter that may have moved tells the leader where it is
	probes   int       // how many questions are left
	// hurried is how many quick attempts are left.
	hurried int
}

// contact is called when the leader was heard.
func (t *timers) contact(now time.Time, timeout time.Duration) {
	t.forget, t.campaign, t.hurried, t.probe = now.Add(timeout), time.Time{}, 0, time.Time{}
}

// spread is a random part of d.
func (e *Engine) spread(d time.Duration) time.Duration {
	return time.Duration(e.rng.Int63n(int64(max(d, 1))))
}

// electionBackoff bounds the random part of the pause between two attempts to be elected.
func (e *Engine) electionBackoff() time.Duration {
	if e.o.ElectionBackoffMax > 0 {
		return e.o.ElectionBackoffMax
	}
	return e.o.ElectionTimeout
}

// startTimers sets the first deadlines. The caller holds mu.
func (e *Engine) startTimers() {
	now := e.o.Clock.Now()
	if e.isVoter() {
		if len(e.voters) > 1 {
			e.timers.campaign = now.Add(e.o.ElectionTimeout/10 + e.spread(e.o.ElectionTimeout))
		}
		return
	}
	e.timers.hello = now
}

// leaderSeen sets the deadlines after what raft says has changed.
func (e *Engine) leaderSeen(before view) {
	now, timeout := e.o.Clock.Now(), e.o.ElectionTimeout
	t := &e.timers
	switch {
	case e.seen.state == etcdraft.StateLeader:
		t.forget, t.campaign, t.move, t.hurried = time.Time{}, time.Time{}, time.Time{}, 0
		if before.state != etcdraft.StateLeader || before.epoch != e.seen.epoch {
			t.tick = now.Add(timeout / electionTicks)
		}
		return
	case e.seen.leader != kafka.NoNode:
		if before.leader != e.seen.leader || before.epoch != e.seen.epoch {
			t.contact(now, timeout)
			t.move = now
		}
	default:
		t.forget = time.Time{}
		if t.campaign.IsZero() {
			t.campaign = now.Add(timeout/2 + e.spread(timeout))
		}
	}
	t.tick = time.Time{}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.minding()
}

// minding keeps the deadline for saying hello: a node without a vote says so, and a
// voter whose log does not name the leader needs to hear where it is reached. The caller
// holds mu.
func (e *Engine) minding() {
	lost := false
	if l := e.seen.leader; l != kafka.NoNode && l != e.o.NodeID {
		_, _, ok := e.peer(l)
		lost = !ok
	}
	if e.isVoter() && !lost {
		e.timers.hello = time.Time{}
	} else if e.timers.hello.IsZero() {
		e.timers.hello = e.o.Clock.Now()
	}
}

// voteGiven is called when another candidate got this node's vote: it gets its time.
func (e *Engine) voteGiven() {
	e.timers.campaign = e.o.Clock.Now().Add(e.o.ElectionTimeout + e.spread(e.o.ElectionTimeout))
}

// untilTimer is how long the loop may sleep; false is for ever.
func (e *Engine) untilTimer() (time.Duration, bool) {
	var first time.Time
	for _, t := range []time.Time{e.leaderTick(), e.timers.forget, e.timers.campaign, e.timers.hello, e.timers.probe, e.timers.move} {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	if first.IsZero() {
		return 0, false
	}
	return max(first.Sub(e.o.Clock.Now()), 0), true
}

// leaderTick is when the leader ticks, never while it has nobody to lead.
func (e *Engine) leaderTick() time.Time {
	if e.seen.state != etcdraft.StateLeader {
		return time.Time{}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.isSole() && len(e.learners) == 0 {
		return time.Time{}
	}
	return e.timers.tick
}

// onTimers does what is due; it says whether anything was.
func (e *Engine) onTimers() (bool, error) {
	now := e.o.Clock.Now()
	due := func(t time.Time) bool { return !t.IsZero() && !t.After(now) }
	t := &e.timers
	switch {
	case due(e.leaderTick()):
		t.tick = now.Add(e.o.ElectionTimeout / electionTicks)
		return true, e.tick()
	case due(t.probe):
		t.probe = time.Time{}
		if t.probes--; t.probes > 0 {
			t.probe = now.Add(e.o.ElectionTimeout / probeStep)
		}
		if l := e.seen.leader; l != kafka.NoNode && l != e.o.NodeID {
			e.sendTo(l, []*pb.Message{{Type: pb.MsgHup.Enum()}}) // which does not travel: the request is empty
		}
		return true, nil
	case due(t.forget):
		t.forget = time.Time{}
		t.campaign = now.Add(e.spread(e.o.ElectionTimeout))
		return true, e.forgetLeader()
	case due(t.campaign):
		t.campaign = now.Add(e.o.ElectionTimeout/2 + e.spread(e.electionBackoff()))
		if t.hurried > 0 {
			t.hurried--
			t.campaign = now.Add(e.turn(e.o.ElectionTimeout / hurryStep))
		}
		if e.KRaftVersion() > 0 {
			// It may have been removed without having heard of it.
			e.sayHello()
		}
		return true, e.campaign()
	case due(t.move):
		t.move = time.Time{}
		if e.mayMove() {
			t.move = now.Add(e.o.ElectionTimeout)
		}
		return true, nil
	case due(t.hello):
		t.hello = now.Add(e.o.ElectionTimeout / helloEvery)
		e.sayHello()
		e.mu.Lock()
		defer e.mu.Unlock()
		e.minding()
		return true, nil
	}
	return false, nil
}

// tick moves raft's clock on, on the leader.
func (e *Engine) tick() error {
	return e.guard(func() error {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.rn.Tick()
		e.dropLearners()
		return nil
	})
}

// forgetLeader ends the time in which this node gives its vote to nobody else.
func (e *Engine) forgetLeader() error {
	return e.guard(func() error {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.leaderAt = nil
		return e.rn.ForgetLeader()
	})
}

// campaign stands for election, beginning with the question whether that has a chance
// (the pre-vote, KIP-996).
func (e *Engine) campaign() error {
	return e.guard(func() error {
		e.mu.Lock()
		defer e.mu.Unlock()
		if !e.isVoter() {
			e.timers.campaign = time.Time{}
			return nil
		}
		e.inbox.grants = map[kafka.NodeID]bool{}
		return e.rn.Campaign()
	})
}

// turn is this node's place among the voters but the leader, in steps, and one more.
func (e *Engine) turn(step time.Duration) time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	d := step
	for _, v := range e.voters {
		if v.ID == e.o.NodeID {
			break
		}
		if v.ID != e.state.Leader {
			d += step
		}
	}
	return d
}

// peerRefused hears that nobody listens at a voter's address. If that was the leader,
// it is dead: waiting for its time to run out would help nobody.
func (e *Engine) peerRefused(id kafka.NodeID) error {
	if id == e.o.NodeID || id == kafka.NoNode {
		return nil
	}
	if e.seen.leader != id {
		return e.guard(func() error {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.rn.ReportUnreachable(raftID(id))
			if e.handingTo == id {
				e.handingTo = kafka.NoNode
				e.notify()
			}
			return nil
		})
	}
	e.o.Logger.Info("the leader's address refuses connections", "leader", id, "leaderEpoch", e.seen.epoch)
	step := e.o.ElectionTimeout / hurryStep
	e.timers.forget = time.Time{}
	e.timers.hurried = hurryTries
	e.timers.campaign = e.o.Clock.Now().Add(e.o.ElectionTimeout/hurryBase + e.turn(step) - step)
	return e.forgetLeader()
}

// furthest is the other voter that has most of the log, kafka.NoNode when none was
// heard lately. The caller holds mu.
func (e *Engine) furthest() kafka.NodeID {
	to, best := kafka.NodeID(kafka.NoNode), uint64(0)
	e.eachProgress(func(id kafka.NodeID, p *progress) {
		if id != e.o.NodeID && !p.IsLearner && p.RecentActive && p.Match >= best {
			to, best = id, p.Match
		}
	})
	return to
}

// handOver asks the voter that is furthest to take over, and waits for that as long as
// an election may take, or until that voter's address refuses. It says whether another
// node leads.
func (e *Engine) handOver(ctx context.Context) bool {
	e.mu.Lock()
	to := kafka.NodeID(kafka.NoNode)
	if e.seenLeading() {
		to = e.furthest()
	}
	e.handingTo = to
	other := e.otherLeads()
	e.mu.Unlock()
	if to == kafka.NoNode {
		return other
	}
	e.inbox.push(item{local: func() { e.rn.TransferLeader(raftID(to)) }})
	e.kick()
	limit := e.o.Clock.NewTimer(e.o.ElectionTimeout)
	defer limit.Stop()
	for {
		e.mu.Lock()
		changed, failed, other := e.changed, e.handingTo == kafka.NoNode, e.otherLeads()
		e.mu.Unlock()
		if other || failed {
			return other
		}
		select {
		case <-changed:
		case <-limit.C():
			return false
		case <-ctx.Done():
			return false
		case <-e.failed:
			return false
		}
	}
}

// otherLeads says whether another node is known to lead. The caller holds mu.
func (e *Engine) otherLeads() bool {
	return e.leader.Leader != e.o.NodeID && e.leader.Leader != kafka.NoNode
}

// seenLeading says whether raft holds this node for the leader. The caller holds mu.
func (e *Engine) seenLeading() bool { return e.rn.BasicStatus().RaftState == etcdraft.StateLeader }

// eachProgress visits what raft knows of the members. The caller holds mu.
func (e *Engine) eachProgress(f func(kafka.NodeID, *progress)) {
	e.rn.WithProgress(func(id uint64, _ etcdraft.ProgressType, p progress) { f(nodeID(id), &p) })
}
