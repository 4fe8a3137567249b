package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/gregorhq/gregor/internal/cli/opt"
)

// noValue stands for the absent value of the options --state and --type.
const noValue = "\x00"

var consumerGroupsTable = opt.Table{Options: append([]opt.Option{
	{Name: "bootstrap-server", Kind: opt.Value, Arg: "server to connect to", Doc: "The server(s) to connect to. REQUIRED by all but --validate-regex."},
	{Name: "group", Kind: opt.List, Arg: "consumer group", Doc: "The consumer group to act on; may be repeated."},
	{Name: "topic", Kind: opt.List, Arg: "topic", Doc: "A topic whose offsets are deleted or reset; may be repeated. `topic1:0,1,2` names partitions of it."},
	{Name: "all-topics", Doc: "Reset the offsets of all topics that the group has offsets of."},
	{Name: "list", Doc: "List all consumer groups."},
	{Name: "describe", Doc: "Describe a group: its offsets and its lag, which is the number of messages not yet consumed."},
	{Name: "all-groups", Doc: "Act on all consumer groups."},
	{Name: "delete", Doc: "Delete groups with all their offsets. For instance --group g1 --group g2"},
	{Name: "timeout", Kind: opt.Value, Type: "Long", Arg: "timeout (ms)", Default: "30000", Doc: "How long to wait for an answer, for instance of a group that is just being made."},
	{Name: "command-config", Kind: opt.Value, Arg: "command config property file", Doc: "Property file with settings for the admin client and the consumer."},
	{Name: "reset-offsets", Doc: "Reset the offsets of a group without members. --dry-run (the default) shows what would be done and --execute does it; --export prints it as CSV. Choose one of --to-datetime, --by-duration, --to-earliest, --to-latest, --shift-by, --from-file, --to-current and --to-offset, and --all-topics or --topic unless it is --from-file."},
	{Name: "delete-offsets", Doc: "Delete a group's offsets of topics."},
	{Name: "dry-run", Doc: "With --reset-offsets, only show what would be done."},
	{Name: "execute", Doc: "With --reset-offsets, do it."},
	{Name: "export", Doc: "With --reset-offsets, print the new offsets as CSV."},
	{Name: "to-offset", Kind: opt.Value, Type: "Long", Arg: "offset", Doc: "Reset to this offset."},
	{Name: "from-file", Kind: opt.Value, Arg: "path to CSV file", Doc: "Reset to the offsets in a CSV file."},
	{Name: "to-datetime", Kind: opt.Value, Arg: "datetime", Doc: "Reset to the first offset since a time. Format: 'YYYY-MM-DDThh:mm:ss.sss'"},
	{Name: "by-duration", Kind: opt.Value, Arg: "duration", Doc: "Reset to the first offset since so long ago. Format: 'PnDTnHnMnS'"},
	{Name: "to-earliest", Doc: "Reset to the earliest offset."},
	{Name: "to-latest", Doc: "Reset to the latest offset."},
	{Name: "to-current", Doc: "Reset to the current offset."},
	{Name: "shift-by", Kind: opt.Value, Type: "Long", Arg: "number-of-offsets", Doc: "Move the current offset by 'n', forward or, when negative, back."},
	{Name: "members", Doc: "With --describe, the members of the group."},
	{Name: "verbose", Doc: "With --describe, show more."},
	{Name: "offsets", Doc: "With --describe, the offsets and the lag of all partitions of the group; this is the default."},
	{Name: "state", Kind: opt.Value, Optional: noValue, Doc: "With --describe, the state of the group. With --list, the states of groups, or the groups in the given ones: --state stable,empty"},
	{Name: "type", Kind: opt.Value, Optional: noValue, Doc: "With --list, the types of groups, or the groups of the given ones: --type classic,consumer"},
	{Name: "validate-regex", Kind: opt.Value, Arg: "regex", Doc: "Say whether a regular expression is valid in RE2's syntax."},
}, helpOptions...)}

var (
	groupActions   = []string{"list", "describe", "delete", "reset-offsets", "delete-offsets", "validate-regex"}
	resetScenarios = []string{"to-offset", "shift-by", "to-datetime", "by-duration", "to-earliest", "to-latest", "to-current", "from-file"}
)

const resetWithoutExecute = "WARN: No action will be performed as the --execute option is missing. In version 5.0, this command will require either --dry-run or --execute to be specified. You should add the --dry-run option explicitly if you are scripting this command and want to keep the current default behavior without prompting."

// groupTool is one run of kafka-consumer-groups.
type groupTool struct {
	env *Env
	c   *cluster
	v   *opt.Values
	// timeout bounds each exchange.
	timeout time.Duration
}

func consumerGroups(ctx context.Context, env *Env) int {
	v, code, done := parse(env, &consumerGroupsTable, "This tool helps to list all consumer groups, describe a consumer group, delete consumer group info, or reset consumer group offsets.")
	if done {
		return code
	}
	if err := checkConsumerGroups(env, v); err != nil {
		return wrongUsage(env, &consumerGroupsTable, err)
	}
	if v.Has("validate-regex") {
		validateRegex(env, v.Get("validate-regex"))
		return 0
	}
	err := runConsumerGroups(ctx, env, v)
	if errors.Is(err, opt.ErrUsage) {
		return usage(env, &consumerGroupsTable, err.Error())
	}
	if err != nil {
		// The tool of Kafka ends with 0 here too; the text is what scripts look at.
		message, detail, _ := strings.Cut(err.Error(), "\n")
		printGroupError(env, "Executing consumer group command failed due to "+message)
		if detail != "" {
			fmt.Fprintln(env.Err, detail)
		}
	}
	return 0
}

func printGroupError(env *Env, message string) { fmt.Fprintf(env.Out, "\nError: %s\n", message) }

func runConsumerGroups(ctx context.Context, env *Env, v *opt.Values) error {
	c, err := admin(v.Get("bootstrap-server"), "", v.Get("command-config"))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("java.nio.file.NoSuchFileException: %w", err)
	}
	if err != nil {
		return err
	}
	defer c.Close()
	for _, name := range []string{"timeout", "to-offset", "shift-by"} {
		if _, err := strconv.ParseInt(orDefault(v.Get(name), "0"), 10, 64); err != nil {
			return fmt.Errorf("Cannot parse argument '%s' of option %s", v.Get(name), name)
		}
	}
	ms, err := strconv.ParseInt(v.Get("timeout"), 10, 32)
	if err != nil {
		return fmt.Errorf("Cannot parse argument '%s' of option timeout", v.Get("timeout"))
	}
	t := &groupTool{env: env, c: c, v: v, timeout: time.Duration(ms) * time.Millisecond}
	c.patience = t.timeout
	if err := c.await(ctx); err != nil {
		return t.unreachable(err)
	}
	switch {
	case v.Has("list"):
		return t.list(ctx)
	case v.Has("describe"):
		return t.describe(ctx)
	case v.Has("delete"):
		return t.delete(ctx)
	case v.Has("reset-offsets"):
		return t.reset(ctx)
	}
	return t.deleteOffsets(ctx)
}

// unreachable is what the tool's actions say when no broker answers; only deletion
// has a text of its own, which it prints here.
func (t *groupTool) unreachable(err error) error {
	if !errors.Is(err, kerr.RequestTimedOut) {
		return err
	}
	what := func(call string) string {
		return exceptionPackage + "TimeoutException: Timed out waiting for a node assignment. Call: " + call + "(api=FIND_COORDINATOR)"
	}
	_, detail, _ := strings.Cut(reason(err), "\n")
	switch {
	case t.v.Has("describe"):
		return fmt.Errorf("%s\n%s", what("describeConsumerGroups"), detail)
	case t.v.Has("reset-offsets"):
		return fmt.Errorf("java.util.concurrent.ExecutionException: %s\n%s", what("describeConsumerGroups"), detail)
	case t.v.Has("delete") && !t.v.Has("all-groups"):
		failed := map[string]error{}
		for _, g := range t.v.All("group") {
			failed[g] = errors.New(what("deleteConsumerGroups"))
		}
		t.printDeleted(failed)
		fmt.Fprintln(t.env.Err, detail)
		return nil
	}
	return fmt.Errorf("java.util.concurrent.ExecutionException: org.apache.kafka.common.KafkaException: Failed to find brokers to send ListGroups\n%s", detail)
}

// bounded is ctx for one exchange.
func (t *groupTool) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, t.timeout)
}

// executionError is a failure as most of the tool's calls show it: with its class,
// inside the class of a call that was waited for.
func executionError(err error) error {
	return fmt.Errorf("java.util.concurrent.ExecutionException: %s", exception(err))
}

// validateRegex uses the syntax of RE2, in whose words mistakes are reported.
func validateRegex(env *Env, text string) {
	var wrong *syntax.Error
	_, err := syntax.Parse(text, syntax.Perl)
	switch {
	case err == nil:
		fmt.Fprintf(env.Out, "The regular expression `%s` is valid.\n", text)
	case errors.As(err, &wrong):
		fmt.Fprintf(env.Out, "The regular expression `%s` is invalid: %s.\n", text, wrong.Code)
	default:
		fmt.Fprintf(env.Out, "The regular expression `%s` is invalid: %s.\n", text, err)
	}
}

func present(v *opt.Values, names ...string) int {
	n := 0
	for _, name := range names {
		if v.Has(name) {
			n++
		}
	}
	return n
}

func checkConsumerGroups(env *Env, v *opt.Values) error {
	describing, listing := v.Has("describe"), v.Has("list")
	for _, name := range []string{"members", "offsets", "state", "type", "verbose"} {
		allowed := describing && name != "type" || listing && (name == "state" || name == "type")
		if v.Has(name) && !allowed {
			return fmt.Errorf("Option(s) [%s] are unavailable given other options on the command line", name)
		}
	}
	if !v.Has("validate-regex") {
		if err := v.Require("bootstrap-server"); err != nil {
			return err
		}
	}
	selected := v.Has("group") || v.Has("all-groups")
	if describing {
		switch {
		case !selected:
			return opt.Usagef("Option [describe] takes one of these options: [group], [all-groups]")
		case present(v, "members", "offsets", "state") > 1:
			return opt.Usagef("Option [describe] takes at most one of these options: [members], [offsets], [state]")
		case v.Has("state") && v.Get("state") != noValue:
			return opt.Usagef("Option [describe] does not take a value for [state]")
		}
	}
	if v.Has("delete") {
		switch {
		case !selected:
			return opt.Usagef("Option [delete] takes one of these options: [group], [all-groups]")
		case v.Has("topic"):
			return opt.Usagef("The consumer does not support topic-specific offset deletion from a consumer group.")
		}
	}
	if v.Has("delete-offsets") && (!v.Has("group") || !v.Has("topic")) {
		return opt.Usagef("Option [delete-offsets] takes the following options: [group], [topic]")
	}
	if v.Has("reset-offsets") {
		if err := checkReset(env, v, selected); err != nil {
			return err
		}
	}
	err := firstError(v.Exclude("group", "all-groups", "list"), v.Exclude("topic", "list", "describe"))
	if err == nil && present(v, groupActions...) != 1 {
		err = opt.Usagef("Command must include exactly one action: --%s", strings.Join(groupActions, ", --"))
	}
	return err
}

func checkReset(env *Env, v *opt.Values, selected bool) error {
	switch {
	case v.Has("dry-run") && v.Has("execute"):
		return opt.Usagef("Option [reset-offsets] only accepts one of [execute] and [dry-run]")
	case !v.Has("dry-run") && !v.Has("execute"):
		fmt.Fprintln(env.Err, resetWithoutExecute)
	}
	if !selected {
		return opt.Usagef("Option [reset-offsets] takes one of these options: [group], [all-groups]")
	}
	for _, scenario := range []string{"to-offset", "to-datetime", "by-duration", "to-earliest", "to-latest", "to-current", "shift-by", "from-file"} {
		others := slices.DeleteFunc(slices.Clone(resetScenarios), func(s string) bool { return s == scenario })
		if err := v.Exclude(scenario, others...); err != nil {
			return err
		}
	}
	return nil
}
