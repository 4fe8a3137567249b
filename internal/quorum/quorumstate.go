package quorum

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/vfs"
)

// QuorumStateName is the file beside the metadata log that holds epoch and vote.
// docs/formats/quorum-state.md describes it.
const QuorumStateName = "quorum-state"

// ElectionState is what a voter must not forget: the newest leader epoch, and whom
// it voted for in it. The leader is kept for information.
type ElectionState struct {
	LeaderEpoch kafka.LeaderEpoch
	Leader      kafka.NodeID // kafka.NoNode when unknown
	VotedID     kafka.NodeID // kafka.NoNode when this node has not voted
	// VotedDirectoryID is kept from version 1 on.
	VotedDirectoryID kafka.UUID
	// Voters are kept in version 0, where the voter set is configuration.
	Voters []kafka.NodeID
}

// quorumStateV0 and quorumStateV1 are the two shapes of the file, with the fields
// in the order in which they are written.
type quorumStateV0 struct {
	ClusterID     string        `json:"clusterId"`
	LeaderID      int32         `json:"leaderId"`
	LeaderEpoch   int32         `json:"leaderEpoch"`
	VotedID       int32         `json:"votedId"`
	AppliedOffset int64         `json:"appliedOffset"`
	CurrentVoters []quorumVoter `json:"currentVoters"`
	DataVersion   int16         `json:"data_version"`
}

type quorumStateV1 struct {
	LeaderID         int32  `json:"leaderId"`
	LeaderEpoch      int32  `json:"leaderEpoch"`
	VotedID          int32  `json:"votedId"`
	VotedDirectoryID string `json:"votedDirectoryId"`
	DataVersion      int16  `json:"data_version"`
}

type quorumVoter struct {
	VoterID int32 `json:"voterId"`
}

// Encode returns the file's content. The version follows kraft.version: 0 for a
// static voter set, 1 for a dynamic one.
func (s ElectionState) Encode(kraftVersion int16) []byte {
	var v any
	if kraftVersion == 0 {
		voters := make([]quorumVoter, 0, len(s.Voters))
		for _, id := range s.Voters {
			voters = append(voters, quorumVoter{int32(id)})
		}
		v = quorumStateV0{
			LeaderID: int32(s.Leader), LeaderEpoch: s.LeaderEpoch, VotedID: int32(s.VotedID),
			CurrentVoters: voters,
		}
	} else {
		v = quorumStateV1{
			LeaderID: int32(s.Leader), LeaderEpoch: s.LeaderEpoch, VotedID: int32(s.VotedID),
			VotedDirectoryID: s.VotedDirectoryID.String(), DataVersion: 1,
		}
	}
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // structs of numbers and plain strings always marshal
	}
	return data
}

// ParseElectionState reads the file's content.
func ParseElectionState(data []byte) (ElectionState, error) {
	raw := struct {
		LeaderID         *int32        `json:"leaderId"`
		LeaderEpoch      *int32        `json:"leaderEpoch"`
		VotedID          *int32        `json:"votedId"`
		VotedDirectoryID string        `json:"votedDirectoryId"`
		CurrentVoters    []quorumVoter `json:"currentVoters"`
		DataVersion      *int16        `json:"data_version"`
	}{}
	if err := json.Unmarshal(data, &raw); err != nil {
		return ElectionState{}, fmt.Errorf("%s is not valid: %w", QuorumStateName, err)
	}
	switch {
	case raw.DataVersion == nil:
		return ElectionState{}, fmt.Errorf("%s does not have data_version field", QuorumStateName)
	case *raw.DataVersion < 0 || *raw.DataVersion > 1:
		return ElectionState{}, fmt.Errorf("data_version (%d) is not within the min (0) and max (1) supported version", *raw.DataVersion)
	case raw.LeaderEpoch == nil || *raw.LeaderEpoch < 0:
		return ElectionState{}, fmt.Errorf("%s has no valid leaderEpoch", QuorumStateName)
	}
	s := ElectionState{LeaderEpoch: *raw.LeaderEpoch, Leader: kafka.NoNode, VotedID: kafka.NoNode}
	if raw.LeaderID != nil {
		s.Leader = kafka.NodeID(*raw.LeaderID)
	}
	if raw.VotedID != nil {
		s.VotedID = kafka.NodeID(*raw.VotedID)
	}
	if s.Leader < kafka.NoNode || s.VotedID < kafka.NoNode {
		return ElectionState{}, fmt.Errorf("%s names a negative node", QuorumStateName)
	}
	if *raw.DataVersion >= 1 && raw.VotedDirectoryID != "" {
		id, err := kafka.ParseUUID(raw.VotedDirectoryID)
		if err != nil {
			return ElectionState{}, fmt.Errorf("%s: votedDirectoryId: %w", QuorumStateName, err)
		}
		s.VotedDirectoryID = id
	}
	for _, v := range raw.CurrentVoters {
		s.Voters = append(s.Voters, kafka.NodeID(v.VoterID))
	}
	return s, nil
}

// ReadElectionState reads the file in the metadata log's directory. A directory
// that has none gives the state before the first election.
func ReadElectionState(fsys vfs.FS, dir string) (ElectionState, error) {
	data, err := vfs.ReadFile(fsys, filepath.Join(dir, QuorumStateName))
	if errors.Is(err, fs.ErrNotExist) {
		return ElectionState{Leader: kafka.NoNode, VotedID: kafka.NoNode}, nil
	}
	if err != nil {
		return ElectionState{}, fmt.Errorf("reading %s: %w", QuorumStateName, err)
	}
	return ParseElectionState(data)
}

// WriteElectionState replaces the file durably: when it returns, the vote counts.
func WriteElectionState(fsys vfs.FS, dir string, s ElectionState, kraftVersion int16) error {
	if err := vfs.WriteFileAtomic(fsys, filepath.Join(dir, QuorumStateName), s.Encode(kraftVersion)); err != nil {
		return fmt.Errorf("writing %s: %w", QuorumStateName, err)
	}
	return nil
}
