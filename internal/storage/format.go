package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/gregorhq/gregor/internal/features"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/vfs"
)

// FormatOptions are what kafka-storage format is told.
type FormatOptions struct {
	NodeID    kafka.NodeID
	ClusterID string
	// Directories are all log directories, the metadata log's included.
	Directories    []string
	MetadataLogDir string
	// ControllerListenerName is the first controller listener.
	ControllerListenerName string
	// ReleaseVersion is --release-version; 0 takes features.DefaultVersion.
	ReleaseVersion features.MetadataVersion
	// FeatureLevels are the --feature arguments.
	FeatureLevels map[string]int16
	// UnstableFeatureVersions is unstable.feature.versions.enable.
	UnstableFeatureVersions bool
	// IgnoreFormatted is --ignore-formatted.
	IgnoreFormatted bool
	// ScramArguments are the --add-scram arguments.
	ScramArguments []string
	// DynamicQuorum says that controller.quorum.voters is empty.
	DynamicQuorum bool
	// InitialControllers are the voters of --standalone or --initial-controllers.
	InitialControllers VoterSet
	// Now stamps what is written; NewUUID draws directory ids, kafka.NewUUID if nil.
	Now     time.Time
	NewUUID func() kafka.UUID
}

// FormatReport says what formatting did. Lines are what kafka-storage prints.
type FormatReport struct {
	Lines     []string
	Formatted []string
	Bootstrap []records.Message
	Features  map[string]int16
}

// Format formats the directories that are not formatted yet. It refuses when one
// is, unless told to ignore that, and when one belongs to another cluster or node.
// Error texts are those of kafka-storage.
func Format(fsys vfs.FS, o FormatOptions) (FormatReport, error) {
	f := &formatter{fsys: fsys, FormatOptions: o}
	if f.NewUUID == nil {
		f.NewUUID = kafka.NewUUID
	}
	if err := f.check(); err != nil {
		return f.report, err
	}
	if err := f.features(); err != nil {
		return f.report, err
	}
	if err := f.bootstrap(); err != nil {
		return f.report, err
	}
	return f.report, f.run()
}

// formatter is one call of Format.
type formatter struct {
	FormatOptions
	fsys   vfs.FS
	report FormatReport
	mv     features.MetadataVersion
	levels map[string]int16
}

func (f *formatter) check() error {
	switch {
	case f.NodeID < 0:
		return errors.New("You must specify a valid non-negative node ID.")
	case f.ClusterID == "":
		return errors.New("You must specify the cluster id.")
	case len(f.Directories) == 0:
		return errors.New("You must specify at least one directory to format")
	case f.ControllerListenerName == "":
		return errors.New("You must specify the name of the initial controller listener.")
	}
	dirs := slices.Clone(f.Directories)
	sort.Strings(dirs)
	f.Directories = slices.Compact(dirs)
	if f.MetadataLogDir != "" && !slices.Contains(f.Directories, f.MetadataLogDir) {
		return fmt.Errorf("The specified metadata log directory, %s was not one of the given directories: [%s]",
			f.MetadataLogDir, strings.Join(f.Directories, ", "))
	}
	return nil
}

// features decides the level of every feature.
func (f *formatter) features() error {
	level, given := f.FeatureLevels[features.MetadataVersionName]
	f.mv = features.DefaultVersion
	switch {
	case given && f.ReleaseVersion != 0:
		return fmt.Errorf("Use --release-version instead of --feature %s=X to avoid ambiguity.", features.MetadataVersionName)
	case given:
		mv, err := features.FromLevel(level)
		if err != nil {
			return err
		}
		f.mv = mv
	case f.ReleaseVersion != 0:
		f.mv = f.ReleaseVersion
	case f.UnstableFeatureVersions:
		f.mv = features.LatestTesting
	}
	if f.mv > features.LatestProduction && !f.UnstableFeatureVersions {
		return fmt.Errorf("%s %s is not yet stable.", features.MetadataVersionName, f.mv)
	}
	f.levels = map[string]int16{}
	for name, level := range f.FeatureLevels {
		if name != features.MetadataVersionName && features.Find(name) == nil {
			return fmt.Errorf("Unsupported feature: %s. Supported features are: %s", name, strings.Join(featureNames(), ", "))
		}
		f.levels[name] = level
	}
	f.levels[features.MetadataVersionName] = int16(f.mv)
	if err := f.kraftVersion(); err != nil {
		return err
	}
	for i := range features.Production {
		feat := &features.Production[i]
		if _, ok := f.levels[feat.Name]; !ok {
			f.levels[feat.Name] = feat.DefaultLevel(f.mv)
		}
	}
	for i := range features.Production {
		feat := &features.Production[i]
		if err := feat.Validate(f.levels[feat.Name], f.UnstableFeatureVersions, f.levels); err != nil {
			return err
		}
	}
	f.report.Features = f.levels
	return nil
}

// kraftVersion decides the level of kraft.version, which follows from how the
// voters are configured.
func (f *formatter) kraftVersion() error {
	level, given := f.levels[features.KRaftVersionName]
	switch {
	case !given && f.DynamicQuorum:
		f.levels[features.KRaftVersionName] = 1
	case !given:
		f.levels[features.KRaftVersionName] = 0
	case level == 0 && f.DynamicQuorum:
		return errors.New("Cannot set kraft.version to 0 if controller.quorum.voters is empty and one of the flags " +
			"--standalone, --initial-controllers, or --no-initial-controllers is used. For dynamic controllers support, " +
			"try removing the --feature flag for kraft.version.")
	case level != 0 && !f.DynamicQuorum:
		return fmt.Errorf("Cannot set kraft.version to %d unless controller.quorum.voters is empty and one of the flags --standalone, "+
			"--initial-controllers, or --no-initial-controllers is used. For dynamic controllers support, try using one of "+
			"--standalone, --initial-controllers, or --no-initial-controllers and removing controller.quorum.voters.", level)
	}
	return nil
}

// bootstrap collects the records of bootstrap.checkpoint.
func (f *formatter) bootstrap() error {
	f.report.Bootstrap = BootstrapRecords(f.levels)
	if len(f.ScramArguments) == 0 {
		return nil
	}
	if f.mv < features.V35IV2 {
		return fmt.Errorf("SCRAM is only supported in %s %s or later.", features.MetadataVersionName, features.V35IV2)
	}
	scram, err := ParseScram(f.ScramArguments)
	f.report.Bootstrap = append(f.report.Bootstrap, scram...)
	return err
}

// BootstrapRecords are the feature records that a new cluster begins with:
// metadata.version first, then the others by name where their level is not 0.
// kraft.version has no such record.
func BootstrapRecords(levels map[string]int16) []records.Message {
	out := []records.Message{&records.FeatureLevelRecord{
		Name: features.MetadataVersionName, FeatureLevel: levels[features.MetadataVersionName]}}
	for _, name := range featureNames() {
		if level := levels[name]; level > 0 && name != features.KRaftVersionName {
			out = append(out, &records.FeatureLevelRecord{Name: name, FeatureLevel: level})
		}
	}
	return out
}

// featureNames are the names of all features but metadata.version, sorted.
func featureNames() []string {
	var names []string
	for _, f := range features.Production {
		names = append(names, f.Name)
	}
	sort.Strings(names)
	return names
}

// run looks at every directory and formats those that are empty.
func (f *formatter) run() error {
	var empty, broken []string
	done := map[string]MetaProperties{}
	for _, dir := range f.Directories {
		m, err := ReadMetaProperties(f.fsys, dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			empty = append(empty, dir)
		case err != nil:
			broken = append(broken, dir)
		default:
			done[dir] = m
		}
	}
	if err := Verify(done, f.ClusterID, f.NodeID); err != nil {
		return err
	}
	if len(done) > 0 && !f.IgnoreFormatted {
		first := slices.Sorted(keys(done))[0]
		return fmt.Errorf("Log directory %s is already formatted. Use --ignore-formatted to ignore this directory and format the others.", first)
	}
	for _, dir := range broken {
		f.print("I/O error trying to read log directory %s. Ignoring...", dir)
	}
	if len(broken) > 0 && len(empty) == 0 && len(done) == 0 {
		return errors.New("No available log directories to format.")
	}
	if len(empty) == 0 {
		f.print("All of the log directories are already formatted.")
		return nil
	}
	f.print("Bootstrap metadata: %s", describeBootstrap(f.report.Bootstrap, f.mv))
	for _, dir := range empty {
		if err := f.formatDir(dir, done); err != nil {
			return fmt.Errorf("Error while writing meta.properties file %s: %w", dir, err)
		}
	}
	return nil
}

func (f *formatter) print(format string, args ...any) {
	f.report.Lines = append(f.report.Lines, fmt.Sprintf(format, args...))
}

// formatDir formats one directory. meta.properties is written last: a directory
// whose formatting was interrupted counts as not formatted.
func (f *formatter) formatDir(dir string, done map[string]MetaProperties) error {
	id := f.NewUUID()
	for used(done, id) {
		id = f.NewUUID()
	}
	kind := "data directory"
	dynamic := false
	if dir == f.MetadataLogDir {
		voter, isVoter := f.InitialControllers.Find(f.NodeID)
		switch {
		case len(f.InitialControllers) == 0:
			kind = "metadata directory"
		case isVoter:
			kind, dynamic, id = "dynamic metadata voter directory", true, voter.DirectoryID
		default:
			kind, dynamic = "dynamic metadata directory", true
		}
	}
	f.print("Formatting %s %s with %s %s.", kind, dir, features.MetadataVersionName, f.mv)
	if err := f.fsys.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := WriteBootstrap(f.fsys, dir, f.report.Bootstrap, f.Now.UnixMilli()); err != nil {
		return err
	}
	if dynamic {
		if err := f.writeVoters(dir); err != nil {
			return err
		}
	}
	m := MetaProperties{Version: 1, ClusterID: f.ClusterID, NodeID: f.NodeID, DirectoryID: id}
	data := m.Encode(f.Now.Format("Mon Jan 02 15:04:05 MST 2006"))
	if err := vfs.WriteFileAtomic(f.fsys, filepath.Join(dir, MetaPropertiesName), data); err != nil {
		return err
	}
	if err := f.fsys.SyncDir(filepath.Dir(dir)); err != nil {
		return err
	}
	done[dir] = m
	f.report.Formatted = append(f.report.Formatted, dir)
	return nil
}

// writeVoters writes the checkpoint 0-0 that holds the first voters.
func (f *formatter) writeVoters(dir string) error {
	log := filepath.Join(dir, MetadataLogDirName)
	if err := f.fsys.MkdirAll(log, 0o755); err != nil {
		return err
	}
	now := f.Now.UnixMilli()
	w, err := CreateSnapshot(f.fsys, log, BootstrapSnapshotID, SnapshotHeader{
		LastContainedLogTimeMs: now,
		KRaftVersion:           f.levels[features.KRaftVersionName],
		Voters:                 f.InitialControllers,
	}, now)
	if err != nil {
		return err
	}
	if err := w.Freeze(); err != nil {
		return err
	}
	return f.fsys.SyncDir(dir)
}

func used(done map[string]MetaProperties, id kafka.UUID) bool {
	for _, m := range done {
		if m.DirectoryID == id {
			return true
		}
	}
	return false
}
