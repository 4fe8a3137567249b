package group

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/invariant"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/records"
)

// classicState is the state of a classic group. A group that is removed is dead; nothing
// is in that state while it can be found.
type classicState int

const (
	empty      classicState = iota // no members
	preparing                      // members are joining the next generation
	completing                     // waiting for the leader's assignment
	stable                         // every member has, or can fetch, its assignment
)

// String is the state's name in responses.
func (s classicState) String() string {
	return [...]string{"Empty", "PreparingRebalance", "CompletingRebalance", "Stable"}[s]
}

// consumerProtocol is the protocol type of consumers.
const consumerProtocol = "consumer"

// classicGroup is one group of the classic protocol.
//
// Invariants: members and order hold the same ids, order by time of joining; every
// static member's id is in members; awaitingJoin counts the members with a join waiter;
// supported counts for each protocol the members that name it.
type classicGroup struct {
	id          string
	state       classicState
	previous    classicState
	stateMs     int64 // time of the last transition, -1 when unknown
	generation  int32
	typ         string  // protocol type, "" until a member has joined
	chosen      *string // protocol of the generation
	leader      string  // "" for none
	members     map[string]*classicMember
	order       []string
	static      map[string]string   // instance id to member id
	pendingJoin map[string]struct{} // ids that were given out and have not joined with them
	pendingSync map[string]struct{} // members of the generation that have not synced

	awaitingJoin int
	supported    map[string]int
	// topics are the subscribed topics of the generation; nil when not known.
	topics map[string]struct{}

	// newMember, delayMs and remainingMs belong to the initial rebalance: it is extended
	// while new members come.
	newMember            bool
	delayMs, remainingMs int64
	// syncGeneration is the generation that the sync timer was set for.
	syncGeneration int32
}

// waiter is a parked request: whom to answer, in which version.
type waiter struct {
	to      coord.Token
	version int16
}

type classicMember struct {
	id                 string
	instanceID         *string
	clientID           string
	clientHost         string
	rebalanceTimeoutMs int32
	sessionTimeoutMs   int32
	protocols          []kmsg.JoinGroupRequestProtocol
	// assignment is that of the last generation whose assignment was written, empty for who
	// was not in it. It is kept through the rebalances after it, in which a cooperative
	// member consumes on: an upgrade has to know what members have.
	assignment []byte
	isNew      bool
	join, sync *waiter
}

func newClassicGroup(id string) *classicGroup {
	return &classicGroup{
		id: id, state: empty, stateMs: -1,
		members:     map[string]*classicMember{},
		static:      map[string]string{},
		pendingJoin: map[string]struct{}{},
		pendingSync: map[string]struct{}{},
		supported:   map[string]int{},
	}
}

func (g *classicGroup) groupID() string   { return g.id }
func (g *classicGroup) kind() string      { return "classic" }
func (g *classicGroup) stateName() string { return g.state.String() }
func (g *classicGroup) protocol() string  { return g.typ }
func (g *classicGroup) isEmpty() bool     { return g.state == empty }

func (g *classicGroup) transition(to classicState, nowMs int64) {
	valid := map[classicState][]classicState{
		empty:      {preparing},
		preparing:  {stable, completing, empty},
		completing: {preparing},
		stable:     {completing},
	}
	invariant.Check(slices.Contains(valid[to], g.state), "group %s: transition from %v to %v", g.id, g.state, to)
	g.previous, g.state, g.stateMs = g.state, to, nowMs
}

// canRebalance says whether PreparingRebalance may follow the state.
func (g *classicGroup) canRebalance() bool { return g.state != preparing }

// all returns the members by time of joining.
func (g *classicGroup) all() []*classicMember {
	all := make([]*classicMember, len(g.order))
	for i, id := range g.order {
		all[i] = g.members[id]
	}
	return all
}

func (g *classicGroup) add(c *classicMember, typ string) {
	if len(g.members) == 0 {
		g.typ = typ
	}
	if c.instanceID != nil {
		g.static[*c.instanceID] = c.id
	}
	if g.leader == "" {
		g.leader = c.id
	}
	g.members[c.id] = c
	g.order = append(g.order, c.id)
	g.count(c, 1)
	if c.join != nil {
		g.awaitingJoin++
	}
	delete(g.pendingJoin, c.id)
}

func (g *classicGroup) count(c *classicMember, n int) {
	for _, p := range c.protocols {
		if g.supported[p.Name] += n; g.supported[p.Name] == 0 {
			delete(g.supported, p.Name)
		}
	}
}

// remove forgets a member or a pending id; the eldest other member becomes the leader
// when the leader goes.
func (g *classicGroup) remove(id string) {
	if c := g.members[id]; c != nil {
		delete(g.members, id)
		g.order = slices.DeleteFunc(g.order, func(o string) bool { return o == id })
		g.count(c, -1)
		if c.join != nil {
			g.awaitingJoin--
		}
		if c.instanceID != nil {
			delete(g.static, *c.instanceID)
		}
	}
	if g.leader == id {
		g.leader = ""
		if len(g.order) > 0 {
			g.leader = g.order[0]
		}
	}
	delete(g.pendingJoin, id)
	delete(g.pendingSync, id)
}

// replaceStatic gives the member of an instance id a new member id. The clients that wait
// under the old one are fenced.
func (g *classicGroup) replaceStatic(out *coord.Outcome, instanceID, oldID, newID string) *classicMember {
	old := g.members[oldID]
	g.finishJoin(out, old, joinFailed(oldID, kafka.FencedInstanceID))
	g.finishSync(out, old, syncFailed(kafka.FencedInstanceID))
	c := *old
	c.id, c.isNew = newID, false
	delete(g.members, oldID)
	g.members[newID] = &c
	g.order[slices.Index(g.order, oldID)] = newID
	if _, ok := g.pendingSync[oldID]; ok {
		delete(g.pendingSync, oldID)
		g.pendingSync[newID] = struct{}{}
	}
	if g.leader == oldID {
		g.leader = newID
	}
	g.static[instanceID] = newID
	return &c
}

// update takes over what a joining member says of itself.
// A request that already waits for the same member was given up by its client.
func (g *classicGroup) update(out *coord.Outcome, c *classicMember, protocols []kmsg.JoinGroupRequestProtocol, rebalanceMs, sessionMs int32, w *waiter) {
	g.count(c, -1)
	c.protocols = protocols
	g.count(c, 1)
	c.rebalanceTimeoutMs, c.sessionTimeoutMs = rebalanceMs, sessionMs
	if w != nil && c.join != nil {
		g.finishJoin(out, c, joinFailed(c.id, kafka.RebalanceInProgress))
	}
	if w != nil && c.join == nil {
		g.awaitingJoin++
	} else if w == nil && c.join != nil {
		g.awaitingJoin--
	}
	c.join = w
}

// supports says whether a member with these protocols fits: it shares a protocol with
// all members.
func (g *classicGroup) supports(typ string, protocols []kmsg.JoinGroupRequestProtocol) bool {
	if g.state == empty {
		return typ != "" && len(protocols) > 0
	}
	return g.typ == typ && slices.ContainsFunc(protocols, func(p kmsg.JoinGroupRequestProtocol) bool {
		return g.supported[p.Name] == len(g.members)
	})
}

// selectProtocol lets every member vote for the first of its protocols that all members
// support. Among equals the one that was voted for first wins.
func (g *classicGroup) selectProtocol() string {
	votes := map[string]int{}
	var best string
	for _, c := range g.all() {
		for _, p := range c.protocols {
			if g.supported[p.Name] == len(g.members) {
				votes[p.Name]++
				break
			}
		}
	}
	for _, c := range g.all() {
		for _, p := range c.protocols {
			if votes[p.Name] > votes[best] {
				best = p.Name
			}
		}
	}
	return best
}

// metadataFor returns the member's metadata of a protocol.
func (c *classicMember) metadataFor(protocol string) []byte {
	for _, p := range c.protocols {
		if p.Name == protocol {
			return p.Metadata
		}
	}
	return nil
}

// matches says whether a member joins with what it already has.
func (c *classicMember) matches(protocols []kmsg.JoinGroupRequestProtocol) bool {
	return slices.EqualFunc(c.protocols, protocols, func(a, b kmsg.JoinGroupRequestProtocol) bool {
		return a.Name == b.Name && slices.Equal(a.Metadata, b.Metadata)
	})
}

// validateMember checks a member id against the group, and against the owner of the
// instance id.
func (g *classicGroup) validateMember(memberID string, instanceID *string) error {
	if instanceID != nil {
		switch owner, ok := g.static[*instanceID]; {
		case !ok:
			return kafka.UnknownMemberID.Errorf("group %s has no member with instance id %s", g.id, *instanceID)
		case owner != memberID:
			return kafka.FencedInstanceID.Errorf("instance id %s of group %s is owned by member %s", *instanceID, g.id, owner)
		}
	}
	if g.members[memberID] == nil {
		return kafka.UnknownMemberID.Errorf("group %s has no member %s", g.id, memberID)
	}
	return nil
}

func (g *classicGroup) validateCommit(c commitSource) (partitionCheck, error) {
	switch {
	case c.epoch < 0 && g.state == empty:
		return nil, nil
	case c.epoch >= 0 || c.memberID != "" || c.instanceID != nil:
		if err := g.validateMember(c.memberID, c.instanceID); err != nil {
			return nil, err
		}
		if c.epoch != g.generation {
			return nil, kafka.IllegalGeneration.Errorf("commit of generation %d, group %s has %d", c.epoch, g.id, g.generation)
		}
	case !c.txn:
		return nil, kafka.UnknownMemberID.Errorf("group %s has members, a commit needs a member id", g.id)
	}
	if !c.txn && g.state == completing {
		return nil, kafka.RebalanceInProgress.Errorf("group %s is rebalancing", g.id)
	}
	return nil, nil
}

func (g *classicGroup) validateFetch(*string, int32) error { return nil }

func (g *classicGroup) validateOffsetDelete() error {
	if g.state != empty && g.typ != consumerProtocol {
		return kafka.NonEmptyGroup.Errorf("group %s has members", g.id)
	}
	return nil
}

func (g *classicGroup) validateDelete() error {
	if g.state != empty {
		return kafka.NonEmptyGroup.Errorf("group %s has members", g.id)
	}
	return nil
}

// subscribedTo is true for every topic while the subscription of a group of consumers is
// not known.
func (g *classicGroup) subscribedTo(topic string) bool {
	if g.topics != nil {
		_, ok := g.topics[topic]
		return ok
	}
	return g.typ == consumerProtocol
}

func (g *classicGroup) expiresSince(o *offset) (int64, bool) {
	switch {
	case g.typ == "":
		return o.commitTimestamp, true
	case g.state == empty && g.stateMs != -1:
		return g.stateMs, true
	case g.state == empty:
		return o.commitTimestamp, true
	}
	return o.commitTimestamp, g.typ == consumerProtocol && g.topics != nil && g.state == stable
}

func (g *classicGroup) tombstones() []coord.Record {
	return []coord.Record{{Key: groupKey(g.id)}}
}

func (g *classicGroup) timerKeys() []string {
	keys := []string{timerKey(keyJoin, g.id, ""), timerKey(keySync, g.id, "")}
	for _, id := range g.order {
		keys = append(keys, timerKey(keyHeartbeat, g.id, id))
	}
	return keys
}

// computeTopics sets the subscribed topics from the members' metadata. Metadata that is
// not a consumer's leaves them unknown.
func (g *classicGroup) computeTopics() {
	g.topics = nil
	if g.typ != consumerProtocol || (g.chosen == nil && len(g.members) > 0) {
		return
	}
	topics := map[string]struct{}{}
	for _, c := range g.members {
		all, err := parseTopics(c.metadataFor(*g.chosen))
		if err != nil {
			return
		}
		for _, t := range all {
			topics[t] = struct{}{}
		}
	}
	g.topics = topics
}

func groupKey(id string) []byte {
	return records.EncodeCoordinatorKey(&records.GroupMetadataKey{Group: id})
}
