package group

import (
	"fmt"
	"maps"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
)

// simMember is a member of the consumer protocol as a client sees itself. It owns what
// its last answer said, until it has told the coordinator otherwise.
type simMember struct {
	id     string
	epoch  int32
	owned  map[topicPartition]int32
	topics []string
	lost   bool       // the last answer was lost
	past   *simMember // what it was some time ago
}

// TestConsumerGroupsNeverShareAPartition runs random schedules of members that join,
// heartbeat, lose answers, die and leave, with changes of leader and lost batches, and
// checks from the members' side that no partition has two owners.
func TestConsumerGroupsNeverShareAPartition(t *testing.T) {
	for seed := range int64(60) {
		runConsumerModel(t, seed)
	}
}

func runConsumerModel(t *testing.T, seed int64) {
	rng := rand.New(rand.NewSource(seed))
	w := newWorld(t)
	w.silent = true
	w.addTopic("u", 2, 3)
	w.addTopic("v", 3, 2)
	members := map[string]*simMember{}
	n := 0
	for range 250 {
		ids := slices.Sorted(maps.Keys(members))
		switch k := rng.Intn(20); {
		case len(ids) == 0 || k == 0 && len(ids) < 5:
			n++
			members[fmt.Sprintf("m%d", n)] = &simMember{id: fmt.Sprintf("m%d", n), topics: randomTopics(rng)}
		case k == 1:
			w.advance(int64(rng.Intn(20000)))
		case k == 2:
			w.start() // change of leader
		case k == 3:
			w.fail = kafka.NotEnoughReplicas
		case k == 6: // a client goes back to what it was, as after a long pause
			c := members[ids[rng.Intn(len(ids))]]
			if c.past != nil && c.past.epoch > 0 {
				c.epoch, c.owned, c.past = c.past.epoch, c.past.owned, nil
				simBeat(t, w, c, rng, false)
			} else {
				c.past = &simMember{epoch: c.epoch, owned: maps.Clone(c.owned)}
			}
		case k == 4:
			c := members[ids[rng.Intn(len(ids))]]
			c.topics = randomTopics(rng)
			simBeat(t, w, c, rng, true)
		case k == 5:
			c := members[ids[rng.Intn(len(ids))]]
			delete(members, c.id)
			if rng.Intn(2) == 0 { // it leaves, or dies
				r := kmsg.NewPtrConsumerGroupHeartbeatRequest()
				r.Version, r.Group, r.MemberID, r.MemberEpoch = 1, "g", c.id, -1
				w.apply(w.m.ConsumerGroupHeartbeat(w.now, w.next(), coord.Client{}, r))
			}
		default:
			simBeat(t, w, members[ids[rng.Intn(len(ids))]], rng, false)
		}
		w.fail = nil
		checkOwners(t, w, members, seed)
	}
	settle(t, w, members, rng, seed)
}

func randomTopics(rng *rand.Rand) []string {
	all := [][]string{{"t"}, {"t", "u"}, {"u", "v"}, {"t", "u", "v"}}
	return all[rng.Intn(len(all))]
}

// simBeat sends one heartbeat and takes the answer, or loses it.
func simBeat(t *testing.T, w *world, c *simMember, rng *rand.Rand, subscribe bool) {
	r := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	r.Version, r.Group, r.MemberID, r.MemberEpoch = 1, "g", c.id, c.epoch
	r.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	if c.epoch == 0 || subscribe || c.lost {
		r.RebalanceTimeoutMillis, r.SubscribedTopicNames = 30000, c.topics
	}
	if c.epoch > 0 {
		byTopic := map[kafka.TopicID][]int32{}
		for tp := range c.owned {
			byTopic[tp.id] = append(byTopic[tp.id], tp.partition)
		}
		for _, id := range sortedIDs(byTopic) {
			rt := kmsg.NewConsumerGroupHeartbeatRequestTopic()
			rt.TopicID, rt.Partitions = id, byTopic[id]
			r.Topics = append(r.Topics, rt)
		}
	}
	var resp *kmsg.ConsumerGroupHeartbeatResponse
	w.replies = func(p coord.Reply) { resp, _ = p.Response.(*kmsg.ConsumerGroupHeartbeatResponse) }
	w.apply(w.m.ConsumerGroupHeartbeat(w.now, w.next(), coord.Client{ID: "c", Host: "/h"}, r))
	w.replies = nil
	if c.lost = resp == nil || rng.Intn(8) == 0 && c.epoch > 0; c.lost {
		return
	}
	switch code := kafka.CodeForNum(resp.ErrorCode); code {
	case nil:
	case kafka.FencedMemberEpoch, kafka.UnknownMemberID, kafka.GroupIDNotFound:
		c.epoch, c.owned = 0, nil
		return
	default:
		t.Fatalf("heartbeat of %s: %s", c.id, code.Name())
	}
	c.epoch = resp.MemberEpoch
	if resp.Assignment != nil {
		c.owned = map[topicPartition]int32{}
		for _, rt := range resp.Assignment.Topics {
			for _, p := range rt.Partitions {
				c.owned[topicPartition{rt.TopicID, p}] = c.epoch
			}
		}
	}
}

// checkOwners compares the members that the coordinator knows, at their epoch: one that
// was removed has lost its session and its commits are refused.
func checkOwners(t *testing.T, w *world, members map[string]*simMember, seed int64) {
	g, ok := w.m.groups["g"].(*consumerGroup)
	if !ok {
		return
	}
	owner := map[topicPartition]string{}
	for _, id := range g.memberIDs() {
		for _, o := range []owned{g.members[id].assigned, g.members[id].revoking} {
			for topic, parts := range o {
				for p := range parts {
					tp := topicPartition{topic, p}
					if other, taken := owner[tp]; taken {
						t.Fatalf("seed %d: %v belongs to %s and %s", seed, tp, other, id)
					}
					owner[tp] = id
				}
			}
		}
	}
	for _, c := range members {
		known := g.members[c.id]
		if known == nil || c.epoch == 0 || c.epoch > known.epoch || c.epoch < known.epoch && c.epoch != known.previousEpoch {
			continue // fenced with its next request
		}
		for tp := range c.owned {
			if other, taken := owner[tp]; taken && other != c.id {
				t.Fatalf("seed %d: %s at epoch %d believes to own %v of %s", seed, c.id, c.epoch, tp, other)
			}
		}
	}
}

// settle lets the members heartbeat until nothing moves, and checks that every partition
// that someone subscribes to has an owner, and that the log says the same.
func settle(t *testing.T, w *world, members map[string]*simMember, rng *rand.Rand, seed int64) {
	for range 30 {
		for _, id := range slices.Sorted(maps.Keys(members)) {
			simBeat(t, w, members[id], rng, members[id].epoch == 0)
		}
		w.advance(3000)
	}
	g, ok := w.m.groups["g"].(*consumerGroup)
	if !ok || len(members) == 0 {
		return
	}
	if s := g.stateName(); s != "Stable" {
		t.Fatalf("seed %d: group is %s after all", seed, s)
	}
	want := map[topicPartition]bool{}
	for _, c := range g.members {
		for _, name := range c.topics {
			topic := w.img.Topic(name)
			for p := range topic.NumPartitions() {
				want[topicPartition{topic.ID, int32(p)}] = true
			}
		}
	}
	for tp := range want {
		if _, has := g.owner[tp]; !has {
			t.Fatalf("seed %d: nobody owns %v", seed, tp)
		}
	}
	if len(g.owner) != len(want) {
		t.Fatalf("seed %d: %d owned, %d subscribed", seed, len(g.owner), len(want))
	}
	sameAfterReplay(t, w, seed)
}

// sameAfterReplay checks that a machine that replays the log is the one that wrote it.
func sameAfterReplay(t *testing.T, w *world, seed int64) {
	again := New(w.cfg)
	for _, l := range w.log {
		if err := again.Replay(l.rec, l.from); err != nil {
			t.Fatal(err)
		}
	}
	if a, b := dump(w.m), dump(again); a != b {
		t.Fatalf("seed %d: after replay\n%s\nbefore\n%s", seed, b, a)
	}
}

// dump writes the hard state of a machine.
func dump(m *Machine) string {
	var b strings.Builder
	for _, id := range m.Groups() {
		switch g := m.groups[id].(type) {
		case *consumerGroup:
			fmt.Fprintf(&b, "%s consumer %d %d %d %v\n", id, g.epoch, g.hash, g.targetEpoch, g.targetMs)
			for _, mid := range g.memberIDs() {
				c := g.members[mid]
				fmt.Fprintf(&b, " %s %d %d %d %v %v %v %q -> %v\n", mid, c.epoch, c.previousEpoch, c.state, c.assigned, c.revoking, c.topics, c.regex, g.target[mid])
			}
		case *classicGroup:
			fmt.Fprintf(&b, "%s classic %v %d %q %q %q\n", id, g.state, g.generation, g.typ, deref(g.chosen), g.leader)
			for _, c := range g.all() {
				fmt.Fprintf(&b, " %s %q %d %d\n", c.id, c.assignment, c.sessionTimeoutMs, c.rebalanceTimeoutMs)
			}
		}
	}
	for _, p := range m.offsets.all() {
		fmt.Fprintf(&b, "%v %+v\n", p, *m.offsets.get(p))
	}
	for _, pid := range slices.Sorted(maps.Keys(m.pending)) {
		for _, p := range m.pending[pid].all() {
			fmt.Fprintf(&b, "pending %d %v %+v\n", pid, p, *m.pending[pid].get(p))
		}
	}
	return b.String()
}

// TestAssignors checks both assignors on random groups: every partition with a subscriber
// has one owner that subscribes; the uniform one is balanced and keeps what it can.
func TestAssignors(t *testing.T) {
	for seed := range int64(200) {
		rng := rand.New(rand.NewSource(seed))
		spec := randomSpec(rng, seed%2 == 0)
		for _, name := range []string{uniformName, rangeName} {
			got := assignors[name](spec)
			owner := map[topicPartition]string{}
			for _, c := range spec.members {
				for id, parts := range got[c.id] {
					for _, p := range parts {
						if o, taken := owner[topicPartition{id, p}]; taken || !c.subscribes(id) || p >= spec.counts[id] {
							t.Fatalf("%s seed %d: %v-%d to %s, owned by %q", name, seed, id, p, c.id, o)
						}
						owner[topicPartition{id, p}] = c.id
					}
				}
			}
			total := 0
			for _, n := range spec.counts {
				total += int(n)
			}
			if len(owner) != total {
				t.Fatalf("%s seed %d: %d of %d partitions assigned", name, seed, len(owner), total)
			}
			if name == uniformName {
				checkUniform(t, spec, got, seed, total)
			}
		}
	}
}

func checkUniform(t *testing.T, spec *assignSpec, got map[string]partitions, seed int64, total int) {
	size := func(p partitions) (n int) {
		for _, parts := range p {
			n += len(parts)
		}
		return n
	}
	if spec.homogeneous {
		checkSticky(t, spec, got, seed, total)
		for _, c := range spec.members {
			if n, even := size(got[c.id]), total/len(spec.members); n < even || n > even+1 {
				t.Fatalf("seed %d: %s has %d of %d among %d", seed, c.id, n, total, len(spec.members))
			}
		}
	}
	// The same members again: nothing moves.
	for i := range spec.members {
		spec.members[i].target = got[spec.members[i].id]
	}
	again := assignUniform(spec)
	for id := range got {
		if !got[id].equal(again[id]) {
			t.Fatalf("seed %d: %s had %v and is given %v", seed, id, got[id], again[id])
		}
	}
}

// checkSticky checks that no member loses a partition that it could keep.
func checkSticky(t *testing.T, spec *assignSpec, got map[string]partitions, seed int64, total int) {
	u := newUniform(spec)
	quota, extra := total/len(spec.members), total%len(spec.members)
	want := 0
	for _, n := range u.load {
		want += min(n, quota)
		if n > quota && extra > 0 {
			want++
			extra--
		}
	}
	kept := 0
	for tp, i := range u.owner {
		if got[spec.members[i].id].has(tp.id, tp.partition) {
			kept++
		}
	}
	if kept != want {
		t.Fatalf("seed %d: %d partitions stay, %d could", seed, kept, want)
	}
}

func randomSpec(rng *rand.Rand, homogeneous bool) *assignSpec {
	spec := &assignSpec{counts: map[kafka.TopicID]int32{}, homogeneous: homogeneous}
	subscribed := map[kafka.TopicID]bool{}
	var all []kafka.TopicID
	for i := range 1 + rng.Intn(5) {
		id := topicUUID(byte(i + 1))
		all = append(all, id)
		spec.counts[id] = int32(1 + rng.Intn(7))
	}
	for i := range 1 + rng.Intn(6) {
		m := assignMember{id: fmt.Sprintf("m%d", i), target: partitions{}}
		for _, id := range all {
			if homogeneous || rng.Intn(2) == 0 {
				m.topics = append(m.topics, id)
				subscribed[id] = true
			}
			for p := range int32(9) {
				if rng.Intn(4) == 0 {
					m.target[id] = append(m.target[id], p)
				}
			}
		}
		if rng.Intn(3) == 0 {
			inst := fmt.Sprintf("i%d", 9-i)
			m.instanceID = &inst
		}
		spec.members = append(spec.members, m)
	}
	for id := range spec.counts {
		if !subscribed[id] {
			delete(spec.counts, id)
		}
	}
	return spec
}
