package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/gregorhq/gregor/internal/cli/opt"
)

var groupsTable = opt.Table{Options: append([]opt.Option{
	{Name: "bootstrap-server", Kind: opt.Value, Arg: "server to connect to", Required: true, Doc: "REQUIRED: The Kafka server to connect to."},
	{Name: "command-config", Kind: opt.Value, Arg: "command config property file", Doc: "Property file with settings for the admin client."},
	{Name: "list", Doc: "List the groups."},
	{Name: "group-type", Kind: opt.Value, Arg: "type", Doc: "Only groups of this type: 'classic', 'consumer', 'share' or 'streams'."},
	{Name: "protocol", Kind: opt.Value, Arg: "protocol", Doc: "Only groups of this protocol type."},
	{Name: "consumer", Doc: "Only consumer groups of all kinds: those of the type 'consumer', and those of the type 'classic' whose protocol type is 'consumer' or empty."},
	{Name: "share", Doc: "Only share groups."},
	{Name: "streams", Doc: "Only streams groups."},
}, helpOptions...)}

func groups(ctx context.Context, env *Env) int {
	v, code, done := parse(env, &groupsTable, "This tool helps to list groups of all types.")
	if done {
		return code
	}
	if err := checkGroups(v); err != nil {
		return wrongUsage(env, &groupsTable, err)
	}
	if err := listAllGroups(ctx, env, v); err != nil {
		fmt.Fprintf(env.Out, "Error while executing groups command : %s\n", reason(err))
		return 1
	}
	return 0
}

func checkGroups(v *opt.Values) error {
	switch {
	case !v.Has("bootstrap-server"):
		return opt.Usagef("Missing required option(s) [bootstrap-server]")
	case !v.Has("list"):
		return opt.Usagef("Command must include exactly one action: --list.")
	case v.Has("group-type") && canonical(v.Get("group-type"), groupTypes) == stateUnknown:
		return errors.New("--group-type must be a valid group type.")
	}
	return firstError(v.Exclude("consumer", "group-type", "protocol", "share", "streams"),
		v.Exclude("share", "consumer", "group-type", "protocol", "streams"),
		v.Exclude("streams", "consumer", "group-type", "protocol", "share"))
}

func listAllGroups(ctx context.Context, env *Env, v *opt.Values) error {
	c, err := admin(v.Get("bootstrap-server"), "", v.Get("command-config"))
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := within(ctx)
	defer cancel()
	if err := c.await(ctx); err != nil {
		return err
	}
	all, err := listGroups(ctx, c, nil, nil)
	if err != nil {
		return err
	}
	width := 20
	var shown []listedGroup
	for _, g := range all {
		if wantedGroup(g, v) {
			shown = append(shown, g)
			width = max(width, len(g.id), len(g.typ), len(g.protocol))
		}
	}
	fmt.Fprintf(env.Out, "%-*s %-*s %-*s\n", width, "GROUP", width, "TYPE", width, "PROTOCOL")
	for _, g := range shown {
		fmt.Fprintf(env.Out, "%-*s %-*s %-*s \n", width, g.id, width, g.typ, width, g.protocol)
	}
	return nil
}

// wantedGroup says whether the filters of the command line let a group through.
func wantedGroup(g listedGroup, v *opt.Values) bool {
	switch {
	case v.Has("group-type"):
		return g.typ == canonical(v.Get("group-type"), groupTypes) && (!v.Has("protocol") || g.protocol == v.Get("protocol"))
	case v.Has("protocol"):
		return g.protocol == v.Get("protocol")
	case v.Has("consumer"):
		return g.protocol == consumerProtocol || g.protocol == "" || g.typ == consumerType
	case v.Has("share"):
		return g.typ == "Share"
	case v.Has("streams"):
		return g.typ == "Streams"
	}
	return true
}
