package cli

import (
	"errors"
	"fmt"

	"github.com/gregorhq/gregor/internal/buildinfo"
	"github.com/gregorhq/gregor/internal/cli/opt"
)

// helpOptions are the two that every tool of Kafka has.
var helpOptions = []opt.Option{
	{Name: "help", Doc: "Print usage information."},
	{Name: "version", Doc: "Display Kafka version."},
}

// parse reads env.Args by a tool's table. done says that the tool is finished with
// the given code: help or the version was asked for, or the words are wrong. what is
// the tool's one-line description.
func parse(env *Env, table *opt.Table, what string) (v *opt.Values, code int, done bool) {
	if len(env.Args) == 0 {
		return nil, usage(env, table, what), true
	}
	v, err := table.Parse(env.Args)
	if err != nil {
		return nil, usage(env, table, err.Error()), true
	}
	if v.Has("help") {
		return nil, usage(env, table, what), true
	}
	if v.Has("version") {
		fmt.Fprintln(env.Out, buildinfo.KafkaVersion)
		return nil, 0, true
	}
	return v, 0, false
}

// usage prints a message with the tool's help, where Kafka's tools print it and
// with their exit code, which is 1 even when help was asked for.
func usage(env *Env, table *opt.Table, message string) int {
	fmt.Fprintln(env.Err, message)
	fmt.Fprint(env.Err, table.Help())
	return 1
}

// wrongUsage reports err as usage when it is of that class, else as it is.
func wrongUsage(env *Env, table *opt.Table, err error) int {
	if errors.Is(err, opt.ErrUsage) {
		return usage(env, table, err.Error())
	}
	fmt.Fprintln(env.Err, err)
	return 1
}
