package house

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/gregorhq/gregor/internal/cli"
	"github.com/gregorhq/gregor/internal/cli/opt"
	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/log4j"
	"github.com/gregorhq/gregor/internal/netx"
	"github.com/gregorhq/gregor/internal/node"
	"github.com/gregorhq/gregor/internal/vfs"
)

const serverStartUsage = "USAGE: kafka-server-start [-daemon] server.properties [--override property=value]*\n"

var serverStartTable = opt.Table{Options: []opt.Option{
	{Name: "daemon", Doc: "Run in the background; its output goes to kafkaServer.out in $LOG_DIR, or in ./logs."},
	{Name: "override", Kind: opt.List, Arg: "property=value", Doc: "Optional property that should override values set in server.properties file."},
	{Name: "env", Kind: opt.Value, Arg: "apache|confluent", Doc: "Take KAFKA_ variables as properties too, with the escapes of that container image; they override the file, which may then be left out."},
	{Name: "help", Aliases: []string{"h"}, Doc: "Print usage information."},
	{Name: "version", Doc: "Print version information and exit."},
}}

// serverStart is kafka-server-start: it runs a node until a signal ends it.
func serverStart(ctx context.Context, env *cli.Env) int {
	v, err := serverStartTable.Parse(env.Args)
	if err != nil || v.Has("help") || len(v.Rest) > 1 || len(v.Rest) == 0 && !v.Has("env") {
		if err != nil {
			fmt.Fprintln(env.Err, err)
		}
		fmt.Fprint(env.Err, serverStartUsage, serverStartTable.Help())
		return 1
	}
	if v.Has("daemon") {
		return daemonize(env)
	}
	cfg, warnings, err := serverConfig(v)
	if err != nil {
		fmt.Fprintf(env.Err, "kafka-server-start: %v\n", err)
		return 1
	}
	logger := slog.New(log4j.NewHandler(env.Out, slog.LevelInfo))
	for _, w := range warnings {
		logger.Warn(w.Text, "key", w.Key)
	}
	return runNode(ctx, env, cfg, logger, nil)
}

// serverConfig gathers the properties in the order of their weight: file,
// environment, overrides.
func serverConfig(v *opt.Values) (*config.Broker, []config.Warning, error) {
	var props config.Properties
	var warnings []config.Warning
	if len(v.Rest) == 1 {
		text, err := vfs.ReadFile(vfs.OS(), v.Rest[0])
		if err != nil {
			return nil, nil, fmt.Errorf("reading the configuration: %w", err)
		}
		if props, err = config.ParseProperties(text); err != nil {
			return nil, nil, fmt.Errorf("reading the configuration %s: %w", v.Rest[0], err)
		}
	}
	if v.Has("env") {
		styles := map[string]config.EnvStyle{"apache": config.EnvApache, "confluent": config.EnvConfluent}
		style, ok := styles[v.Get("env")]
		if !ok {
			return nil, nil, fmt.Errorf("--env is %q; it can be apache or confluent", v.Get("env"))
		}
		fromEnv, w := config.FromEnv(os.Environ(), style)
		warnings = append(warnings, w...)
		for _, p := range fromEnv {
			props = props.Set(p.Key, p.Value)
		}
	}
	var err error
	for _, o := range v.All("override") {
		if props, err = props.Override(o); err != nil {
			return nil, nil, err
		}
	}
	cfg, w, err := config.Load(props.Map())
	return cfg, append(warnings, w...), err
}

// stopTimeout bounds a controlled shutdown.
const stopTimeout = 5 * time.Minute

// runNode runs a node until ctx ends or the node fails, and returns the exit code.
// ready is called once clients can connect; it may be nil.
func runNode(ctx context.Context, env *cli.Env, cfg *config.Broker, logger *slog.Logger, ready func(*node.Node)) int {
	n, err := node.Open(ctx, cfg, node.Deps{FS: vfs.OS(), Net: netx.OS(), Clock: clock.Real(), Logger: logger})
	if err != nil {
		fmt.Fprintf(env.Err, "%s: %v\n", env.Name, explain(err))
		return 1
	}
	err = n.Start(ctx)
	if err == nil {
		if ready != nil {
			ready(n)
		}
		releaseStartPages()
		select {
		case <-ctx.Done():
		case <-n.Done():
			err = n.Err()
		}
	}
	stop, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if cerr := n.Close(stop); cerr != nil {
		err = errors.Join(err, fmt.Errorf("stopping: %w", cerr))
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintf(env.Err, "%s: %v\n", env.Name, err)
		return 1
	}
	return 0
}

// daemonize starts this command again without -daemon, detached from the terminal.
func daemonize(env *cli.Env) int {
	dir := env.Getenv("LOG_DIR")
	if dir == "" {
		dir = "logs"
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		fmt.Fprintf(env.Err, "kafka-server-start: %v\n", err)
		return 1
	}
	out, err := os.OpenFile(filepath.Join(dir, "kafkaServer.out"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		fmt.Fprintf(env.Err, "kafka-server-start: %v\n", err)
		return 1
	}
	defer out.Close()
	args := []string{"kafka-server-start"}
	for _, a := range env.Args {
		if a != "-daemon" && a != "--daemon" {
			args = append(args, a)
		}
	}
	if err := startDetached(args, out); err != nil {
		fmt.Fprintf(env.Err, "kafka-server-start: starting in the background: %v\n", err)
		return 1
	}
	return 0
}
