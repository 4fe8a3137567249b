package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/gregorhq/gregor/internal/cli/opt"
)

func (t *groupTool) list(ctx context.Context) error {
	var states, types []string
	if given := t.v.Get("type"); t.v.Has("type") && given != noValue && given != "" {
		for _, word := range strings.Split(given, ",") {
			typ := canonical(strings.TrimSpace(word), groupTypes)
			if typ != classicType && typ != consumerType {
				return opt.Usagef("Invalid types list '%s'. Valid types are: Consumer, Classic", given)
			}
			types = append(types, typ)
		}
	}
	if given := t.v.Get("state"); t.v.Has("state") && given != noValue && given != "" {
		valid := append([]string{stateEmpty, stateStable, stateDead}, rebalancing...)
		for _, word := range strings.Split(given, ",") {
			state := canonical(strings.TrimSpace(word), groupStates)
			if !slices.Contains(valid, state) {
				return opt.Usagef("Invalid state list '%s'. Valid states are: %s", given, strings.Join(valid, ", "))
			}
			states = append(states, state)
		}
	}
	ctx, cancel := t.bounded(ctx)
	defer cancel()
	groups, err := listConsumerGroups(ctx, t.c, types, states)
	if err != nil {
		return executionError(err)
	}
	if !t.v.Has("type") && !t.v.Has("state") {
		for _, g := range groups {
			fmt.Fprintln(t.env.Out, g.id)
		}
		return nil
	}
	width := 15
	for _, g := range groups {
		width = max(width, len(g.id))
	}
	width += 10
	row := func(group, typ, state string) {
		fmt.Fprintf(t.env.Out, "%-*s", width, group)
		if t.v.Has("type") {
			fmt.Fprintf(t.env.Out, " %-20s", typ)
		}
		if t.v.Has("state") {
			fmt.Fprintf(t.env.Out, " %-20s", state)
		}
		fmt.Fprintln(t.env.Out)
	}
	row("GROUP", "TYPE", "STATE")
	for _, g := range groups {
		row(g.id, orDefault(g.typ, stateUnknown), orDefault(g.state, stateUnknown))
	}
	return nil
}

// selected are the groups that the command line names, in order.
func (t *groupTool) selected(ctx context.Context) ([]string, error) {
	if !t.v.Has("all-groups") {
		return slices.Compact(slices.Sorted(slices.Values(t.v.All("group")))), nil
	}
	ctx, cancel := t.bounded(ctx)
	defer cancel()
	groups, err := listConsumerGroups(ctx, t.c, nil, nil)
	if err != nil {
		return nil, executionError(err)
	}
	ids := make([]string, len(groups))
	for i, g := range groups {
		ids[i] = g.id
	}
	return ids, nil
}
