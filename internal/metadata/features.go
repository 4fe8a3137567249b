package metadata

import (
	"fmt"

	"github.com/gregorhq/gregor/internal/features"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/records"
)

// Names of the features that the metadata itself depends on.
const (
	FeatureMetadataVersion = features.MetadataVersionName
	FeatureKRaftVersion    = features.KRaftVersionName
	FeatureELR             = "eligible.leader.replicas.version"
)

// FeatureLevel is the finalised level of one feature.
type FeatureLevel struct {
	Name  string
	Level int16
}

// FeatureNames returns every known feature but metadata.version.
func FeatureNames() []string {
	var names []string
	for i := range features.Production {
		names = append(names, features.Production[i].Name)
	}
	return names
}

// SupportedFeatures returns what this software supports of every feature,
// metadata.version first.
func SupportedFeatures() []FeatureRange {
	all := []FeatureRange{{Name: FeatureMetadataVersion, Min: int16(MinVersion), Max: int16(LatestVersion)}}
	for i := range features.Production {
		f := &features.Production[i]
		all = append(all, FeatureRange{Name: f.Name, Min: f.Versions[0].Level, Max: f.LatestProduction})
	}
	return all
}

// SupportedFeature returns what this software supports of one feature; 0 to 0
// for an unknown one.
func SupportedFeature(name string) FeatureRange {
	r, ok := findFeature(SupportedFeatures(), name)
	if !ok {
		return FeatureRange{Name: name}
	}
	return r
}

// ValidateFeatureLevel checks that a level of a feature other than
// metadata.version fits the levels that all features are to have. The message is
// the one that kafka-features shows.
func ValidateFeatureLevel(name string, level int16, all map[string]int16) error {
	f := features.Find(name)
	if f == nil {
		return kafka.InvalidUpdateVersion.Errorf("Feature %s not found.", name)
	}
	if err := f.Validate(level, false, all); err != nil {
		return kafka.InvalidUpdateVersion.Errorf("%w", err)
	}
	return nil
}

// BootstrapRecords returns the FeatureLevelRecords that a new cluster starts
// with, metadata.version first: the content of bootstrap.checkpoint. levels
// overrides the defaults of v; kraft.version is not among the records, it lives
// in the control records of the quorum.
func BootstrapRecords(v Version, levels map[string]int16) ([]records.Message, error) {
	if !v.Known() {
		return nil, fmt.Errorf("metadata.version %d is not between %d and %d", v, MinVersion, LatestVersion)
	}
	all := map[string]int16{FeatureMetadataVersion: int16(v)}
	for i := range features.Production {
		f := &features.Production[i]
		all[f.Name] = f.DefaultLevel(features.MetadataVersion(v))
	}
	for name, level := range levels {
		r := SupportedFeature(name)
		if _, known := all[name]; !known || level < r.Min || level > r.Max {
			return nil, fmt.Errorf("feature %s level %d is not supported", name, level)
		}
		if name == FeatureMetadataVersion && level != int16(v) {
			return nil, fmt.Errorf("metadata.version is given as %d and as %d", v, level)
		}
		all[name] = level
	}
	out := []records.Message{featureLevelRecord(FeatureMetadataVersion, int16(v))}
	for _, name := range sortedKeys(all) {
		level := all[name]
		if name == FeatureMetadataVersion || name == FeatureKRaftVersion || level == 0 {
			continue
		}
		if err := ValidateFeatureLevel(name, level, all); err != nil {
			return nil, err
		}
		out = append(out, featureLevelRecord(name, level))
	}
	return out, nil
}

func featureLevelRecord(name string, level int16) *records.FeatureLevelRecord {
	r := records.NewFeatureLevelRecord()
	r.Name, r.FeatureLevel = name, level
	return r
}
