package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/gregorhq/gregor/internal/cli/opt"
)

var reassignTable = opt.Table{Options: append([]opt.Option{
	{Name: "bootstrap-server", Kind: opt.Value, Arg: "Server(s) to use for bootstrapping", Doc: "The brokers to connect to first."},
	{Name: "bootstrap-controller", Kind: opt.Value, Arg: "bootstrap controller to connect to", Doc: "The controllers to connect to first; only with --cancel and --list."},
	{Name: "command-config", Kind: opt.Value, Arg: "Admin client property file", Doc: "A property file with settings for the admin client."},
	{Name: "verify", Doc: "Show whether the reassignment of --reassignment-json-file is done; once it is, throttles are removed."},
	{Name: "generate", Doc: "Propose a reassignment, without executing it."},
	{Name: "execute", Doc: "Start the reassignment of --reassignment-json-file."},
	{Name: "cancel", Doc: "Cancel an active reassignment."},
	{Name: "list", Doc: "List all active reassignments."},
	{Name: "reassignment-json-file", Kind: opt.Value, Arg: "manual assignment json file path", Doc: `The partitions and their replicas: {"partitions": [{"topic": "foo", "partition": 1, "replicas": [1,2,3], "log_dirs": ["dir1","dir2","dir3"]}], "version": 1}. "log_dirs" may be left out; a replica whose entry is "any" is placed by its broker.`},
	{Name: "topics-to-move-json-file", Kind: opt.Value, Arg: "topics to reassign json file path", Doc: `The topics to propose a reassignment for: {"topics": [{"topic": "foo"}], "version": 1}.`},
	{Name: "broker-list", Kind: opt.Value, Arg: "brokerlist", Doc: `The brokers that --generate may use, in the form "0,1,2".`},
	{Name: "disable-rack-aware", Doc: "Propose without regard to racks."},
	{Name: "throttle", Kind: opt.Value, Type: "Long", Arg: "throttle", Default: "-1", Doc: "With --execute: how many bytes a second may move between brokers; at least 1 KB/s. Change it with --additional and the same file."},
	{Name: "replica-alter-log-dirs-throttle", Kind: opt.Value, Type: "Long", Arg: "replicaAlterLogDirsThrottle", Default: "-1", Doc: "With --execute: how many bytes a second may move between the directories of a broker; at least 1 KB/s."},
	{Name: "timeout", Kind: opt.Value, Type: "Long", Arg: "timeout", Default: "10000", Doc: "How many milliseconds to wait for moves between directories to begin."},
	{Name: "additional", Doc: "With --execute: start this besides reassignments that are under way, or change their throttle."},
	{Name: "preserve-throttles", Doc: "Leave the throttles of brokers and topics alone."},
	{Name: "disallow-replication-factor-change", Doc: "With --execute: refuse a reassignment that changes how many replicas a partition has."},
}, helpOptions...)}

// reassignAction is what one action needs and takes.
type reassignAction struct {
	name                string
	required, permitted []string
	// controllers says that --bootstrap-controller may take the place of --bootstrap-server.
	controllers bool
	run         func(*reassigning, context.Context) error
}

var reassignActions = []reassignAction{
	{"generate", []string{"topics-to-move-json-file", "broker-list"}, []string{"disable-rack-aware"}, false, (*reassigning).generate},
	{"execute", []string{"reassignment-json-file"}, []string{"additional", "throttle", "replica-alter-log-dirs-throttle", "timeout", "disallow-replication-factor-change"}, false, (*reassigning).execute},
	{"verify", []string{"reassignment-json-file"}, []string{"preserve-throttles"}, false, (*reassigning).verify},
	{"cancel", []string{"reassignment-json-file"}, []string{"preserve-throttles", "timeout"}, true, (*reassigning).cancel},
	{"list", nil, nil, true, (*reassigning).list},
}

// reassigning is one run of kafka-reassign-partitions.
type reassigning struct {
	env *Env
	c   *cluster
	v   *opt.Values
}

// terse is an error that Kafka's tools print as it is.
type terse struct{ error }

func reassignPartitions(ctx context.Context, env *Env) int {
	v, code, done := parse(env, &reassignTable, "This tool helps to move topic partitions between replicas.")
	if done {
		return code
	}
	action, err := chooseReassignAction(v)
	if err != nil {
		return wrongUsage(env, &reassignTable, err)
	}
	err = runReassign(ctx, env, v, action)
	switch {
	case err == nil:
		return 0
	case errors.As(err, &terse{}):
		fmt.Fprintln(env.Out, err)
	default:
		fmt.Fprintf(env.Out, "Error: %s\n", exception(err))
	}
	return 1
}

func chooseReassignAction(v *opt.Values) (*reassignAction, error) {
	var chosen []*reassignAction
	for i := range reassignActions {
		if a := &reassignActions[i]; v.Has(a.name) {
			chosen = append(chosen, a)
		}
	}
	servers, controllers := v.Has("bootstrap-server"), v.Has("bootstrap-controller")
	switch {
	case len(chosen) != 1:
		return nil, opt.Usagef("Command must include exactly one action: --generate, --execute, --verify, --cancel, --list")
	case servers && controllers:
		return nil, opt.Usagef("Please don't specify both --bootstrap-server and --bootstrap-controller")
	case !servers && !controllers:
		return nil, opt.Usagef("Please specify either --bootstrap-server or --bootstrap-controller")
	}
	a := chosen[0]
	if err := v.Require(a.required...); err != nil {
		return nil, err
	}
	allowed := slices.Concat([]string{a.name, "command-config", "bootstrap-server"}, a.required, a.permitted)
	if a.controllers {
		allowed = append(allowed, "bootstrap-controller")
	}
	for _, name := range v.Order() {
		if !slices.Contains(allowed, name) {
			return nil, opt.Usagef(`Option "[%s]" can't be used with action "[%s]"`, name, a.name)
		}
	}
	return a, nil
}

func runReassign(ctx context.Context, env *Env, v *opt.Values, action *reassignAction) error {
	c, err := admin(v.Get("bootstrap-server"), v.Get("bootstrap-controller"), v.Get("command-config"))
	if err != nil {
		return err
	}
	defer c.Close()
	r := &reassigning{env: env, c: c, v: v}
	patience, err := r.number("timeout")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout+time.Duration(max(patience, 0))*time.Millisecond)
	defer cancel()
	return action.run(r, ctx)
}

// number is the value of an option of type Long.
func (r *reassigning) number(name string) (int64, error) {
	n, err := strconv.ParseInt(r.v.Get(name), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("Cannot parse argument '%s' of option %s", r.v.Get(name), name)
	}
	return n, nil
}

// wanted reads the file of --reassignment-json-file.
func (r *reassigning) wanted() (*reassignment, error) {
	text, err := readText(r.v.Get("reassignment-json-file"))
	if err != nil {
		return nil, err
	}
	return parseReassignment(text)
}
