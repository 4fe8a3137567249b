package group

import (
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/coord"
)

// classicClient is a member of the classic protocol as a client sees itself.
type classicClient struct {
	id     string
	gen    int32
	leader []string // the members, when it leads
	waits  coord.Token
	synced bool
}

// classicModel runs random schedules of such clients and checks what they are told.
type classicModel struct {
	t       *testing.T
	seed    int64
	rng     *rand.Rand
	w       *world
	clients []*classicClient
	byToken map[coord.Token]*classicClient
	gens    map[int32]map[string]string // generation, partition: member
	newest  int32                       // generation of the last answer to a join
	commits int
}

// TestClassicGenerationsNeverShareAPartition checks from the members' side that a
// partition has one owner in a generation, that only the newest generation commits, and
// that the log says what the group said.
func TestClassicGenerationsNeverShareAPartition(t *testing.T) {
	commits := 0
	for seed := range int64(60) {
		m := &classicModel{t: t, seed: seed, rng: rand.New(rand.NewSource(seed)), w: newWorld(t),
			byToken: map[coord.Token]*classicClient{}, gens: map[int32]map[string]string{}}
		m.w.silent = true
		m.w.cfg.InitialRebalanceDelayMs = 500
		m.w.start()
		m.w.replies = m.reply
		for range 400 {
			m.step()
		}
		m.finish()
		commits += m.commits
	}
	if commits < 100 {
		t.Fatalf("only %d commits were accepted", commits)
	}
}

func (m *classicModel) step() {
	w := m.w
	switch k := m.rng.Intn(30); {
	case len(m.clients) == 0 || k == 0 && len(m.clients) < 5:
		m.clients = append(m.clients, &classicClient{})
	case k == 1:
		w.advance(int64(m.rng.Intn(6000)))
	case k == 2:
		w.release()
		w.start()
		m.newest = 0
		if g, ok := w.m.groups["g"].(*classicGroup); ok {
			m.newest = g.generation
		}
		for _, c := range m.clients {
			c.waits = 0 // their connections broke
		}
	case k == 3:
		w.hold = true
	case k == 4:
		i := m.rng.Intn(len(m.clients))
		r := kmsg.NewPtrLeaveGroupRequest()
		r.Version, r.Group, r.MemberID = 1, "g", m.clients[i].id
		m.clients = slices.Delete(m.clients, i, i+1)
		w.apply(w.m.LeaveGroup(w.now, w.next(), coord.Client{}, r))
	case k < 8:
		w.advance(100)
	case k < 12:
		w.release()
	default:
		m.act(m.clients[m.rng.Intn(len(m.clients))])
	}
}

// act lets a client do what a client does next.
func (m *classicModel) act(c *classicClient) {
	w := m.w
	switch {
	case c.waits != 0 && m.rng.Intn(20) > 0:
		return
	case c.gen == 0:
		c.waits = w.next()
		m.byToken[c.waits] = c
		r := joinRequest(parseArgs([]string{"v=3", "rebalance=3000", "session=6000"}))
		r.MemberID = c.id
		w.apply(w.m.JoinGroup(w.now, c.waits, coord.Client{ID: "c", Host: "/h"}, r))
	case !c.synced:
		c.waits = w.next()
		m.byToken[c.waits] = c
		w.apply(w.m.SyncGroup(w.now, c.waits, coord.Client{}, m.syncOf(c)))
	case m.rng.Intn(2) == 0:
		m.commit(c)
	default:
		to := w.next()
		m.byToken[to] = c
		r := kmsg.NewPtrHeartbeatRequest()
		r.Group, r.MemberID, r.Generation = "g", c.id, c.gen
		w.apply(w.m.Heartbeat(w.now, to, coord.Client{}, r))
	}
}

// syncOf brings, from a leader, an assignment of four partitions.
func (m *classicModel) syncOf(c *classicClient) *kmsg.SyncGroupRequest {
	r := kmsg.NewPtrSyncGroupRequest()
	r.Group, r.MemberID, r.Generation = "g", c.id, c.gen
	for i, id := range c.leader {
		var mine []string
		for p := i; p < 4; p += len(c.leader) {
			mine = append(mine, fmt.Sprint(p))
		}
		r.GroupAssignment = append(r.GroupAssignment, kmsg.SyncGroupRequestGroupAssignment{MemberID: id, MemberAssignment: []byte(strings.Join(mine, ","))})
	}
	return r
}

func (m *classicModel) commit(c *classicClient) {
	w := m.w
	r := commitRequest(parseArgs([]string{"t:0:1"}))
	r.MemberID, r.Generation = c.id, c.gen
	if m.rng.Intn(3) == 0 {
		r.Generation-- // it went on before the client knew
	}
	old := r.Generation < m.newest
	w.fail = nil
	to := w.next()
	out := w.m.OffsetCommit(w.now, to, coord.Client{}, r)
	if len(out.Records) > 0 {
		m.commits++
		if old {
			m.t.Fatalf("seed %d: generation %d committed after %d began", m.seed, c.gen, m.newest)
		}
	}
	w.apply(out)
}

func (m *classicModel) reply(r coord.Reply) {
	c := m.byToken[r.To]
	if c == nil {
		return
	}
	delete(m.byToken, r.To)
	if c.waits == r.To {
		c.waits = 0
	}
	switch p := r.Response.(type) {
	case *kmsg.JoinGroupResponse:
		if p.ErrorCode != 0 {
			c.id, c.gen = "", 0
			return
		}
		c.id, c.gen, c.synced, c.leader = p.MemberID, p.Generation, false, nil
		for _, one := range p.Members {
			c.leader = append(c.leader, one.MemberID)
		}
		m.newest = max(m.newest, p.Generation)
	case *kmsg.SyncGroupResponse:
		if p.ErrorCode != 0 {
			c.gen = 0
			return
		}
		c.synced = true
		m.own(c, string(p.MemberAssignment))
	case *kmsg.HeartbeatResponse:
		if p.ErrorCode != 0 {
			c.gen = 0
		}
	}
}

// own notes what a member was given and that nobody else was in its generation.
func (m *classicModel) own(c *classicClient, assignment string) {
	if m.gens[c.gen] == nil {
		m.gens[c.gen] = map[string]string{}
	}
	if assignment == "" {
		return
	}
	for _, p := range strings.Split(assignment, ",") {
		if o, taken := m.gens[c.gen][p]; taken && o != c.id {
			m.t.Fatalf("seed %d: in generation %d partition %s belongs to %s and %s", m.seed, c.gen, p, o, c.id)
		}
		m.gens[c.gen][p] = c.id
	}
}

// finish lets the group become stable and compares it with what the log says.
func (m *classicModel) finish() {
	m.w.release()
	for range 200 {
		for _, c := range m.clients {
			m.act(c)
		}
		m.w.advance(200)
	}
	if g, ok := m.w.m.groups["g"].(*classicGroup); ok && (g.state == stable || g.state == empty) {
		sameAfterReplay(m.t, m.w, m.seed)
	} else if ok && len(m.clients) > 0 {
		m.t.Fatalf("seed %d: the group is %v after all", m.seed, g.state)
	}
}
