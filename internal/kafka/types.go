package kafka

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
)

// NodeID numbers a broker or controller. Valid ids are not negative; NoNode
// stands for "none".
type NodeID int32

// NoNode is the absence of a node, for example a partition without a leader.
const NoNode NodeID = -1

// Offset is a position in a partition's log.
type Offset = int64

// LeaderEpoch counts the leaders of one partition; it only grows.
type LeaderEpoch = int32

// NoEpoch stands for "no leader epoch known".
const NoEpoch LeaderEpoch = -1

// TopicPartition names a partition by topic name and index.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// String is also the name of the partition's folder in a log directory.
func (tp TopicPartition) String() string {
	return tp.Topic + "-" + strconv.FormatInt(int64(tp.Partition), 10)
}

// ParseTopicPartition is the inverse of TopicPartition.String: the last dash
// separates the index.
func ParseTopicPartition(s string) (TopicPartition, error) {
	i := strings.LastIndexByte(s, '-')
	if i <= 0 || i == len(s)-1 {
		return TopicPartition{}, fmt.Errorf("%q is not of the form topic-partition", s)
	}
	n, err := strconv.ParseUint(s[i+1:], 10, 31)
	if err != nil {
		return TopicPartition{}, fmt.Errorf("%q is not of the form topic-partition: %w", s, err)
	}
	return TopicPartition{Topic: s[:i], Partition: int32(n)}, nil
}

// UUID is a 16-byte identifier of a topic, cluster, directory or incarnation
// (KIP-516). Its text is URL-safe base64 without padding, 22 characters.
type UUID [16]byte

// TopicID identifies one incarnation of a topic name; a topic that is deleted
// and created again has another.
type TopicID = UUID

var (
	// ZeroUUID means "no id".
	ZeroUUID = UUID{}
	// MetadataTopicID is the reserved id of the metadata log.
	MetadataTopicID = UUID{15: 1}
)

// NewUUID returns a random version 4 id that is not reserved and whose text does
// not begin with a dash, so that it can be given on a command line.
func NewUUID() UUID {
	for {
		var u UUID
		if _, err := rand.Read(u[:]); err != nil {
			panic(err) // crypto/rand never fails on the platforms that Go supports
		}
		if u.finish() {
			return u
		}
	}
}

// UUIDFrom makes a version 4 id from 16 bytes of the caller's choosing, so that
// deterministic code can supply its own randomness. ok is false for bytes that
// give a reserved id or a text that begins with a dash.
func UUIDFrom(b [16]byte) (u UUID, ok bool) {
	u = UUID(b)
	ok = u.finish()
	return u, ok
}

// finish stamps version and variant, and says whether the id may be used.
func (u *UUID) finish() bool {
	u[6] = u[6]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
	return u.String()[0] != '-'
}

// String is Kafka's text form.
func (u UUID) String() string { return base64.RawURLEncoding.EncodeToString(u[:]) }

// IsZero says whether the id is absent.
func (u UUID) IsZero() bool { return u == ZeroUUID }

// ParseUUID reads Kafka's text form.
func ParseUUID(s string) (UUID, error) {
	var u UUID
	if len(s) > 24 {
		return u, fmt.Errorf("%.24q... is too long to be a base64 id", s)
	}
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
	if err != nil {
		return u, fmt.Errorf("%q is not a base64 id: %w", s, err)
	}
	if len(b) != len(u) {
		return u, fmt.Errorf("%q decodes to %d bytes, an id has 16", s, len(b))
	}
	copy(u[:], b)
	return u, nil
}
