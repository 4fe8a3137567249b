package quorum

import (
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/storage"
)

// Batch is one committed batch of the metadata log. It is immutable once
// delivered. Messages is empty for a control batch, which still takes up its
// offsets.
type Batch struct {
	metadata.Batch
	// SizeBytes is what the batch takes in the log.
	SizeBytes int
}

// LeaderAndEpoch says who leads. Leader is kafka.NoNode while nobody is known to.
type LeaderAndEpoch struct {
	Leader kafka.NodeID
	Epoch  kafka.LeaderEpoch
}

// Listener receives the log. The engine calls the methods from one goroutine and
// waits for each to return, so they must not block on the engine.
type Listener interface {
	// HandleCommit delivers the next committed batch. An error stops the engine.
	HandleCommit(b *Batch) error
	// HandleSnapshot tells the listener to drop what it has and load the snapshot,
	// which the engine closes; the next batch begins at the snapshot's end offset.
	// An error stops the engine.
	HandleSnapshot(s *storage.SnapshotReader) error
	// HandleLeaderChange tells who leads now. When this node has become the leader
	// it is called only after every batch of earlier epochs was delivered, so that
	// the listener's state is complete.
	HandleLeaderChange(l LeaderAndEpoch)
}

// ReplicaState is what the leader knows of one replica of the log.
type ReplicaState struct {
	ID           kafka.NodeID
	DirectoryID  kafka.UUID
	LogEndOffset kafka.Offset
	// LastFetchTimestampMs and LastCaughtUpTimestampMs are -1 when unknown.
	LastFetchTimestampMs    int64
	LastCaughtUpTimestampMs int64
}

// Status is the data of DescribeQuorum. Voters and Observers are complete only on
// the leader.
type Status struct {
	LeaderAndEpoch
	HighWatermark kafka.Offset
	LogEndOffset  kafka.Offset
	Voters        []ReplicaState
	Observers     []ReplicaState
	VoterSet      storage.VoterSet
	KRaftVersion  int16
}

// Log is what every node knows the metadata log by: voters have it from their
// engine, nodes without the controller role from the observer. Its methods may be
// called from any goroutine.
type Log interface {
	// Register adds a listener; it must be called before Start. The engine first
	// gives the listener the newest snapshot, if there is one with records, and then
	// every committed batch after it.
	Register(l Listener)

	// CreateSnapshot returns a writer for the snapshot of everything below
	// id.EndOffset, which must be committed. It returns nil when there is such a
	// snapshot or a newer one, or when no batch begins there. SnapshotDone must be
	// called after Freeze.
	CreateSnapshot(id storage.SnapshotID, lastAppendTimeMs int64) (*storage.SnapshotWriter, error)
	// SnapshotDone tells that the snapshot is in place, so that what is older may be
	// deleted by the retention of the log.
	SnapshotDone(id storage.SnapshotID)

	// Leader says who leads as far as this node knows.
	Leader() LeaderAndEpoch
	// LeaderEndpoints is Leader with the leader's controller listeners, which are
	// empty when they are not known.
	LeaderEndpoints() (LeaderAndEpoch, []storage.Endpoint)
	// HighWatermark is the end of the committed log.
	HighWatermark() kafka.Offset
	// KRaftVersion is the kraft.version in force.
	KRaftVersion() int16
	// Describe returns the data of DescribeQuorum.
	Describe() Status
	// Failed is closed when the engine has stopped for good because its log or a
	// listener failed; Err then says why.
	Failed() <-chan struct{}
	Err() error

	// Start runs the engine's goroutine; Close stops it, after the listeners have
	// returned. The metadata log itself belongs to the caller.
	Start() error
	Close() error
}

// Engine is the Log of a voter, which may lead. Its methods may be called from any
// goroutine.
type Engine interface {
	Log

	// Propose appends recs as one batch if this node leads in the given epoch, and
	// returns the batch's last offset. It does not wait: the batch is committed when
	// a listener sees it, and lost if the listener sees another leader first. The
	// error is NotController when this node does not lead in that epoch and
	// RecordListTooLarge when the batch would be too large, and RequestTimedOut when it
	// cannot be taken now though this node may go on leading in the epoch; nothing was
	// appended then.
	Propose(epoch kafka.LeaderEpoch, recs []records.Message) (lastOffset kafka.Offset, err error)

	// NextOffset is the offset that the next proposed record gets if this node leads
	// in the epoch, and the log end otherwise. It gets a later one when the quorum
	// writes records of its own before it is proposed, for a change of the voters.
	NextOffset(epoch kafka.LeaderEpoch) kafka.Offset

	// UpgradeKRaftVersion appends the records that make version the kraft.version,
	// under the rules of Propose, and returns the last one's offset. The error is
	// InvalidUpdateVersion when the quorum cannot go there.
	UpgradeKRaftVersion(epoch kafka.LeaderEpoch, version int16) (lastOffset kafka.Offset, err error)

	// Resign gives up leadership of the epoch, for a leader that can no longer do
	// its work. It does nothing when this node does not lead in that epoch.
	Resign(epoch kafka.LeaderEpoch)
}
