package controller

import (
	"slices"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/records"
)

// election says how far a change may go to find a leader.
type election int

const (
	// The zero value keeps the leader if it is eligible and takes the first eligible
	// replica otherwise.
	_ election = iota
	// electPreferred takes the preferred replica if it is eligible.
	electPreferred
	// electUnclean takes any live replica when none is eligible; records that only
	// others had are lost.
	electUnclean
)

// change is the change of one partition in the making: what the ISR and the
// replicas are to be, from which build finds leader, ELR and directories, and
// writes down what differs.
type change struct {
	d     *decision
	topic *metadata.Topic
	index int32
	old   *metadata.Partition

	election election
	// alive says which replicas may lead: their broker is active and their
	// directory online.
	alive func(id int32) bool
	// uncleanShutdown is a broker that lost data it had acknowledged here, or NoLeader.
	uncleanShutdown int32

	// moved is a broker whose replica has a new directory, or NoLeader.
	moved   int32
	movedTo kafka.UUID
	// emptied says that the moved replica begins, or will begin, without its records.
	emptied bool

	isr, replicas, adding, removing []int32
	// countsELR says whether ELR and last known leader mean anything: the feature is on, or
	// was when the ISR became empty, which leaves no other way to a leader.
	countsELR bool
	elr       []int32
	recovery  int8
}

// newChange begins a change that keeps everything as it is.
func (d *decision) newChange(t *metadata.Topic, index int32, p *metadata.Partition) *change {
	c := &change{
		d: d, topic: t, index: index, old: p, uncleanShutdown: metadata.NoLeader, moved: metadata.NoLeader,
		isr: p.ISR, replicas: p.Replicas, adding: p.AddingReplicas, removing: p.RemovingReplicas,
		countsELR: d.elr || len(p.ISR) == 0, recovery: p.LeaderRecoveryState,
	}
	if c.countsELR {
		c.elr = p.ELR
	}
	c.alive = func(id int32) bool { return d.canLead(p, id, d.active(id)) }
	return c
}

// canLead says whether the replica's directory is online, given that its broker is
// active.
func (d *decision) canLead(p *metadata.Partition, id int32, active bool) bool {
	if !active {
		return false
	}
	b := d.img.Broker(id)
	return b != nil && b.HasOnlineDirectory(p.Directory(id))
}

// eligible says whether a replica has every acknowledged record and may lead.
func (c *change) eligible(id int32) bool {
	has := slices.Contains(c.isr, id) || len(c.isr) == 0 && slices.Contains(c.elr, id)
	return has && c.alive(id)
}

// elect returns the leader, NoLeader when there can be none, and whether it may
// lack acknowledged records.
func (c *change) elect() (leader int32, unclean bool) {
	if c.election == electPreferred && len(c.replicas) > 0 && c.eligible(c.replicas[0]) {
		return c.replicas[0], false
	}
	if c.eligible(c.old.Leader) {
		return c.old.Leader, false
	}
	if i := slices.IndexFunc(c.replicas, c.eligible); i >= 0 {
		return c.replicas[i], false
	}
	if c.lastKnownLeaderCanLead() {
		return c.old.LastKnownELR[0], true
	}
	if c.election == electUnclean {
		if i := slices.IndexFunc(c.replicas, c.alive); i >= 0 {
			return c.replicas[i], true
		}
	}
	return metadata.NoLeader, false
}

// lastKnownLeaderCanLead is the balanced recovery of KIP-966: with neither ISR nor
// ELR left, the last leader may come back.
func (c *change) lastKnownLeaderCanLead() bool {
	return c.countsELR && len(c.isr) == 0 && len(c.elr) == 0 &&
		len(c.old.LastKnownELR) == 1 && slices.Contains(c.replicas, c.old.LastKnownELR[0]) && c.alive(c.old.LastKnownELR[0])
}

// build returns the record of the change, or nil when nothing changes.
func (c *change) build() *records.PartitionChangeRecord {
	r := records.NewPartitionChangeRecord()
	r.Version = c.d.version.PartitionRecordVersion()
	r.TopicID, r.PartitionID = c.topic.ID, c.index
	c.completeReassignment()
	c.updateELR()
	c.electInto(r)
	if r.Leader == metadata.NoLeaderChange && !containsAll(c.replicas, c.old.Replicas) {
		// A removed replica must not follow the epoch that it was part of.
		r.Leader = c.old.Leader
	}
	c.writeELR(r)
	if r.ISR == nil && (len(c.isr) > 0 || c.d.elr) && !slices.Equal(c.isr, c.old.ISR) {
		r.ISR = present(c.isr)
	}
	if c.d.version.LeaderEpochBumpOnISRShrink() && r.Leader == metadata.NoLeaderChange &&
		r.ISR != nil && !containsAll(r.ISR, c.old.ISR) {
		r.Leader = c.old.Leader
	}
	c.writeLastKnownLeader(r)
	c.writeAssignment(r)
	if c.recovery != c.old.LeaderRecoveryState {
		r.LeaderRecoveryState = c.recovery
	}
	if noChange(r) {
		return nil
	}
	return r
}

// electInto elects and writes leader, and with an unclean leader ISR and recovery
// state.
func (c *change) electInto(r *records.PartitionChangeRecord) {
	leader, unclean := c.elect()
	if leader == c.old.Leader {
		return
	}
	r.Leader = leader
	if slices.Contains(c.elr, leader) {
		c.isr = []int32{leader}
		c.elr = without(c.elr, leader)
		if len(c.isr) >= c.d.minISR(c.topic) {
			// min.insync.replicas was lowered while nobody led: this leader acknowledges
			// alone what the other eligible ones will not have.
			c.elr = nil
		}
	}
	if unclean {
		r.ISR = []int32{leader}
		if c.old.LeaderRecoveryState != metadata.LeaderRecovering {
			r.LeaderRecoveryState = metadata.LeaderRecovering
		}
	}
}

// updateELR keeps replicas that leave an ISR which is too small to acknowledge
// anything: until it is large enough again they have every acknowledged record
// (KIP-966). A replica that shut down uncleanly has not. Nor has one that is moved away,
// which deletes its copy and begins with nothing if it is chosen again; Apache Kafka
// leaves those in the list, so that they may be found there.
func (c *change) updateELR() {
	if !c.countsELR {
		return
	}
	if len(c.isr) >= c.d.minISR(c.topic) {
		c.elr = nil
		return
	}
	candidates := slices.Clone(c.elr)
	for _, id := range c.old.ISR {
		if !slices.Contains(candidates, id) {
			candidates = append(candidates, id)
		}
	}
	slices.Sort(candidates)
	c.elr = slices.DeleteFunc(candidates, func(id int32) bool {
		stays := slices.Contains(c.replicas, id) && c.old.HasReplica(id)
		return !stays || slices.Contains(c.isr, id) || id == c.uncleanShutdown
	})
}

// writeELR writes the ELR down. With the feature off it ends with the first leader.
func (c *change) writeELR(r *records.PartitionChangeRecord) {
	if unclean := r.ISR != nil; unclean || !c.d.elr && len(c.isr) > 0 {
		c.elr = nil
	}
	if !slices.Equal(c.elr, c.old.ELR) {
		r.EligibleLeaderReplicas = present(c.elr)
	}
}

// writeLastKnownLeader remembers the last leader while there is none. One that has lost its
// records is forgotten: leading again it would have the others drop theirs.
func (c *change) writeLastKnownLeader(r *records.PartitionChangeRecord) {
	last := c.old.LastKnownELR
	switch {
	case r.Leader >= 0:
		last = nil
	case !c.countsELR || len(last) > 0:
	case r.Leader == metadata.NoLeader && c.old.HasLeader():
		last = []int32{c.old.Leader}
	case !c.old.HasLeader() && len(c.isr) == 0 && len(c.old.ISR) == 1:
		// It was fenced before there were eligible leader replicas, when the last one in
		// the ISR stayed there as the only one that may lead.
		last = c.old.ISR
	}
	if c.emptied {
		last = without(last, c.moved)
	}
	if !slices.Equal(last, c.old.LastKnownELR) {
		r.LastKnownELR = present(last)
	}
}

func (c *change) writeAssignment(r *records.PartitionChangeRecord) {
	if len(c.replicas) > 0 {
		if c.d.version.DirectoryAssignmentSupported() {
			dirs := make([]kafka.UUID, len(c.replicas))
			for i, id := range c.replicas {
				dirs[i] = c.directory(id)
			}
			if !slices.Equal(dirs, c.old.Directories) {
				r.Directories = dirs
			}
		}
		if !slices.Equal(c.replicas, c.old.Replicas) {
			r.Replicas = c.replicas
		}
	}
	if !slices.Equal(c.removing, c.old.RemovingReplicas) {
		r.RemovingReplicas = present(c.removing)
	}
	if !slices.Equal(c.adding, c.old.AddingReplicas) {
		r.AddingReplicas = present(c.adding)
	}
}

// directory is the directory that the replica is to be in.
func (c *change) directory(id int32) kafka.UUID {
	if id == c.moved {
		return c.movedTo
	}
	if at := slices.Index(c.old.Replicas, id); at >= 0 && at < len(c.old.Directories) {
		return c.old.Directories[at]
	}
	return c.d.defaultDirectory(id)
}

// completeReassignment drops the replicas to remove once every replica to add, and
// at least one that stays, is in the ISR (KIP-455).
func (c *change) completeReassignment() {
	if len(c.adding) == 0 && len(c.removing) == 0 {
		return
	}
	removed := func(id int32) bool { return slices.Contains(c.removing, id) }
	isr := slices.DeleteFunc(slices.Clone(c.isr), removed)
	replicas := slices.DeleteFunc(slices.Clone(c.replicas), removed)
	switch {
	case len(c.removing) > 0 && (len(isr) == 0 || len(replicas) == 0):
		return
	case !containsAll(isr, c.adding):
		return
	case len(c.adding) < len(c.removing) && !containsAll(isr, replicas):
		// Fewer replicas than before: completing now could shrink the ISR.
		return
	}
	c.replicas, c.isr, c.adding, c.removing = replicas, isr, nil, nil
}

func noChange(r *records.PartitionChangeRecord) bool {
	return r.ISR == nil && r.Leader == metadata.NoLeaderChange && r.Replicas == nil &&
		r.RemovingReplicas == nil && r.AddingReplicas == nil && r.LeaderRecoveryState == metadata.NoRecoveryChange &&
		r.EligibleLeaderReplicas == nil && r.LastKnownELR == nil && r.Directories == nil
}

// present is list in a record's field where nil means "as it was".
func present(list []int32) []int32 {
	if list == nil {
		return []int32{}
	}
	return list
}

func containsAll(list, all []int32) bool {
	for _, id := range all {
		if !slices.Contains(list, id) {
			return false
		}
	}
	return true
}

func without(list []int32, id int32) []int32 {
	out := make([]int32, 0, len(list))
	for _, e := range list {
		if e != id {
			out = append(out, e)
		}
	}
	return out
}
