package group

import (
	"math"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
)

// Versions of JoinGroup that change what the coordinator does.
const (
	joinNeedsMemberID  = 4 // a dynamic member is given its id before it joins (KIP-394)
	joinSkipAssignment = 9 // a static leader learns the members of an unchanged generation (KIP-814)
)

// maxString is the most bytes of a string in records and answers. maxIDPrefix is how long
// a member id may be before the random id, which has 36, and the dash before that.
const (
	maxString   = math.MaxInt16
	maxIDPrefix = maxString - 37
)

// joining is one JoinGroup request on its way.
type joining struct {
	m      *Machine
	g      *classicGroup
	now    int64
	w      waiter
	client coord.Client
	req    *kmsg.JoinGroupRequest
	out    *coord.Outcome
}

// JoinGroup adds a member to a group, or keeps it there while the group forms its next
// generation. The answer comes when the generation is complete.
func (m *Machine) JoinGroup(nowMs int64, to coord.Token, client coord.Client, req *kmsg.JoinGroupRequest) coord.Outcome {
	var out coord.Outcome
	w := waiter{to, req.Version}
	refuse := func(memberID string, code *kafka.Code) coord.Outcome {
		replyJoin(&out, w, joinFailed(memberID, code))
		return out
	}
	if req.Version == 0 {
		req.RebalanceTimeoutMillis = req.SessionTimeoutMillis
	}
	switch {
	case req.Group == "":
		return refuse(req.MemberID, kafka.InvalidGroupID)
	case req.SessionTimeoutMillis < m.cfg.MinSessionTimeoutMs || req.SessionTimeoutMillis > m.cfg.MaxSessionTimeoutMs:
		return refuse(req.MemberID, kafka.InvalidSessionTimeout)
	}
	if g, ok := m.groups[req.Group].(*consumerGroup); ok && !g.isEmpty() {
		return m.joinConsumerGroup(nowMs, w, client, req, g)
	}
	if req.MemberID == "" && len(memberIDPrefix(client, req)) > maxIDPrefix {
		// There is no answer that could name the member.
		return refuse("", kafka.UnknownServerError)
	}
	if g, ok := m.groups[req.Group].(*consumerGroup); ok {
		if req.MemberID != "" {
			return refuse(req.MemberID, kafka.UnknownMemberID)
		}
		// An empty consumer group gives way to a classic one.
		out.Records = append(out.Records, g.tombstones()...)
		m.removeGroup(req.Group)
		m.undoRemoval(&out, g)
	}
	g, _ := m.groups[req.Group].(*classicGroup)
	isNew := g == nil
	if isNew {
		if req.MemberID != "" {
			return refuse(req.MemberID, kafka.UnknownMemberID)
		}
		g = newClassicGroup(req.Group)
		g.stateMs = nowMs
		m.groups[req.Group] = g
	}
	j := &joining{m: m, g: g, now: nowMs, w: w, client: client, req: req, out: &out}
	j.run()
	if isNew {
		j.writeNewGroup()
	}
	return out
}

// undoRemoval brings back a group that an operation replaced, if the append fails.
func (m *Machine) undoRemoval(out *coord.Outcome, old group) {
	out.Op = &op{failed: func(*kafka.Code, int64) coord.Outcome {
		m.groups[old.groupID()] = old
		return coord.Outcome{}
	}}
}

// writeNewGroup gives a group that was just made its first record. If it cannot be
// written the member that made the group is refused.
func (j *joining) writeNewGroup() {
	g, w := j.g, j.w
	j.out.Records = append(j.out.Records, g.emptyRecord())
	before, _ := j.out.Op.(*op)
	j.out.Op = &op{failed: func(code *kafka.Code, nowMs int64) coord.Outcome {
		var out coord.Outcome
		for _, c := range g.all() {
			if c.join != nil && c.join.to == w.to {
				g.finishJoin(&out, c, joinFailed("", code))
			}
		}
		if before != nil {
			// The consumer group comes back, and nothing is left of the classic one.
			cancel(&out, g.timerKeys()...)
			undo := before.failed(code, nowMs)
			out.Replies = append(out.Replies, undo.Replies...)
		}
		return out
	}}
}

func (j *joining) run() {
	g, id := j.g, j.req.MemberID
	switch {
	case !j.accepted():
		g.remove(id)
		j.refuse("", kafka.GroupMaxSizeReached)
	case !g.supports(j.req.ProtocolType, j.req.Protocols):
		j.refuse(id, kafka.InconsistentGroupProtocol)
	case id == "":
		j.newMember()
	default:
		j.knownMember()
	}
}

func (j *joining) refuse(memberID string, code *kafka.Code) {
	replyJoin(j.out, j.w, joinFailed(memberID, code))
}

// accepted applies group.max.size.
func (j *joining) accepted() bool {
	g, limit := j.g, j.m.cfg.GroupMaxSize
	c := g.members[j.req.MemberID]
	switch g.state {
	case empty:
		return true
	case preparing:
		return c != nil && c.join != nil || g.awaitingJoin < limit
	}
	return c != nil || len(g.members) < limit
}

// memberIDPrefix is what the id of a new member begins with.
func memberIDPrefix(client coord.Client, req *kmsg.JoinGroupRequest) string {
	if req.InstanceID != nil {
		return *req.InstanceID
	}
	return client.ID
}

func (j *joining) newMember() {
	g, req := j.g, j.req
	id := memberIDPrefix(j.client, req) + "-" + j.m.randomID()
	switch {
	case req.InstanceID != nil:
		if old, ok := g.static[*req.InstanceID]; ok {
			j.replaceStatic(old, id)
			return
		}
		j.addMember(id)
	case req.Version >= joinNeedsMemberID:
		g.pendingJoin[id] = struct{}{}
		note(j.out, "Dynamic member with unknown member id joins group %s in %s state. Created a new member id %s and requesting the member to rejoin with this id.", g.id, g.stateName(), id)
		set(j.out, timerKey(keyHeartbeat, g.id, id), j.now+int64(req.SessionTimeoutMillis))
		j.refuse(id, kafka.MemberIDRequired)
	default:
		j.addMember(id)
	}
}

func (j *joining) knownMember() {
	g, req := j.g, j.req
	if _, pending := g.pendingJoin[req.MemberID]; pending && req.InstanceID == nil {
		j.addMember(req.MemberID)
		return
	}
	if err := g.validateMember(req.MemberID, req.InstanceID); err != nil {
		j.refuse(req.MemberID, kafka.CodeOf(err))
		return
	}
	c := g.members[req.MemberID]
	switch {
	case g.state == preparing,
		!c.matches(req.Protocols),
		g.state == stable && g.leader == c.id:
		why := "Updating metadata for member " + c.id + " during " + g.stateName()
		if g.state == stable && g.leader == c.id {
			why = "Leader " + c.id + " re-joining group during " + g.stateName()
		}
		g.update(j.out, c, req.Protocols, req.RebalanceTimeoutMillis, req.SessionTimeoutMillis, &j.w)
		j.m.rebalanceOrCompleteJoin(j.out, g, why+"; "+because(req.Reason), j.now)
	default:
		// The member lost the answer to a join that changed nothing since.
		resp := g.joined(c)
		if g.state == stable {
			resp.Members = nil
		}
		replyJoin(j.out, j.w, resp)
	}
}

func (j *joining) addMember(id string) {
	g, req := j.g, j.req
	c := &classicMember{
		id: id, instanceID: req.InstanceID, clientID: j.client.ID, clientHost: j.client.Host,
		rebalanceTimeoutMs: req.RebalanceTimeoutMillis, sessionTimeoutMs: req.SessionTimeoutMillis,
		protocols: req.Protocols, assignment: []byte{}, isNew: true, join: &j.w,
	}
	if g.state == preparing && g.previous == empty {
		g.newMember = true
	}
	g.add(c, req.ProtocolType)
	// A new member does not heartbeat while it waits for its first generation.
	set(j.out, timerKey(keyHeartbeat, g.id, id), j.now+j.m.cfg.NewMemberJoinTimeoutMs)
	why := "Adding new member " + id + " with group instance id " + orNull(req.InstanceID) + "; " + because(req.Reason)
	j.m.rebalanceOrCompleteJoin(j.out, g, why, j.now)
}

// replaceStatic lets a restarted static member take over. While the group is stable and
// the protocol stays, no rebalance is needed: only the new member id is written.
func (j *joining) replaceStatic(oldID, newID string) {
	g, req := j.g, j.req
	note(j.out, "Static member with groupInstanceId=%s and unknown member id joins group %s in %s state. Replacing previously mapped member %s with this groupInstanceId.",
		*req.InstanceID, g.id, g.stateName(), oldID)
	oldLeader := g.leader
	before := *g.members[oldID]
	c := g.replaceStatic(j.out, *req.InstanceID, oldID, newID)
	cancel(j.out, timerKey(keyHeartbeat, g.id, oldID))
	g.update(j.out, c, req.Protocols, req.RebalanceTimeoutMillis, req.SessionTimeoutMillis, &j.w)
	j.m.scheduleHeartbeat(j.out, g, c, j.now)
	switch {
	case g.state == stable && g.chosen != nil && *g.chosen == g.selectProtocol():
		j.writeReplaced(c, &before, oldLeader)
	case g.state == stable:
		why := "Group's selectedProtocol will change because static member " + newID + " with instance id " + *req.InstanceID + " joined with change of protocol; "
		j.m.rebalanceOrCompleteJoin(j.out, g, why+because(req.Reason), j.now)
	case g.state == completing:
		why := "Updating metadata for static member " + newID + " with instance id " + *req.InstanceID + "; "
		j.m.prepareRebalance(j.out, g, why+because(req.Reason), j.now)
	default:
		j.m.completeJoinIfAll(j.out, g, j.now)
	}
}

// writeReplaced writes the generation under the new member id, and answers when that is
// committed; if it cannot be written the old member is put back.
func (j *joining) writeReplaced(c, before *classicMember, oldLeader string) {
	m, g, w := j.m, j.g, j.w
	generation := g.generation
	j.out.Records = append(j.out.Records, g.generationRecord(g.assignments()))
	j.out.Op = &op{
		committed: func(nowMs int64) coord.Outcome {
			var out coord.Outcome
			if g.members[c.id] != c || c.join == nil || g.generation != generation || g.state != stable {
				return out // a rebalance has begun; it answers the join
			}
			resp := g.joined(c)
			if w.version >= joinSkipAssignment {
				resp.SkipAssignment = g.leader == c.id
			} else {
				// An older leader that saw itself named would assign anew.
				resp.LeaderID, resp.Members = oldLeader, nil
			}
			g.finishJoin(&out, c, resp)
			m.scheduleHeartbeat(&out, g, c, nowMs) // the session may have ended while it waited
			return out
		},
		failed: func(code *kafka.Code, nowMs int64) coord.Outcome {
			var out coord.Outcome
			resp := joinFailed("", code)
			resp.Generation, resp.Protocol, resp.LeaderID = g.generation, g.chosen, oldLeader
			g.finishJoin(&out, c, resp)
			g.update(&out, c, before.protocols, before.rebalanceTimeoutMs, before.sessionTimeoutMs, nil)
			cancel(&out, timerKey(keyHeartbeat, g.id, c.id))
			old := g.replaceStatic(&out, *c.instanceID, c.id, before.id)
			m.scheduleHeartbeat(&out, g, old, nowMs)
			return out
		},
	}
}
