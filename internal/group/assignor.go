package group

import (
	"cmp"
	"slices"
	"strings"

	"github.com/gregorhq/gregor/internal/kafka"
)

// Names of the server-side assignors.
const (
	uniformName = "uniform"
	rangeName   = "range"
)

// assignor computes who gets what.
type assignor func(spec *assignSpec) map[string]partitions

var assignors = map[string]assignor{uniformName: assignUniform, rangeName: assignRange}

// assignorNames takes Kafka's class names for the names of its assignors.
func assignorNames(all []string) []string {
	const pkg = "org.apache.kafka.coordinator.group.assignor."
	names := slices.Clone(all)
	for i, n := range names {
		switch n {
		case pkg + "UniformAssignor":
			names[i] = uniformName
		case pkg + "RangeAssignor":
			names[i] = rangeName
		}
	}
	return names
}

// assignSpec is what an assignor sees. Members are sorted by id and hold the topics that
// they subscribe to and that exist, sorted by id.
type assignSpec struct {
	members     []assignMember
	counts      map[kafka.TopicID]int32 // partitions of each subscribed topic
	homogeneous bool                    // all members subscribe to the same topics
}

type assignMember struct {
	id         string
	instanceID *string
	topics     []kafka.TopicID
	target     partitions // what it had
}

// subscribes says whether the member subscribes to a topic.
func (a *assignMember) subscribes(id kafka.TopicID) bool {
	_, ok := slices.BinarySearchFunc(a.topics, id, compareIDs)
	return ok
}

// assignRange gives every subscriber of a topic a contiguous range of its partitions, so
// that topics with as many partitions are assigned alike. Static members come first, by
// instance id, and so keep their ranges over restarts.
func assignRange(spec *assignSpec) map[string]partitions {
	members := slices.Clone(spec.members)
	slices.SortFunc(members, func(a, b assignMember) int {
		switch {
		case a.instanceID != nil && b.instanceID != nil:
			return strings.Compare(*a.instanceID, *b.instanceID)
		case a.instanceID != nil:
			return -1
		case b.instanceID != nil:
			return 1
		}
		return strings.Compare(a.id, b.id)
	})
	subscribers := map[kafka.TopicID]int32{}
	for _, c := range members {
		for _, id := range c.topics {
			subscribers[id]++
		}
	}
	next, served := map[kafka.TopicID]int32{}, map[kafka.TopicID]int32{}
	all := make(map[string]partitions, len(members))
	for _, c := range members {
		p := partitions{}
		for _, id := range c.topics {
			quota := spec.counts[id] / subscribers[id]
			if served[id] < spec.counts[id]%subscribers[id] {
				quota++
			}
			served[id]++
			for range quota {
				p[id] = append(p[id], next[id])
				next[id]++
			}
		}
		all[c.id] = p
	}
	return all
}

// assignUniform spreads all partitions evenly over the members and moves as few as
// possible.
func assignUniform(spec *assignSpec) map[string]partitions {
	u := newUniform(spec)
	if spec.homogeneous {
		u.trimToQuota()
	}
	u.assignFree()
	if !spec.homogeneous {
		u.balance()
	}
	return u.result()
}

// uniform is the work of one uniform assignment.
type uniform struct {
	spec  *assignSpec
	owner map[topicPartition]int // index of the member, of partitions that are kept
	load  []int
	all   []topicPartition // every partition, sorted by topic and index
}

// newUniform keeps what members had and may still have; a partition that two claim stays
// with the first.
func newUniform(spec *assignSpec) *uniform {
	u := &uniform{spec: spec, owner: map[topicPartition]int{}, load: make([]int, len(spec.members))}
	for _, id := range sortedIDs(spec.counts) {
		for p := range spec.counts[id] {
			u.all = append(u.all, topicPartition{id, p})
		}
	}
	for i := range spec.members {
		c := &spec.members[i]
		for _, id := range c.target.topicIDs() {
			if !c.subscribes(id) {
				continue
			}
			for _, p := range c.target[id] {
				tp := topicPartition{id, p}
				if _, taken := u.owner[tp]; taken || p >= spec.counts[id] {
					continue
				}
				u.owner[tp] = i
				u.load[i]++
			}
		}
	}
	return u
}

// trimToQuota takes from members what is above their share. As many members as there
// are partitions left over may keep one more.
func (u *uniform) trimToQuota() {
	n := len(u.spec.members)
	quota, extra := len(u.all)/n, len(u.all)%n
	limit := make([]int, n)
	for i := range limit {
		limit[i] = quota
		if u.load[i] > quota && extra > 0 {
			limit[i]++
			extra--
		}
	}
	// From the last partition back, so that the lower ones stay.
	for _, tp := range slices.Backward(u.all) {
		if i, ok := u.owner[tp]; ok && u.load[i] > limit[i] {
			delete(u.owner, tp)
			u.load[i]--
		}
	}
}

// assignFree gives every partition without an owner to the least loaded subscriber.
func (u *uniform) assignFree() {
	subscribers := u.subscribers()
	for _, tp := range u.all {
		if _, ok := u.owner[tp]; ok || len(subscribers[tp.id]) == 0 {
			continue
		}
		i := u.least(subscribers[tp.id])
		u.owner[tp] = i
		u.load[i]++
	}
}

func (u *uniform) subscribers() map[kafka.TopicID][]int {
	s := map[kafka.TopicID][]int{}
	for i := range u.spec.members {
		for _, id := range u.spec.members[i].topics {
			s[id] = append(s[id], i)
		}
	}
	return s
}

func (u *uniform) least(members []int) int {
	return slices.MinFunc(members, func(a, b int) int { return cmp.Or(cmp.Compare(u.load[a], u.load[b]), cmp.Compare(a, b)) })
}

// balance moves partitions from members to others that subscribe to their topic and have
// at least two less. Every move lowers the sum of the squares of the loads, so it ends.
func (u *uniform) balance() {
	subscribers := u.subscribers()
	for moved := true; moved; {
		moved = false
		for _, tp := range u.all {
			from, ok := u.owner[tp]
			if !ok {
				continue
			}
			to := u.least(subscribers[tp.id])
			if u.load[from]-u.load[to] >= 2 {
				u.owner[tp] = to
				u.load[from]--
				u.load[to]++
				moved = true
			}
		}
	}
}

func (u *uniform) result() map[string]partitions {
	all := make(map[string]partitions, len(u.spec.members))
	for _, c := range u.spec.members {
		all[c.id] = partitions{}
	}
	for _, tp := range u.all {
		if i, ok := u.owner[tp]; ok {
			p := all[u.spec.members[i].id]
			p[tp.id] = append(p[tp.id], tp.partition)
		}
	}
	return all
}
