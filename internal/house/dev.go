package house

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/gregorhq/gregor/internal/cli"
	"github.com/gregorhq/gregor/internal/cli/opt"
	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log4j"
	"github.com/gregorhq/gregor/internal/netx"
	"github.com/gregorhq/gregor/internal/node"
	"github.com/gregorhq/gregor/internal/storage"
	"github.com/gregorhq/gregor/internal/vfs"
)

var devTable = opt.Table{Options: []opt.Option{
	{Name: "port", Kind: opt.Value, Type: "Integer", Arg: "port", Default: "9092", Doc: "The port for clients, on the loopback address."},
	{Name: "nodes", Kind: opt.Value, Type: "Integer", Arg: "number", Default: "1", Doc: "How many nodes; the second one listens two ports above the first, and so on."},
	{Name: "data", Kind: opt.Value, Arg: "folder", Default: "gregor-data", Doc: "Where the data is kept; made and formatted when it does not exist."},
	{Name: "override", Kind: opt.List, Arg: "property=value", Doc: "A property of the broker; may be repeated."},
	{Name: "help", Aliases: []string{"h"}, Doc: "Print this text."},
}}

const devUsage = "Usage: gregor dev [OPTION]...\nRuns one node, or a cluster of several, for development.\n"

func dev(ctx context.Context, env *cli.Env) int {
	v, err := devTable.Parse(env.Args)
	if err == nil && v.Has("help") {
		fmt.Fprint(env.Out, devUsage, "\n", devTable.Help())
		return 0
	}
	if err == nil && len(v.Rest) > 0 {
		err = fmt.Errorf("%s is one word too many", v.Rest[0])
	}
	var port int
	if err == nil {
		if port, err = strconv.Atoi(v.Get("port")); err != nil || port < 1 || port > 65535 {
			err = fmt.Errorf("--port is %q; it must be between 1 and 65535", v.Get("port"))
		}
	}
	var nodes int
	if err == nil {
		if nodes, err = strconv.Atoi(v.Get("nodes")); err != nil || nodes < 1 || nodes > 99 {
			err = fmt.Errorf("--nodes is %q; it must be between 1 and 99", v.Get("nodes"))
		}
	}
	if err != nil {
		fmt.Fprintf(env.Err, "gregor dev: %v\n%s", err, devUsage)
		return 2
	}
	logger := slog.New(log4j.NewHandler(env.Out, slog.LevelInfo))
	if env.Terminal {
		logger = slog.New(log4j.NewHandler(env.Err, slog.LevelWarn))
	}
	if nodes > 1 {
		if err := devCluster(ctx, env, nodes, port, v.Get("data"), v.All("override"), logger); err != nil {
			fmt.Fprintf(env.Err, "gregor dev: %v\n", err)
			return 1
		}
		return 0
	}
	return devNode(ctx, env, port, v, logger)
}

// devNode runs one node.
func devNode(ctx context.Context, env *cli.Env, port int, v *opt.Values, logger *slog.Logger) int {
	var cfg *config.Broker
	var controller int
	err := devIsCluster(v.Get("data"))
	if err == nil {
		controller, err = controllerPort(ctx, port)
	}
	if err == nil {
		cfg, err = devConfig(port, controller, v.Get("data"), v.All("override"))
	}
	if err == nil {
		err = formatOnce(cfg)
	}
	if err != nil {
		fmt.Fprintf(env.Err, "gregor dev: %v\n", err)
		return 1
	}
	env.Name = "gregor dev"
	if env.Terminal {
		return runNode(ctx, env, cfg, logger, func(n *node.Node) { banner(env, n, port, v.Get("data")) })
	}
	return runNode(ctx, env, cfg, logger, nil)
}

// controllerPort is the port above the clients', or a free one where that is taken:
// nobody but this node and tools that ask for it connect to the controller.
func controllerPort(ctx context.Context, port int) (int, error) {
	for _, try := range []int{port + 1, 0} {
		l, err := netx.OS().Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", try))
		if err != nil {
			continue
		}
		_, text, err := net.SplitHostPort(l.Addr().String())
		if err = errors.Join(err, l.Close()); err != nil {
			return 0, err
		}
		return strconv.Atoi(text)
	}
	return 0, errors.New("no port is free on 127.0.0.1 for the controller")
}

// devConfig is one combined node on loopback whose internal topics need no others.
func devConfig(port, controller int, data string, overrides []string) (*config.Broker, error) {
	props := config.Properties{
		{Key: "process.roles", Value: "broker,controller"},
		{Key: "node.id", Value: "1"},
		{Key: "listeners", Value: fmt.Sprintf("PLAINTEXT://127.0.0.1:%d,CONTROLLER://127.0.0.1:%d", port, controller)},
		{Key: "listener.security.protocol.map", Value: "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT"},
		{Key: "advertised.listeners", Value: fmt.Sprintf("PLAINTEXT://localhost:%d", port)},
		{Key: "controller.listener.names", Value: "CONTROLLER"},
		{Key: "controller.quorum.voters", Value: fmt.Sprintf("1@127.0.0.1:%d", controller)},
		{Key: "log.dirs", Value: data},
		{Key: "offsets.topic.replication.factor", Value: "1"},
		{Key: "transaction.state.log.replication.factor", Value: "1"},
		{Key: "transaction.state.log.min.isr", Value: "1"},
		{Key: "group.initial.rebalance.delay.ms", Value: "0"},
	}
	var err error
	for _, o := range overrides {
		if props, err = props.Override(o); err != nil {
			return nil, err
		}
	}
	cfg, _, err := config.Load(props.Map())
	return cfg, err
}

// formatOnce formats the directories unless they are.
func formatOnce(cfg *config.Broker) error {
	_, err := vfs.OS().Stat(filepath.Join(cfg.MetadataLogDir, storage.MetaPropertiesName))
	if err == nil {
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("looking at %s: %w", cfg.MetadataLogDir, err)
	}
	_, err = storage.Format(vfs.OS(), storage.FormatOptions{
		NodeID: cfg.NodeID, ClusterID: kafka.NewUUID().String(), Directories: directories(cfg), MetadataLogDir: cfg.MetadataLogDir,
		ControllerListenerName: cfg.ControllerListenerNames[0], DynamicQuorum: len(cfg.Voters) == 0, Now: clock.Real().Now(),
	})
	if err != nil {
		return fmt.Errorf("formatting %s: %w", cfg.MetadataLogDir, err)
	}
	return nil
}

func banner(env *cli.Env, n *node.Node, port int, data string) {
	at := ""
	if port != 9092 {
		at = fmt.Sprintf(" -b localhost:%d", port)
	}
	fmt.Fprintf(env.Out, `gregor is running: one node, cluster %s, data in %s

  clients connect to    localhost:%d

  In another terminal:
    gregor produce hello%s      publishes each line that you type
    gregor consume hello%s      prints them

Ctrl-C stops it; the data stays.
`, n.ClusterID(), data, port, at, at)
}

// explain adds what to do to errors that a person meets on a first start.
func explain(err error) error {
	var op *net.OpError
	if errors.Is(err, syscall.EADDRINUSE) && errors.As(err, &op) {
		return fmt.Errorf("the address %v is in use: another broker may be running there; stop it, or choose another port (gregor dev --port N, or listeners in the properties): %w", op.Addr, err)
	}
	if strings.Contains(err.Error(), "No `meta.properties` found") {
		return fmt.Errorf("%w; format it first: kafka-storage format -t $(kafka-storage random-uuid) -c server.properties", err)
	}
	return err
}
