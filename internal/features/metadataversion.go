package features

import (
	"fmt"
	"strings"
)

// MetadataVersionName is the name of the feature that all others rest on.
const MetadataVersionName = "metadata.version"

// MetadataVersion is a level of metadata.version.
type MetadataVersion int16

// Levels with a meaning for who writes records.
const (
	V33IV3 MetadataVersion = 7  // the oldest that a cluster can be at
	V34IV0 MetadataVersion = 8  // ZooKeeper migration
	V35IV2 MetadataVersion = 11 // SCRAM credentials
	V36IV1 MetadataVersion = 13 // metadata transactions
	V36IV2 MetadataVersion = 14 // delegation tokens
	V37IV0 MetadataVersion = 15 // controller registration
	V37IV2 MetadataVersion = 17 // directory assignment
	V39IV0 MetadataVersion = 21
	V40IV0 MetadataVersion = 22
	V40IV1 MetadataVersion = 23 // eligible leader replicas
	V40IV2 MetadataVersion = 24
	V41IV0 MetadataVersion = 26
	V42IV0 MetadataVersion = 28
	V42IV1 MetadataVersion = 29
	V43IV0 MetadataVersion = 30 // cordoned log directories
	V44IV0 MetadataVersion = 31
	V44IV2 MetadataVersion = 33
	V45IV0 MetadataVersion = 34
)

// MinimumVersion is the oldest level that can be read, LatestProduction the
// newest that is safe in production, and LatestTesting the newest that has a name.
// DefaultVersion is what storage is formatted with when nothing else is asked for:
// the newest that the tools and brokers of release 4.3 can read.
const (
	MinimumVersion   = V33IV3
	DefaultVersion   = V43IV0
	LatestProduction = V44IV2
	LatestTesting    = V45IV0
)

// metadataVersions lists every level in order: release, its internal version, and
// whether moving over it changes what the records mean.
var metadataVersions = []struct {
	level    MetadataVersion
	release  string
	internal string
	changes  bool
}{
	{7, "3.3", "IV3", true},
	{8, "3.4", "IV0", true},
	{9, "3.5", "IV0", false},
	{10, "3.5", "IV1", false},
	{11, "3.5", "IV2", true},
	{12, "3.6", "IV0", false},
	{13, "3.6", "IV1", true},
	{14, "3.6", "IV2", true},
	{15, "3.7", "IV0", true},
	{16, "3.7", "IV1", false},
	{17, "3.7", "IV2", true},
	{18, "3.7", "IV3", false},
	{19, "3.7", "IV4", false},
	{20, "3.8", "IV0", false},
	{21, "3.9", "IV0", false},
	{22, "4.0", "IV0", false},
	{23, "4.0", "IV1", true},
	{24, "4.0", "IV2", false},
	{25, "4.0", "IV3", false},
	{26, "4.1", "IV0", false},
	{27, "4.1", "IV1", false},
	{28, "4.2", "IV0", false},
	{29, "4.2", "IV1", false},
	{30, "4.3", "IV0", true},
	{31, "4.4", "IV0", false},
	{32, "4.4", "IV1", true},
	{33, "4.4", "IV2", true},
	{34, "4.5", "IV0", false},
}

// String is the full name, for example 4.3-IV0.
func (v MetadataVersion) String() string {
	for _, m := range metadataVersions {
		if m.level == v {
			return m.release + "-" + m.internal
		}
	}
	return fmt.Sprintf("level %d", int16(v))
}

// FromLevel returns the metadata.version of a level, or the error that tools show.
func FromLevel(level int16) (MetadataVersion, error) {
	for _, m := range metadataVersions {
		if int16(m.level) == level {
			return m.level, nil
		}
	}
	return 0, fmt.Errorf("No MetadataVersion with feature level %d. Valid feature levels are from %d to %d.",
		level, MinimumVersion, LatestTesting)
}

// FromVersionString reads a release such as 4.3, 4.3.1 or 4.3-IV0. A release
// stands for its newest level; what follows its second part is not looked at.
func FromVersionString(s string, unstable bool) (MetadataVersion, error) {
	last := LatestProduction
	if unstable {
		last = LatestTesting
	}
	key := s
	if parts := strings.Split(s, "."); len(parts) > 2 {
		key = parts[0] + "." + parts[1]
	}
	found := MetadataVersion(0)
	names := make([]string, 0, len(metadataVersions))
	for _, m := range metadataVersions {
		if m.level > last {
			break
		}
		names = append(names, m.level.String())
		if key == m.release || key == m.level.String() {
			found = m.level
		}
	}
	if found == 0 {
		return 0, fmt.Errorf("Unknown metadata.version '%s'. Supported metadata.version are: %s", s, strings.Join(names, ", "))
	}
	return found, nil
}

// MetadataChanged says whether a move between the two levels crosses one that
// changed what records mean, so that a downgrade would lose something.
func MetadataChanged(from, to MetadataVersion) bool {
	if to < from {
		from, to = to, from
	}
	for _, m := range metadataVersions {
		if m.level > from && m.level <= to && m.changes {
			return true
		}
	}
	return false
}
