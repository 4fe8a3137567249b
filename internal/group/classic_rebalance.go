package group

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
)

// scheduleHeartbeat gives a member its session timeout from now on.
func (m *Machine) scheduleHeartbeat(out *coord.Outcome, g *classicGroup, c *classicMember, nowMs int64) {
	set(out, timerKey(keyHeartbeat, g.id, c.id), nowMs+int64(c.sessionTimeoutMs))
}

// rebalanceTimeoutMs is the longest that any member asks for.
func (g *classicGroup) rebalanceTimeoutMs() int64 {
	var most int64
	for _, c := range g.members {
		most = max(most, int64(c.rebalanceTimeoutMs))
	}
	return most
}

// rebalanceOrCompleteJoin starts a rebalance, or ends the one that the change completes.
// why is noted of one that starts.
func (m *Machine) rebalanceOrCompleteJoin(out *coord.Outcome, g *classicGroup, why string, nowMs int64) {
	if g.canRebalance() {
		m.prepareRebalance(out, g, why, nowMs)
		return
	}
	m.completeJoinIfAll(out, g, nowMs)
}

// prepareRebalance begins the next generation. An empty group waits for more members
// first, so that a group that starts does not rebalance once for each.
func (m *Machine) prepareRebalance(out *coord.Outcome, g *classicGroup, why string, nowMs int64) {
	if g.state == completing {
		m.propagate(out, g, kafka.RebalanceInProgress, nowMs)
	}
	clear(g.pendingSync)
	cancel(out, timerKey(keySync, g.id, ""))
	if g.state == empty {
		g.delayMs = m.cfg.InitialRebalanceDelayMs
		g.remainingMs = max(g.rebalanceTimeoutMs()-g.delayMs, 0)
		g.newMember = false
		set(out, timerKey(keyJoin, g.id, ""), nowMs+g.delayMs)
		g.transition(preparing, nowMs)
		notePreparing(out, g, why)
		return
	}
	g.transition(preparing, nowMs)
	notePreparing(out, g, why)
	if g.allJoined() {
		m.completeJoin(out, g, nowMs)
		return
	}
	set(out, timerKey(keyJoin, g.id, ""), nowMs+g.rebalanceTimeoutMs())
}

func notePreparing(out *coord.Outcome, g *classicGroup, why string) {
	note(out, "Preparing to rebalance group %s in state %s with old generation %d (reason: %s).", g.id, g.stateName(), g.generation, why)
}

// allJoined says that every member waits for the next generation and no id is out that
// has not joined yet.
func (g *classicGroup) allJoined() bool {
	return len(g.members) == g.awaitingJoin && len(g.pendingJoin) == 0
}

// completeJoinIfAll ends the join phase early when all members are there; the initial
// rebalance always waits for its timer.
func (m *Machine) completeJoinIfAll(out *coord.Outcome, g *classicGroup, nowMs int64) {
	if g.state == preparing && g.previous != empty && g.allJoined() {
		m.completeJoin(out, g, nowMs)
	}
}

// joinTimer ends the join phase, or extends an initial rebalance that saw new members.
func (m *Machine) joinTimer(out *coord.Outcome, g *classicGroup, nowMs int64) {
	if g.state != preparing {
		return
	}
	if g.previous == empty && g.newMember && g.remainingMs != 0 {
		g.newMember = false
		delay := min(m.cfg.InitialRebalanceDelayMs, g.remainingMs)
		g.remainingMs = max(g.remainingMs-g.delayMs, 0)
		g.delayMs = delay
		set(out, timerKey(keyJoin, g.id, ""), nowMs+delay)
		return
	}
	m.completeJoin(out, g, nowMs)
}

// completeJoin makes the next generation of the members that have joined. Dynamic members
// that have not are removed; static ones stay until their session ends.
func (m *Machine) completeJoin(out *coord.Outcome, g *classicGroup, nowMs int64) {
	cancel(out, timerKey(keyJoin, g.id, ""))
	var late []string
	for _, c := range g.all() {
		if c.join == nil && c.instanceID == nil {
			g.remove(c.id)
			cancel(out, timerKey(keyHeartbeat, g.id, c.id))
			late = append(late, c.id)
		}
	}
	if len(late) > 0 {
		note(out, "Group %s removed dynamic members who haven't joined: [%s]", g.id, strings.Join(late, ", "))
	}
	if !g.electLeader() && len(g.members) > 0 {
		// Only static members are left and none is back: wait for them once more.
		set(out, timerKey(keyJoin, g.id, ""), nowMs+g.rebalanceTimeoutMs())
		return
	}
	g.generation++
	m.counts.ClassicRebalances++
	clear(g.pendingSync)
	if len(g.members) == 0 {
		g.chosen = nil
		g.computeTopics()
		g.transition(empty, nowMs)
		note(out, "Group %s with generation %d is now empty.", g.id, g.generation)
		out.Records = append(out.Records, g.generationRecord(nil))
		return
	}
	chosen := g.selectProtocol()
	g.chosen = &chosen
	g.computeTopics()
	g.transition(completing, nowMs)
	note(out, "Stabilized group %s generation %d with %d members.", g.id, g.generation, len(g.members))
	for _, c := range g.all() {
		g.finishJoin(out, c, g.joined(c))
		m.scheduleHeartbeat(out, g, c, nowMs)
		c.isNew = false
		g.pendingSync[c.id] = struct{}{}
	}
	g.syncGeneration = g.generation
	set(out, timerKey(keySync, g.id, ""), nowMs+g.rebalanceTimeoutMs())
}

// electLeader keeps a leader that has joined, or takes the first member that has. It is
// false when no member has joined.
func (g *classicGroup) electLeader() bool {
	if g.leader == "" {
		return false
	}
	if c := g.members[g.leader]; c != nil && c.join != nil {
		return true
	}
	for _, c := range g.all() {
		if c.join != nil {
			g.leader = c.id
			return true
		}
	}
	return false
}

// propagate answers every member that waits for its assignment: with it, or with an
// error.
func (m *Machine) propagate(out *coord.Outcome, g *classicGroup, code *kafka.Code, nowMs int64) {
	for _, c := range g.all() {
		resp := g.synced(c)
		if code != nil {
			resp = syncFailed(code)
		}
		if g.finishSync(out, c, resp) {
			m.scheduleHeartbeat(out, g, c, nowMs)
		}
	}
}

// syncTimer removes the members that joined the generation and never asked for their
// assignment. A static one may be back, and wait for its answer.
func (m *Machine) syncTimer(out *coord.Outcome, g *classicGroup, nowMs int64) {
	if g.generation != g.syncGeneration || (g.state != completing && g.state != stable) || len(g.pendingSync) == 0 {
		return
	}
	silent := slices.Sorted(maps.Keys(g.pendingSync))
	for _, id := range silent {
		if c := g.members[id]; c != nil {
			g.finishJoin(out, c, joinFailed("", kafka.UnknownMemberID))
		}
		g.remove(id)
		cancel(out, timerKey(keyHeartbeat, g.id, id))
	}
	m.prepareRebalance(out, g, "Removing ["+strings.Join(silent, ", ")+"] on pending sync request expiration", nowMs)
}

// heartbeatTimer removes a member, or an id that was given out, whose session is over.
func (m *Machine) heartbeatTimer(out *coord.Outcome, g *classicGroup, id string, nowMs int64) {
	c := g.members[id]
	_, pending := g.pendingJoin[id]
	switch {
	case pending:
		note(out, "Pending member %s in group %s has been removed after session timeout expiration.", id, g.id)
		g.remove(id)
		m.completeIfLastLeft(out, g, nowMs)
	case c == nil:
	case c.join != nil && !c.isNew, c.sync != nil:
		// A member that waits for an answer does not heartbeat.
	default:
		note(out, "Member %s in group %s has failed, removing it from the group.", id, g.id)
		g.finishJoin(out, c, joinFailed("", kafka.UnknownMemberID))
		g.remove(id)
		if g.state == stable || g.state == completing {
			m.rebalanceOrCompleteJoin(out, g, "removing member "+id+" on heartbeat expiration.", nowMs)
			return
		}
		m.completeIfLastLeft(out, g, nowMs)
	}
}

// completeIfLastLeft ends the join phase when it waited for nobody but the one that has
// gone.
func (m *Machine) completeIfLastLeft(out *coord.Outcome, g *classicGroup, nowMs int64) {
	if g.state == preparing && g.allJoined() {
		m.completeJoin(out, g, nowMs)
	}
}

func (m *Machine) classicTimer(out *coord.Outcome, g *classicGroup, kind, memberID string, nowMs int64) {
	switch kind {
	case keyHeartbeat:
		m.heartbeatTimer(out, g, memberID, nowMs)
	case keyJoin:
		m.joinTimer(out, g, nowMs)
	case keySync:
		m.syncTimer(out, g, nowMs)
	}
}

// classicLoaded gives every member of a loaded group a whole session. A group that is
// over the limit rebalances, so that members can commit before they are refused.
func (m *Machine) classicLoaded(out *coord.Outcome, g *classicGroup, nowMs int64) {
	for _, c := range g.all() {
		m.scheduleHeartbeat(out, g, c, nowMs)
	}
	if len(g.members) > m.cfg.GroupMaxSize {
		why := fmt.Sprintf("Freshly-loaded group %s (size %d) is over capacity %d. Rebalancing in order to give a chance for consumers to commit offsets", g.id, len(g.members), m.cfg.GroupMaxSize)
		m.prepareRebalance(out, g, why, nowMs)
	}
}
