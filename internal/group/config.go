package group

import (
	"encoding/hex"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
)

// MigrationPolicy is group.consumer.migration.policy: which way a live group may change
// its rebalance protocol.
type MigrationPolicy int

// The policies by their names in the configuration.
const (
	MigrateBidirectional MigrationPolicy = iota
	MigrateUpgrade
	MigrateDowngrade
	MigrateDisabled
)

func (p MigrationPolicy) upgrades() bool   { return p == MigrateBidirectional || p == MigrateUpgrade }
func (p MigrationPolicy) downgrades() bool { return p == MigrateBidirectional || p == MigrateDowngrade }

// ParseMigrationPolicy reads the value of group.consumer.migration.policy.
func ParseMigrationPolicy(s string) (p MigrationPolicy, ok bool) {
	switch s {
	case "bidirectional":
		return MigrateBidirectional, true
	case "upgrade":
		return MigrateUpgrade, true
	case "downgrade":
		return MigrateDowngrade, true
	case "disabled":
		return MigrateDisabled, true
	}
	return 0, false
}

// Range bounds a setting, both ends included.
type Range struct{ Min, Max int64 }

// Config is what a Machine needs from outside. Configure replaces it.
type Config struct {
	GroupMaxSize                 int   // group.max.size
	InitialRebalanceDelayMs      int64 // group.initial.rebalance.delay.ms
	NewMemberJoinTimeoutMs       int64 // how long a new classic member may wait for its first generation
	MinSessionTimeoutMs          int32 // group.min.session.timeout.ms
	MaxSessionTimeoutMs          int32 // group.max.session.timeout.ms
	OffsetMetadataMaxBytes       int   // offset.metadata.max.bytes
	OffsetsRetentionMs           int64 // offsets.retention.minutes
	OffsetsRetentionCheckMs      int64 // offsets.retention.check.interval.ms
	ConsumerGroupMaxSize         int   // group.consumer.max.size
	ConsumerAssignors            []string
	ConsumerMigrationPolicy      MigrationPolicy
	ConsumerRegexRefreshMs       int64 // group.consumer.regex.refresh.interval.ms
	ConsumerSessionTimeoutMs     int32 // group.consumer.session.timeout.ms
	ConsumerHeartbeatIntervalMs  int32 // group.consumer.heartbeat.interval.ms
	ConsumerAssignmentIntervalMs int32 // group.consumer.assignment.interval.ms

	// What a group's own configs may ask for: group.consumer.min.* and group.consumer.max.*
	// of the three settings above. Zero bounds nothing.
	ConsumerSessionTimeouts     Range
	ConsumerHeartbeatIntervals  Range
	ConsumerAssignmentIntervals Range

	// Image returns the broker's current metadata. Nil stands for an empty image.
	Image func() *metadata.Image
	// Random returns 16 bytes for a member id.
	Random func() [16]byte
	// GroupConfig returns the dynamic configs of one group (resource type GROUP), nil or
	// empty for none. Nil stands for no group having any.
	GroupConfig func(group string) map[string]string
}

// Default values, as Kafka's.
const (
	defaultNewMemberJoinTimeoutMs = 5 * 60 * 1000
	// metadataRefreshIntervalMs is how old the view of the subscribed topics may get.
	metadataRefreshIntervalMs = 3600 * 1000
	// regexMinRefreshIntervalMs is the least time between two resolutions in one group.
	regexMinRefreshIntervalMs = 10_000
)

// DefaultConfig returns Kafka's defaults, without the functions.
func DefaultConfig() Config {
	return Config{
		GroupMaxSize:                1<<31 - 1,
		InitialRebalanceDelayMs:     3000,
		NewMemberJoinTimeoutMs:      defaultNewMemberJoinTimeoutMs,
		MinSessionTimeoutMs:         6000,
		MaxSessionTimeoutMs:         1800000,
		OffsetMetadataMaxBytes:      4096,
		OffsetsRetentionMs:          7 * 24 * 3600 * 1000,
		OffsetsRetentionCheckMs:     600000,
		ConsumerGroupMaxSize:        1<<31 - 1,
		ConsumerAssignors:           []string{uniformName, rangeName},
		ConsumerRegexRefreshMs:      600000,
		ConsumerSessionTimeoutMs:    45000,
		ConsumerHeartbeatIntervalMs: 5000,
		// Zero: a target assignment may be computed with every epoch.
		ConsumerAssignmentIntervalMs: 0,
	}
}

func (m *Machine) image() *metadata.Image {
	if m.cfg.Image == nil {
		return metadata.Empty()
	}
	if img := m.cfg.Image(); img != nil {
		return img
	}
	return metadata.Empty()
}

// topicName returns the name of the topic with the id, "" when there is none.
func (m *Machine) topicName(id kafka.TopicID) string {
	if t := m.image().TopicByID(id); t != nil {
		return t.Name
	}
	return ""
}

// topicID is the id of the topic that has the name, zero when there is none.
func (m *Machine) topicID(name string) kafka.TopicID {
	if t := m.image().Topic(name); t != nil {
		return t.ID
	}
	return kafka.TopicID{}
}

// randomID returns a random id in the form of a version 4 UUID, lower-case hex.
func (m *Machine) randomID() string {
	b := m.cfg.Random()
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	s := hex.EncodeToString(b[:])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

// randomUUID returns a random id in Kafka's own text form.
func (m *Machine) randomUUID() string {
	for {
		if u, ok := kafka.UUIDFrom(m.cfg.Random()); ok {
			return u.String()
		}
	}
}
