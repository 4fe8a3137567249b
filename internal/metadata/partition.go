package metadata

import (
	"fmt"
	"slices"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/records"
)

// Leader values of a PartitionChangeRecord and of a Partition.
const (
	NoLeader       int32 = -1
	NoLeaderChange int32 = -2
)

// Leader recovery states (KIP-704). NoRecoveryChange stands in change records.
const (
	LeaderRecovered  int8 = 0
	LeaderRecovering int8 = 1
	NoRecoveryChange int8 = -1
)

// Reserved directory ids (KIP-858).
var (
	// DirMigrating says that the directory is not known, as the record is older
	// than directory assignment.
	DirMigrating = kafka.UUID{}
	// DirUnassigned says that no directory was chosen yet.
	DirUnassigned = kafka.UUID{15: 1}
	// DirLost says that the replica's directory went offline.
	DirLost = kafka.UUID{15: 2}
)

// Partition is the committed state of one partition. It never changes.
type Partition struct {
	Replicas         []int32
	Directories      []kafka.UUID // one a replica, in the order of Replicas
	ISR              []int32
	ELR              []int32
	LastKnownELR     []int32
	AddingReplicas   []int32
	RemovingReplicas []int32

	Leader         int32 // NoLeader when there is none
	LeaderEpoch    kafka.LeaderEpoch
	PartitionEpoch int32

	LeaderRecoveryState int8
}

// HasLeader says whether the partition is led by some broker.
func (p *Partition) HasLeader() bool { return p.Leader != NoLeader }

// PreferredReplica is the first replica, or NoLeader.
func (p *Partition) PreferredReplica() int32 {
	if len(p.Replicas) == 0 {
		return NoLeader
	}
	return p.Replicas[0]
}

// HasPreferredLeader says whether the preferred replica leads.
func (p *Partition) HasPreferredLeader() bool { return p.Leader == p.PreferredReplica() }

// Reassigning says whether replicas are being added or removed.
func (p *Partition) Reassigning() bool {
	return len(p.AddingReplicas) > 0 || len(p.RemovingReplicas) > 0
}

// HasReplica says whether the broker holds a replica.
func (p *Partition) HasReplica(broker int32) bool { return slices.Contains(p.Replicas, broker) }

// InISR says whether the broker is in the ISR.
func (p *Partition) InISR(broker int32) bool { return slices.Contains(p.ISR, broker) }

// InELR says whether the broker is an eligible leader replica (KIP-966).
func (p *Partition) InELR(broker int32) bool { return slices.Contains(p.ELR, broker) }

// Directory returns the directory of the broker's replica, DirMigrating when the
// broker holds none.
func (p *Partition) Directory(broker int32) kafka.UUID {
	if i := slices.Index(p.Replicas, broker); i >= 0 && i < len(p.Directories) {
		return p.Directories[i]
	}
	return DirMigrating
}

// Equal compares everything, epochs too.
func (p *Partition) Equal(o *Partition) bool {
	return p == o || slices.Equal(p.Replicas, o.Replicas) && slices.Equal(p.Directories, o.Directories) &&
		slices.Equal(p.ISR, o.ISR) && slices.Equal(p.ELR, o.ELR) && slices.Equal(p.LastKnownELR, o.LastKnownELR) &&
		slices.Equal(p.AddingReplicas, o.AddingReplicas) && slices.Equal(p.RemovingReplicas, o.RemovingReplicas) &&
		p.Leader == o.Leader && p.LeaderEpoch == o.LeaderEpoch && p.PartitionEpoch == o.PartitionEpoch &&
		p.LeaderRecoveryState == o.LeaderRecoveryState
}

// partitionFromRecord is the state that a PartitionRecord sets.
func partitionFromRecord(r *records.PartitionRecord) (*Partition, error) {
	if len(r.Directories) > 0 && len(r.Directories) != len(r.Replicas) {
		return nil, fmt.Errorf("partition %s:%d has %d replicas and %d directories", r.TopicID, r.PartitionID, len(r.Replicas), len(r.Directories))
	}
	if r.LeaderRecoveryState != LeaderRecovered && r.LeaderRecoveryState != LeaderRecovering {
		return nil, fmt.Errorf("partition %s:%d has leader recovery state %d", r.TopicID, r.PartitionID, r.LeaderRecoveryState)
	}
	p := &Partition{
		Replicas: r.Replicas, Directories: directoriesOrMigrating(r.Directories, len(r.Replicas)),
		ISR: r.ISR, ELR: r.EligibleLeaderReplicas, LastKnownELR: r.LastKnownELR,
		AddingReplicas: r.AddingReplicas, RemovingReplicas: r.RemovingReplicas,
		Leader: r.Leader, LeaderEpoch: r.LeaderEpoch, PartitionEpoch: r.PartitionEpoch,
		LeaderRecoveryState: r.LeaderRecoveryState,
	}
	if slices.Equal(p.ISR, p.Replicas) {
		p.ISR = p.Replicas // the usual case; saves the memory of the copy
	}
	return p, nil
}

// Merge returns the state after a change record.
func (p *Partition) Merge(r *records.PartitionChangeRecord) (*Partition, error) {
	n := *p
	if r.Replicas != nil {
		n.Replicas = r.Replicas
	}
	if r.Directories != nil {
		n.Directories = r.Directories
	}
	n.Directories = directoriesOrMigrating(n.Directories, len(n.Replicas))
	if len(n.Directories) != len(n.Replicas) {
		return nil, fmt.Errorf("partition %s:%d has %d replicas and %d directories", r.TopicID, r.PartitionID, len(n.Replicas), len(n.Directories))
	}
	if r.ISR != nil {
		n.ISR = r.ISR
	}
	if r.RemovingReplicas != nil {
		n.RemovingReplicas = r.RemovingReplicas
	}
	if r.AddingReplicas != nil {
		n.AddingReplicas = r.AddingReplicas
	}
	if r.EligibleLeaderReplicas != nil {
		n.ELR = r.EligibleLeaderReplicas
	}
	if r.LastKnownELR != nil {
		n.LastKnownELR = r.LastKnownELR
	}
	if r.Leader != NoLeaderChange {
		n.Leader = r.Leader
		n.LeaderEpoch++
	}
	if r.LeaderRecoveryState != NoRecoveryChange {
		n.LeaderRecoveryState = r.LeaderRecoveryState
	}
	n.PartitionEpoch++
	return &n, nil
}

// directoriesOrMigrating replaces directories that say nothing by one
// DirMigrating a replica.
func directoriesOrMigrating(dirs []kafka.UUID, replicas int) []kafka.UUID {
	for _, d := range dirs {
		if d != DirMigrating {
			return dirs
		}
	}
	if len(dirs) == replicas {
		return dirs
	}
	return make([]kafka.UUID, replicas)
}

// NewRecord is the PartitionRecord of the state at a metadata.version. elr says whether
// eligible leader replicas are kept; those of an empty ISR, which nothing else can lead, are
// kept when the feature was turned off meanwhile, too.
func (p *Partition) NewRecord(topic kafka.TopicID, index int32, v Version, elr bool) *records.PartitionRecord {
	r := records.NewPartitionRecord()
	r.Version = v.PartitionRecordVersion()
	r.PartitionID, r.TopicID = index, topic
	r.Replicas, r.ISR = p.Replicas, p.ISR
	r.RemovingReplicas, r.AddingReplicas = p.RemovingReplicas, p.AddingReplicas
	r.Leader, r.LeaderEpoch, r.PartitionEpoch = p.Leader, p.LeaderEpoch, p.PartitionEpoch
	r.LeaderRecoveryState = p.LeaderRecoveryState
	if v.DirectoryAssignmentSupported() {
		r.Directories = p.Directories
	}
	elr = elr || len(p.ISR) == 0 && v.ELRSupported()
	if elr && len(p.ELR) > 0 {
		r.EligibleLeaderReplicas = p.ELR
	}
	if elr && len(p.LastKnownELR) > 0 {
		r.LastKnownELR = p.LastKnownELR
	}
	return r
}

// ReservedDirectory says whether the id stands for something else than a real
// directory: the first hundred ids do.
func ReservedDirectory(dir kafka.UUID) bool {
	for _, b := range dir[:15] {
		if b != 0 {
			return false
		}
	}
	return dir[15] < 100
}
