package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/cli/opt"
	"github.com/gregorhq/gregor/internal/features"
)

func featureOptions(verb string, unsafe bool, more ...opt.Option) opt.Table {
	options := append(more, opt.Option{Name: "dry-run", Doc: "Check, but change nothing."})
	if unsafe {
		options = append(options, opt.Option{Name: "unsafe", Doc: verb + " even if metadata may be lost by it."})
	}
	return opt.Table{Options: options}
}

func levelOptions(verb string) []opt.Option {
	return []opt.Option{
		{Name: "metadata", Kind: opt.Value, Arg: "version", Doc: "DEPRECATED: The metadata.version to " + verb + " to, for example 3.3-IV3."},
		{Name: "release-version", Kind: opt.Value, Arg: "version", Doc: "The release whose level every feature gets; version-mapping shows these."},
		{Name: "feature", Kind: opt.List, Arg: "feature=level", Doc: "A feature to " + verb + ", for example metadata.version=20; may be repeated."},
	}
}

var featureCommands = opt.Commands{
	Program: "kafka-features", Doc: "Manages the finalised features of a cluster.",
	Global: opt.Table{Options: eitherOptions},
	OneOf:  []string{"bootstrap-server", "bootstrap-controller"},
	List: []opt.Command{
		{Name: "describe", Doc: "Describe the features that are supported and finalised.", Table: opt.Table{Options: []opt.Option{
			{Name: "node-id", Kind: opt.Value, Type: "Integer", Arg: "id", Doc: "The node to ask; any without it."},
		}}},
		{Name: "upgrade", Doc: "Raise features.", Table: featureOptions("Upgrade", false, levelOptions("upgrade")...)},
		{Name: "downgrade", Doc: "Lower features.", Table: featureOptions("Downgrade", true, levelOptions("downgrade")...)},
		{Name: "disable", Doc: "Lower features to level 0.", Table: featureOptions("Disable", true,
			opt.Option{Name: "feature", Kind: opt.List, Arg: "feature", Doc: "A feature to disable; may be repeated."})},
		{Name: "version-mapping", Doc: "Show the level of every feature that belongs to a release.", Table: opt.Table{Options: []opt.Option{
			{Name: "release-version", Kind: opt.Value, Arg: "version", Doc: "The release; the newest stable one without it."},
		}}},
		{Name: "feature-dependencies", Doc: "Show what levels of features depend on.", Table: opt.Table{Options: []opt.Option{
			{Name: "feature", Kind: opt.List, Required: true, Arg: "feature=level", Doc: "A feature with its level; may be repeated."},
		}}},
	},
}

func featuresTool(ctx context.Context, env *Env) int {
	p, err := featureCommands.Parse(env.Args)
	if err == nil && p.Help != "" {
		fmt.Fprint(env.Out, p.Help)
		return 0
	}
	if err == nil {
		switch p.Command {
		case "version-mapping":
			err = versionMapping(env, p.Values)
		case "feature-dependencies":
			err = featureDependencies(env, p.Values)
		default:
			err = changeFeatures(ctx, env, p)
		}
	}
	switch {
	case errors.Is(err, opt.ErrUsage):
		fmt.Fprintf(env.Err, "Command line error: %v. Type --help for help.\n", err)
		return 1
	case err != nil:
		fmt.Fprintln(env.Err, exception(err))
		return 1
	}
	return 0
}

// changeFeatures runs the commands that need a cluster.
func changeFeatures(ctx context.Context, env *Env, p *opt.Chosen) error {
	node := int32(-1)
	if p.Values.Has("node-id") {
		n, err := strconv.ParseInt(p.Values.Get("node-id"), 10, 32)
		if err != nil {
			return opt.Usagef("argument --node-id: could not convert '%s' to Integer (For input string: \"%s\")", p.Values.Get("node-id"), p.Values.Get("node-id"))
		}
		if n < 0 {
			return fmt.Errorf("Invalid node id %d: must be non-negative.", n)
		}
		node = int32(n)
	}
	if !p.Global.Has("bootstrap-server") && !p.Global.Has("bootstrap-controller") {
		return opt.Usagef("You must specify either --bootstrap-controller or --bootstrap-server.")
	}
	c, err := admin(p.Global.Get("bootstrap-server"), p.Global.Get("bootstrap-controller"), p.Global.Get("command-config"))
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := within(ctx)
	defer cancel()
	if p.Command == "describe" {
		if err := c.await(ctx); err != nil {
			return err
		}
		return describeFeatures(ctx, env, c, node)
	}
	levels, err := wantedLevels(env, p)
	if err == nil {
		err = c.await(ctx)
	}
	if err != nil {
		return err
	}
	return updateFeatures(ctx, env, c, p, levels)
}

func describeFeatures(ctx context.Context, env *Env, c *cluster, node int32) error {
	resp, err := c.apiVersions(ctx, node)
	if err != nil {
		return err
	}
	finalized := map[string]int16{}
	for _, f := range resp.FinalizedFeatures {
		finalized[f.Name] = f.MaxVersionLevel
	}
	epoch := "-"
	if resp.FinalizedFeaturesEpoch >= 0 {
		epoch = strconv.FormatInt(resp.FinalizedFeaturesEpoch, 10)
	}
	slices.SortFunc(resp.SupportedFeatures, func(a, b kmsg.ApiVersionsResponseSupportedFeature) int { return cmp.Compare(a.Name, b.Name) })
	for _, f := range resp.SupportedFeatures {
		fmt.Fprintf(env.Out, "Feature: %-40s  SupportedMinVersion: %-15s  SupportedMaxVersion: %-15s  FinalizedVersionLevel: %-15s  Epoch: %s\n",
			f.Name, levelText(f.Name, f.MinVersion), levelText(f.Name, f.MaxVersion), levelText(f.Name, finalized[f.Name]), epoch)
	}
	return nil
}

// levelText is a level, by its name when it is one of metadata.version.
func levelText(feature string, level int16) string {
	if feature != features.MetadataVersionName {
		return strconv.Itoa(int(level))
	}
	mv, err := features.FromLevel(level)
	if err != nil {
		return fmt.Sprintf("UNKNOWN %d", level)
	}
	return mv.String()
}

// wantedLevels reads the options of upgrade, downgrade and disable.
func wantedLevels(env *Env, p *opt.Chosen) (map[string]int16, error) {
	v, levels := p.Values, map[string]int16{}
	add := func(name string, level int16) error {
		if _, twice := levels[name]; twice {
			return fmt.Errorf("Feature %s was specified more than once.", name)
		}
		levels[name] = level
		return nil
	}
	if p.Command == "disable" {
		for _, name := range v.All("feature") {
			if err := add(name, 0); err != nil {
				return nil, err
			}
		}
		return levels, nil
	}
	if v.Has("release-version") {
		if v.Has("metadata") || v.Has("feature") {
			return nil, errors.New("Can not specify `release-version` with other feature flags.")
		}
		return releaseLevels(v.Get("release-version"), p.Command == "upgrade")
	}
	if v.Has("metadata") {
		fmt.Fprintln(env.Out, " `metadata` flag is deprecated and may be removed in a future release.")
		mv, err := features.FromVersionString(v.Get("metadata"), true)
		if err != nil {
			return nil, err
		}
		levels[features.MetadataVersionName] = int16(mv)
	}
	for _, text := range v.All("feature") {
		name, level, err := nameAndLevel(text)
		if err != nil {
			return nil, err
		}
		if err := add(name, level); err != nil {
			return nil, err
		}
	}
	return levels, nil
}

// releaseLevels are the levels of all features at a release. An upgrade leaves those
// out that the release does not have.
func releaseLevels(release string, upgrade bool) (map[string]int16, error) {
	mv, err := features.FromVersionString(release, true)
	if err != nil {
		return nil, err
	}
	levels := map[string]int16{features.MetadataVersionName: int16(mv)}
	for i := range features.Production {
		f := &features.Production[i]
		if level := f.DefaultLevel(mv); !upgrade || level > 0 {
			levels[f.Name] = level
		}
	}
	return levels, nil
}

func nameAndLevel(text string) (string, int16, error) {
	name, level, ok := strings.Cut(text, "=")
	if !ok {
		return "", 0, fmt.Errorf("Can't parse feature=level string %s: equals sign not found.", text)
	}
	level = strings.TrimSpace(level)
	n, err := strconv.ParseInt(level, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("Can't parse feature=level string %s: unable to parse %s as a short.", text, level)
	}
	return strings.TrimSpace(name), int16(n), nil
}

func updateFeatures(ctx context.Context, env *Env, c *cluster, p *opt.Chosen, levels map[string]int16) error {
	if len(levels) == 0 {
		return fmt.Errorf("You must specify at least one feature to %s", p.Command)
	}
	names := slices.Sorted(maps.Keys(levels))
	dry := p.Values.Has("dry-run")
	req := kmsg.NewPtrUpdateFeaturesRequest()
	req.TimeoutMillis, req.ValidateOnly = int32(requestTimeout.Milliseconds()), dry
	for _, name := range names {
		u := kmsg.NewUpdateFeaturesRequestFeatureUpdate()
		u.Feature, u.MaxVersionLevel, u.UpgradeType = name, levels[name], 1
		if p.Command != "upgrade" {
			u.AllowDowngrade, u.UpgradeType = true, 2
			if p.Values.Has("unsafe") {
				u.UpgradeType = 3
			}
		}
		req.FeatureUpdates = append(req.FeatureUpdates, u)
	}
	resp, err := req.RequestWith(ctx, c)
	if err == nil {
		err = withMessage(resp.ErrorCode, resp.ErrorMessage)
	}
	failures := map[string]error{}
	for _, name := range names {
		failures[name] = err
	}
	if err == nil {
		for _, r := range resp.Results {
			failures[r.Feature] = withMessage(r.ErrorCode, r.ErrorMessage)
		}
	}
	return reportFeatures(env, p.Command, dry, names, levels, failures)
}

func reportFeatures(env *Env, command string, dry bool, names []string, levels map[string]int16, failures map[string]error) error {
	could, was := "Could not", "was"
	if dry {
		could, was = "Can not", "can be"
	}
	failed := 0
	for _, name := range names {
		to := fmt.Sprintf(" to %d", levels[name])
		if command == "disable" {
			to = ""
		}
		if err := failures[name]; err != nil {
			failed++
			fmt.Fprintf(env.Out, "%s %s %s%s. %s\n", could, command, name, to, reason(err))
			continue
		}
		fmt.Fprintf(env.Out, "%s %s %sd%s.\n", name, was, command, to)
	}
	if failed > 0 {
		return fmt.Errorf("%d out of %d operation(s) failed.", failed, len(names))
	}
	return nil
}

func versionMapping(env *Env, v *opt.Values) error {
	release := orDefault(v.Get("release-version"), features.LatestProduction.String())
	mv, err := features.FromVersionString(release, true)
	if err != nil {
		return err
	}
	fmt.Fprintf(env.Out, "%s=%d (%s)\n", features.MetadataVersionName, mv, release)
	for i := range features.Production {
		f := &features.Production[i]
		fmt.Fprintf(env.Out, "%s=%d\n", f.Name, f.DefaultLevel(mv))
	}
	return nil
}

func featureDependencies(env *Env, v *opt.Values) error {
	for _, text := range v.All("feature") {
		name, level, err := nameAndLevel(text)
		if err != nil {
			return err
		}
		if name == features.MetadataVersionName {
			mv, err := features.FromLevel(level)
			if err != nil {
				return fmt.Errorf("Unknown metadata.version %d", level)
			}
			fmt.Fprintf(env.Out, "%s=%d (%s) has no dependencies.\n", name, level, mv)
			continue
		}
		f := features.Find(name)
		if f == nil {
			return fmt.Errorf("Unknown feature: %s", name)
		}
		version, err := f.Version(level, true)
		if err != nil {
			return err
		}
		if len(version.Requires) == 0 {
			fmt.Fprintf(env.Out, "%s=%d has no dependencies.\n", name, level)
			continue
		}
		fmt.Fprintf(env.Out, "%s=%d requires:\n", name, level)
		for _, r := range version.Requires {
			if r.Name == features.MetadataVersionName {
				fmt.Fprintf(env.Out, "    %s=%d (%s)\n", r.Name, r.Level, levelText(r.Name, r.Level))
				continue
			}
			fmt.Fprintf(env.Out, "    %s=%d\n", r.Name, r.Level)
		}
	}
	return nil
}
