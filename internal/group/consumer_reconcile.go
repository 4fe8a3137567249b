package group

import (
	"maps"
	"slices"

	"github.com/gregorhq/gregor/internal/kafka"
)

// reconcile moves one member towards its target: first it gives up what the target does
// not have, then it takes what others have given up (KIP-848).
type reconcile struct {
	member  *consumerMember
	epoch   int32 // of the target
	target  partitions
	topics  func(kafka.TopicID) bool // whether the member subscribes to the topic
	changed bool                     // the member's subscription has changed
	// held says whether any member still has the partition.
	held func(topicPartition) bool
	// owned is what the member says that it has; nil when it does not say.
	owned partitions
	said  bool
}

func (r *reconcile) run() (*consumerMember, error) {
	c := r.member
	switch c.state {
	case memberStable:
		if c.epoch != r.epoch {
			return r.next(c.epoch), nil
		}
		if r.changed {
			return r.dropUnsubscribed(), nil
		}
		return c, nil
	case memberUnrevoked:
		if !r.owns(c.revoking) {
			return r.next(c.epoch), nil
		}
		if r.changed {
			return r.dropUnsubscribed(), nil
		}
		return c, nil
	case memberUnreleased:
		return r.next(c.epoch), nil
	}
	if !r.said || len(r.owned) > 0 {
		return nil, kafka.FencedMemberEpoch.Errorf("The consumer group member is in a unknown state. The member must abandon all its partitions and rejoin.")
	}
	return r.next(r.epoch), nil
}

// owns says whether the member still has any of these; it has when it does not say.
func (r *reconcile) owns(o owned) bool {
	if !r.said {
		return true
	}
	for id, parts := range r.owned {
		for _, p := range parts {
			if _, ok := o.epoch(id, p); ok {
				return true
			}
		}
	}
	return false
}

// dropUnsubscribed takes topics from the member that it does not subscribe to any more,
// before there is a new target.
func (r *reconcile) dropUnsubscribed() *consumerMember {
	c := r.member
	assigned, revoking := owned{}, owned{}
	for id, parts := range c.revoking {
		revoking[id] = maps.Clone(parts)
	}
	dropped := false
	for id, parts := range c.assigned {
		if r.topics(id) {
			assigned[id] = parts
			continue
		}
		dropped = true
		for p, e := range parts {
			revoking.put(id, p, e)
		}
	}
	if !dropped {
		return c
	}
	d := c.withEpoch(c.epoch)
	d.assigned = assigned
	if r.owns(revoking) {
		d.state, d.revoking = memberUnrevoked, revoking
	}
	return d
}

// next computes the next step from what the member has.
func (r *reconcile) next(epoch int32) *consumerMember {
	c := r.member
	assigned, revoking, adding := owned{}, owned{}, owned{}
	unreleased := false
	for id, parts := range c.assigned {
		for p, e := range parts {
			if r.topics(id) && r.target.has(id, p) {
				assigned.put(id, p, e)
			} else {
				revoking.put(id, p, e)
			}
		}
	}
	for id, parts := range r.target {
		if !r.topics(id) {
			continue
		}
		for _, p := range parts {
			if _, has := assigned.epoch(id, p); has {
				continue
			}
			if _, own := c.revoking.epoch(id, p); !own && r.held(topicPartition{id, p}) {
				unreleased = true
				continue
			}
			adding.put(id, p, r.epoch)
		}
	}
	if len(revoking) > 0 && r.owns(revoking) {
		d := c.withEpoch(epoch)
		d.state, d.assigned, d.revoking = memberUnrevoked, assigned, revoking
		return d
	}
	for _, id := range sortedIDs(adding) {
		for _, p := range slices.Sorted(maps.Keys(adding[id])) {
			assigned.put(id, p, r.epoch)
		}
	}
	d := c.withEpoch(r.epoch)
	d.state, d.assigned, d.revoking = memberStable, assigned, nil
	if unreleased {
		d.state = memberUnreleased
	}
	return d
}
