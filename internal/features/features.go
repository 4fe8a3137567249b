package features

import "fmt"

// KRaftVersionName is finalised in control records of the quorum, not by a
// FeatureLevelRecord.
const KRaftVersionName = "kraft.version"

// Feature is one feature other than metadata.version.
type Feature struct {
	Name string
	// Versions are in order of their levels, which begin at 0 without gaps.
	Versions []Version
	// LatestProduction is the highest level that is complete.
	LatestProduction int16
}

// Version is one level of a feature.
type Version struct {
	Level int16
	// Bootstrap is the metadata.version from which a new cluster gets this level.
	Bootstrap MetadataVersion
	// Requires names features and the lowest level of each that must be finalised.
	Requires []Requirement
}

// Requirement is a lowest level of another feature.
type Requirement struct {
	Name  string
	Level int16
}

// Production lists every feature in the order in which tools print them.
var Production = []Feature{
	{KRaftVersionName, []Version{{0, MinimumVersion, nil}, {1, V39IV0, nil}}, 1},
	{"transaction.version", []Version{{0, MinimumVersion, nil}, {1, V40IV2, nil}, {2, V40IV2, nil}}, 2},
	{"group.version", []Version{{0, MinimumVersion, nil}, {1, V40IV0, nil}}, 1},
	{"eligible.leader.replicas.version", []Version{{0, MinimumVersion, nil},
		{1, V41IV0, []Requirement{{MetadataVersionName, int16(V40IV1)}}}}, 1},
	{"share.version", []Version{{0, MinimumVersion, nil}, {1, V42IV0, nil}, {2, V44IV0, nil}}, 2},
	{"streams.version", []Version{{0, MinimumVersion, nil}, {1, V42IV1, nil}}, 1},
}

// Find returns the feature of that name, or nil.
func Find(name string) *Feature {
	for i := range Production {
		if Production[i].Name == name {
			return &Production[i]
		}
	}
	return nil
}

// DefaultLevel is the level that a new cluster at mv gets.
func (f *Feature) DefaultLevel(mv MetadataVersion) int16 {
	level := f.Versions[0].Level
	for _, v := range f.Versions {
		if v.Bootstrap > mv {
			break
		}
		level = v.Level
	}
	return level
}

// Version returns the given level, or the error that tools show.
func (f *Feature) Version(level int16, unstable bool) (Version, error) {
	for _, v := range f.Versions {
		if v.Level == level && (unstable || level <= f.LatestProduction) {
			return v, nil
		}
	}
	return Version{}, fmt.Errorf("No feature:%s with feature level %d", f.Name, level)
}

// Validate says whether level may be finalised beside the given levels of all
// features, metadata.version among them.
func (f *Feature) Validate(level int16, unstable bool, levels map[string]int16) error {
	v, err := f.Version(level, unstable)
	if err != nil {
		return err
	}
	if mv, ok := levels[MetadataVersionName]; level >= 1 && (!ok || mv < int16(MinimumVersion)) {
		return fmt.Errorf("%s could not be set to %d because it depends on metadata.version=%d (%s)",
			f.Name, level, MinimumVersion, MinimumVersion)
	}
	for _, r := range v.Requires {
		if have, ok := levels[r.Name]; !ok || have < r.Level {
			return fmt.Errorf("%s could not be set to %d because it depends on %s level %d", f.Name, level, r.Name, r.Level)
		}
	}
	return nil
}
