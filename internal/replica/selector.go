package replica

import (
	"cmp"
	"slices"

	"github.com/gregorhq/gregor/internal/isr"
)

// NoReplica says that a consumer reads on from where it does.
const NoReplica int32 = -1

// preferred chooses the replica that a consumer in the given rack should read from
// (KIP-392): the leader if it is in that rack or none is; of several the one with most
// records. Only members of the ISR that hold the offset come into question. The
// consumer's listener must be known for the replica, or it could not get there.
func (p *Partition) preferred(rack, listener string, offset int64) int32 {
	img := p.m.image.Load()
	if rack == "" || img == nil {
		return NoReplica
	}
	inRack := func(id int32) bool {
		b := img.Broker(id)
		if b == nil || b.Fenced || b.Rack == nil || *b.Rack != rack {
			return false
		}
		_, ok := b.Endpoint(listener)
		return ok
	}
	if inRack(p.m.nodeID) {
		return NoReplica
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leader == nil {
		return NoReplica
	}
	var best *isr.Follower
	followers := p.leader.Followers()
	for i := range followers {
		f := &followers[i]
		if f.EndOffset < offset || f.LogStartOffset > offset || !slices.Contains(p.leader.ISR(), f.ID) || !inRack(f.ID) {
			continue
		}
		// The higher id among equals, as in Kafka.
		if best == nil || cmp.Or(cmp.Compare(f.EndOffset, best.EndOffset), cmp.Compare(f.LastCaughtUpMs, best.LastCaughtUpMs), cmp.Compare(f.ID, best.ID)) > 0 {
			best = f
		}
	}
	if best == nil {
		return NoReplica
	}
	return best.ID
}
