package house

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/gregorhq/gregor/internal/cli"
	"github.com/gregorhq/gregor/internal/cli/opt"
	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/features"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/storage"
	"github.com/gregorhq/gregor/internal/vfs"
)

var storageTable = opt.Table{Options: []opt.Option{
	{Name: "config", Aliases: []string{"c"}, Kind: opt.Value, Arg: "file", Doc: "The Kafka configuration file to use."},
	{Name: "cluster-id", Aliases: []string{"t"}, Kind: opt.Value, Arg: "id", Doc: "format: the id of the cluster."},
	{Name: "ignore-formatted", Aliases: []string{"g"}, Doc: "format: pass over directories that are formatted already instead of failing."},
	{Name: "release-version", Aliases: []string{"r"}, Kind: opt.Value, Arg: "version", Doc: "format, version-mapping: the release that decides the features' levels."},
	{Name: "feature", Aliases: []string{"f"}, Kind: opt.List, Arg: "name=level", Doc: "format, feature-dependencies: a feature and its level; may be repeated."},
	{Name: "add-scram", Aliases: []string{"S"}, Kind: opt.List, Arg: "SCRAM-SHA-256=[name=alice,password=alice-secret]", Doc: "format: a SCRAM credential to put into the metadata log; may be repeated."},
	{Name: "standalone", Aliases: []string{"s"}, Doc: "format: begin a dynamic quorum with this controller as its only voter."},
	{Name: "no-initial-controllers", Aliases: []string{"N"}, Doc: "format: leave the dynamic quorum's voters open; they are learnt from the others."},
	{Name: "initial-controllers", Aliases: []string{"I"}, Kind: opt.Value, Arg: "id@host:port:directory,...", Doc: "format: the voters that a dynamic quorum begins with."},
	{Name: "help", Aliases: []string{"h"}, Doc: "Show this help message and exit."},
}}

const storageUsage = "usage: kafka-storage [-h] {info,format,version-mapping,feature-dependencies,random-uuid} ...\n\nThe Kafka storage tool.\n"

// storageTool is kafka-storage.
func storageTool(_ context.Context, env *cli.Env) int {
	v, err := storageTable.Parse(env.Args)
	if err == nil && v.Has("help") {
		fmt.Fprint(env.Out, storageUsage, "\n", storageTable.Help())
		return 0
	}
	if err == nil && len(v.Rest) != 1 {
		err = errors.New("too few arguments")
	}
	if err != nil {
		fmt.Fprint(env.Err, storageUsage, "kafka-storage: error: ", err, "\n")
		return 1
	}
	commands := map[string]func(*cli.Env, *opt.Values) (int, error){
		"info": storageInfo, "format": storageFormat, "version-mapping": versionMapping,
		"feature-dependencies": featureDependencies, "random-uuid": randomUUID,
	}
	run, ok := commands[v.Rest[0]]
	if !ok {
		fmt.Fprintf(env.Err, "%skafka-storage: error: invalid choice: '%s' (choose from 'info', 'format', 'version-mapping', 'feature-dependencies', 'random-uuid')\n", storageUsage, v.Rest[0])
		return 1
	}
	code, err := run(env, v)
	if err != nil {
		fmt.Fprintln(env.Err, err)
		return 1
	}
	return code
}

func randomUUID(env *cli.Env, _ *opt.Values) (int, error) {
	fmt.Fprintln(env.Out, kafka.NewUUID())
	return 0, nil
}

// loadConfig reads a properties file and reports what it warns of.
func loadConfig(env *cli.Env, path string, overrides []string) (*config.Broker, error) {
	if path == "" {
		return nil, errors.New("argument --config/-c is required")
	}
	text, err := vfs.ReadFile(vfs.OS(), path)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	props, err := config.ParseProperties(text)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration %s: %w", path, err)
	}
	for _, o := range overrides {
		if props, err = props.Override(o); err != nil {
			return nil, err
		}
	}
	cfg, warnings, err := config.Load(props.Map())
	for _, w := range warnings {
		fmt.Fprintf(env.Err, "warning: %s: %s\n", path, w.Text)
	}
	return cfg, err
}

func storageInfo(env *cli.Env, v *opt.Values) (int, error) {
	cfg, err := loadConfig(env, v.Get("config"), nil)
	if err != nil {
		return 1, err
	}
	lines, code := storage.Info(vfs.OS(), len(cfg.ProcessRoles) > 0, directories(cfg))
	for _, l := range lines {
		fmt.Fprintln(env.Out, l)
	}
	return code, nil
}

// directories are the log directories and that of the metadata log.
func directories(cfg *config.Broker) []string {
	dirs := append([]string(nil), cfg.LogDirs...)
	for _, d := range dirs {
		if d == cfg.MetadataLogDir {
			return dirs
		}
	}
	return append(dirs, cfg.MetadataLogDir)
}

func storageFormat(env *cli.Env, v *opt.Values) (int, error) {
	cfg, err := loadConfig(env, v.Get("config"), nil)
	if err != nil {
		return 1, err
	}
	o, err := formatOptions(cfg, v)
	if err != nil {
		return 1, err
	}
	report, err := storage.Format(vfs.OS(), o)
	for _, l := range report.Lines {
		fmt.Fprintln(env.Out, l)
	}
	return 0, err
}

func formatOptions(cfg *config.Broker, v *opt.Values) (o storage.FormatOptions, err error) {
	if len(cfg.ProcessRoles) == 0 {
		return o, errors.New("The kafka configuration file appears to be for a legacy cluster. Formatting is only supported for clusters in KRaft mode.")
	}
	if !v.Has("cluster-id") {
		return o, errors.New("argument --cluster-id/-t is required")
	}
	controller := false
	for _, r := range cfg.ProcessRoles {
		controller = controller || r == "controller"
	}
	o = storage.FormatOptions{
		NodeID: cfg.NodeID, ClusterID: v.Get("cluster-id"), Directories: directories(cfg), MetadataLogDir: cfg.MetadataLogDir,
		UnstableFeatureVersions: cfg.UnstableFeatureVersionsEnable, IgnoreFormatted: v.Has("ignore-formatted"),
		ScramArguments: v.All("add-scram"), DynamicQuorum: len(cfg.Voters) == 0, Now: clock.Real().Now(), FeatureLevels: map[string]int16{},
	}
	if len(cfg.ControllerListenerNames) > 0 {
		o.ControllerListenerName = cfg.ControllerListenerNames[0]
	}
	if v.Has("release-version") {
		if o.ReleaseVersion, err = features.FromVersionString(v.Get("release-version"), cfg.UnstableFeatureVersionsEnable); err != nil {
			return o, err
		}
	}
	for _, f := range v.All("feature") {
		name, level, err := parseFeature(f)
		if err != nil {
			return o, err
		}
		o.FeatureLevels[name] = level
	}
	if len(cfg.Voters) > 0 && (v.Has("initial-controllers") || v.Has("standalone")) {
		return o, errors.New("You cannot specify controller.quorum.voters and format the node with --initial-controllers or --standalone. If you want to use dynamic quorum, please remove controller.quorum.voters and specify controller.quorum.bootstrap.servers instead.")
	}
	if err := oneOf(v, "no-initial-controllers", "standalone", "initial-controllers"); err != nil {
		return o, err
	}
	switch {
	case v.Has("initial-controllers"):
		if o.InitialControllers, err = storage.ParseVoters(v.Get("initial-controllers"), o.ControllerListenerName); err != nil {
			return o, err
		}
	case v.Has("standalone"):
		if o.InitialControllers, err = standaloneVoters(cfg, controller); err != nil {
			return o, err
		}
	case !v.Has("no-initial-controllers") && controller && len(cfg.Voters) == 0:
		return o, errors.New("Because controller.quorum.voters is not set on this controller, you must specify one of the following: --standalone, --initial-controllers, or --no-initial-controllers.")
	}
	return o, nil
}

// oneOf refuses flags of which only one may be given.
func oneOf(v *opt.Values, names ...string) error {
	first := ""
	for _, name := range names {
		switch {
		case !v.Has(name):
		case first == "":
			first = name
		default:
			return fmt.Errorf("argument %s: not allowed with argument %s", flagName(name), flagName(first))
		}
	}
	return nil
}

// flagName is a flag of kafka-storage as its errors call it.
func flagName(name string) string {
	for _, o := range storageTable.Options {
		if o.Name == name && len(o.Aliases) > 0 {
			return "--" + name + "/-" + o.Aliases[0]
		}
	}
	return "--" + name
}

func standaloneVoters(cfg *config.Broker, controller bool) (storage.VoterSet, error) {
	if !controller {
		return nil, errors.New("You can only use --standalone on a controller.")
	}
	if len(cfg.AdvertisedControllerListeners) == 0 {
		return nil, errors.New("No controller listeners found.")
	}
	l := cfg.AdvertisedControllerListeners[0]
	host := l.Host
	if host == "" {
		host = "localhost"
	}
	return storage.NewVoterSet(storage.NewVoter(cfg.NodeID, kafka.NewUUID(), l.Name, host, uint16(l.Port))), nil
}

func parseFeature(arg string) (string, int16, error) {
	name, text, ok := strings.Cut(arg, "=")
	if !ok {
		return "", 0, fmt.Errorf("Invalid feature format: %s. Expected format: 'feature=version' (e.g. 'group.version=1')", arg)
	}
	level, err := strconv.ParseInt(strings.TrimSpace(text), 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("Invalid version format: %s for feature %s", strings.TrimSpace(text), strings.TrimSpace(name))
	}
	return strings.TrimSpace(name), int16(level), nil
}

func versionMapping(env *cli.Env, v *opt.Values) (int, error) {
	mv := features.DefaultVersion
	text := mv.String()
	if v.Has("release-version") {
		var err error
		text = v.Get("release-version")
		if mv, err = features.FromVersionString(text, true); err != nil {
			return 1, err
		}
	}
	fmt.Fprintf(env.Out, "%s=%d (%s)\n", features.MetadataVersionName, int16(mv), text)
	for _, f := range features.Production {
		fmt.Fprintf(env.Out, "%s=%d\n", f.Name, f.DefaultLevel(mv))
	}
	return 0, nil
}

func featureDependencies(env *cli.Env, v *opt.Values) (int, error) {
	if !v.Has("feature") {
		return 1, errors.New("argument --feature/-f is required")
	}
	for _, arg := range v.All("feature") {
		name, level, err := parseFeature(arg)
		if err != nil {
			return 1, err
		}
		if err := printDependencies(env, name, level); err != nil {
			return 1, err
		}
	}
	return 0, nil
}

func printDependencies(env *cli.Env, name string, level int16) error {
	if name == features.MetadataVersionName {
		mv, err := features.FromLevel(level)
		if err != nil {
			return fmt.Errorf("Unknown metadata.version %d", level)
		}
		fmt.Fprintf(env.Out, "%s=%d (%s) has no dependencies.\n", name, level, mv)
		return nil
	}
	f := features.Find(name)
	if f == nil {
		return fmt.Errorf("Unknown feature: %s", name)
	}
	version, err := f.Version(level, true)
	if err != nil {
		return fmt.Errorf("Feature level %d is not supported for feature %s", level, name)
	}
	if len(version.Requires) == 0 {
		fmt.Fprintf(env.Out, "%s=%d has no dependencies.\n", name, level)
		return nil
	}
	fmt.Fprintf(env.Out, "%s=%d requires:\n", name, level)
	for _, r := range version.Requires {
		note := ""
		if mv, err := features.FromLevel(r.Level); err == nil && r.Name == features.MetadataVersionName {
			note = " (" + mv.String() + ")"
		}
		fmt.Fprintf(env.Out, "    %s=%d%s\n", r.Name, r.Level, note)
	}
	return nil
}
