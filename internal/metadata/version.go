package metadata

import "github.com/gregorhq/gregor/internal/features"

// Version is a metadata.version: it says which records, and which versions of
// them, may stand in the metadata log. The table of versions is in package
// features; here is what each means for records.
type Version int16

// Versions that only the rules below know.
const (
	v36IV0 Version = 12
	v44IV1 Version = 32
)

const (
	// MinVersion is the first version of a log that can still be read.
	MinVersion = Version(features.MinimumVersion)
	// LatestVersion is the newest version that is safe in production.
	LatestVersion = Version(features.LatestProduction)
	// DefaultVersion is what storage is formatted with when nothing else is asked
	// for.
	DefaultVersion = Version(features.DefaultVersion)
)

// Known says whether this software can work at the version.
func (v Version) Known() bool { return v >= MinVersion && v <= LatestVersion }

// String is Kafka's name, for example 4.3-IV0.
func (v Version) String() string { return features.MetadataVersion(v).String() }

// ChangedBetween says whether the metadata format differs between two versions,
// which forbids a downgrade from one to the other.
func ChangedBetween(a, b Version) bool {
	return features.MetadataChanged(features.MetadataVersion(a), features.MetadataVersion(b))
}

// atLeast compares with a version of the table.
func (v Version) atLeast(o features.MetadataVersion) bool { return features.MetadataVersion(v) >= o }

// ScramSupported says whether SCRAM credentials may be in the log.
func (v Version) ScramSupported() bool { return v.atLeast(features.V35IV2) }

// LeaderEpochBumpOnISRShrink says whether shrinking the ISR must start a new
// leader epoch, as brokers of that time relied on it.
func (v Version) LeaderEpochBumpOnISRShrink() bool { return v < v36IV0 }

// TransactionsSupported says whether metadata transactions may be used (KIP-866).
func (v Version) TransactionsSupported() bool { return v.atLeast(features.V36IV1) }

// DelegationTokensSupported says whether delegation tokens may be in the log.
func (v Version) DelegationTokensSupported() bool { return v.atLeast(features.V36IV2) }

// ControllerRegistrationSupported says whether controllers register (KIP-919).
func (v Version) ControllerRegistrationSupported() bool { return v.atLeast(features.V37IV0) }

// DirectoryAssignmentSupported says whether partitions name directories (KIP-858).
func (v Version) DirectoryAssignmentSupported() bool { return v.atLeast(features.V37IV2) }

// ELRSupported says whether records have eligible leader replicas (KIP-966).
func (v Version) ELRSupported() bool { return v.atLeast(features.V40IV1) }

// CordonedLogDirsSupported says whether registrations name cordoned directories
// (KIP-1066).
func (v Version) CordonedLogDirsSupported() bool { return v.atLeast(features.V43IV0) }

// CidrACLsSupported says whether the host of an ACL may be a network.
func (v Version) CidrACLsSupported() bool { return v >= v44IV1 }

// ControllerUnregistrationSupported says whether controllers can be unregistered
// (KIP-1312).
func (v Version) ControllerUnregistrationSupported() bool { return v.atLeast(features.V44IV2) }

// RegisterBrokerRecordVersion is the record version to write.
func (v Version) RegisterBrokerRecordVersion() int16 {
	switch {
	case v.CordonedLogDirsSupported():
		return 4
	case v.DirectoryAssignmentSupported():
		return 3
	case v.atLeast(features.V34IV0):
		return 2
	}
	return 1
}

// BrokerRegistrationChangeRecordVersion is the record version to write.
func (v Version) BrokerRegistrationChangeRecordVersion() int16 {
	switch {
	case v.CordonedLogDirsSupported():
		return 3
	case v.DirectoryAssignmentSupported():
		return 2
	}
	return 1
}

// PartitionRecordVersion is the version of PartitionRecord and of
// PartitionChangeRecord to write.
func (v Version) PartitionRecordVersion() int16 {
	switch {
	case v.ELRSupported():
		return 2
	case v.DirectoryAssignmentSupported():
		return 1
	}
	return 0
}
