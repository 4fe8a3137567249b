package quorum

import (
	"context"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/storage"
)

// Peer is another node of the quorum and where it is reached. ID is kafka.NoNode for
// an address of controller.quorum.bootstrap.servers.
type Peer struct {
	ID       kafka.NodeID
	Endpoint storage.Endpoint
}

// Replica names a copy of the metadata log: DirectoryID is zero when the replica did
// not say.
type Replica struct {
	ID          kafka.NodeID // kafka.NoNode for a reader that is no replica
	DirectoryID kafka.UUID
}

// FetchArgs are what a replica asks for in a Fetch of the metadata log.
type FetchArgs struct {
	Replica Replica
	// CurrentLeaderEpoch is the newest epoch that the replica knows, LastFetchedEpoch
	// that of the record before FetchOffset.
	CurrentLeaderEpoch kafka.LeaderEpoch
	LastFetchedEpoch   kafka.LeaderEpoch
	FetchOffset        kafka.Offset
	// KnownHighWatermark is the replica's own high watermark; MaxInt64 when it does
	// not say, and then it is told a change with the next records.
	KnownHighWatermark kafka.Offset
	MaxBytes           int
}

// EpochEnd is an epoch of the log and the offset behind its last record.
type EpochEnd struct {
	Epoch     kafka.LeaderEpoch
	EndOffset kafka.Offset
}

// FetchAnswer answers FetchArgs. At most one of Diverging, Snapshot and Records is
// set.
type FetchAnswer struct {
	// Err is nil or a Kafka error for the partition.
	Err            error
	Leader         LeaderAndEpoch
	Endpoints      []storage.Endpoint
	HighWatermark  kafka.Offset // -1 while the leader does not know it
	LogStartOffset kafka.Offset
	// Diverging says that the replica's log is not a prefix of the leader's: their
	// common part ends at or before it.
	Diverging *EpochEnd
	// Snapshot is to be fetched instead of records that the log does not hold.
	Snapshot *storage.SnapshotID
	// Records are whole batches, each of them committed.
	Records []byte
}

// SnapshotArgs ask for a part of a snapshot.
type SnapshotArgs struct {
	Replica            Replica
	CurrentLeaderEpoch kafka.LeaderEpoch
	Snapshot           storage.SnapshotID
	Position           int64
	MaxBytes           int
}

// SnapshotAnswer is a part of a snapshot file.
type SnapshotAnswer struct {
	Err       error
	Leader    LeaderAndEpoch
	Endpoints []storage.Endpoint
	Size      int64
	Bytes     []byte
}

// Server is a voter as replicas of its log see it: what the doors Fetch,
// FetchSnapshot, and those of the membership of the quorum (KIP-853) stand before.
type Server interface {
	// Fetch answers at once, or waits until there is something to tell or ctx ends,
	// which is no error.
	Fetch(ctx context.Context, a FetchArgs) FetchAnswer
	// FetchSnapshot reads a part of a snapshot.
	FetchSnapshot(a SnapshotArgs) SnapshotAnswer
	// Receive takes a message of another voter or of a node that wants to follow, in
	// the private encoding, and returns the answer.
	Receive(body []byte) (answer []byte, err error)

	// AddVoter, RemoveVoter and UpdateVoter change the voter set one at a time and
	// return when the change is committed, AddVoter earlier if asked to. The error is a
	// Kafka error.
	AddVoter(ctx context.Context, v storage.Voter, ackWhenCommitted bool) error
	RemoveVoter(ctx context.Context, r Replica) error
	UpdateVoter(ctx context.Context, epoch kafka.LeaderEpoch, v storage.Voter) error

	LeaderEndpoints() (LeaderAndEpoch, []storage.Endpoint)
}
