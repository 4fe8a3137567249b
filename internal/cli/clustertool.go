package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/cli/opt"
)

var clusterOneOf = []string{"bootstrap-server", "bootstrap-controller"}

func clusterOptions(more ...opt.Option) opt.Table {
	return opt.Table{Options: append([]opt.Option{
		{Name: "bootstrap-server", Aliases: []string{"-b"}, Kind: opt.Value, Arg: "host:port,...", Doc: "The brokers to connect to first."},
		{Name: "bootstrap-controller", Aliases: []string{"-C"}, Kind: opt.Value, Arg: "host:port,...", Doc: "The controllers to connect to first."},
		{Name: "config", Kind: opt.Value, Arg: "file", Doc: "(DEPRECATED) Use --command-config."},
		{Name: "command-config", Aliases: []string{"-c"}, Kind: opt.Value, Arg: "file", Doc: "A property file with settings for the admin client."},
	}, more...)}
}

var clusterCommands = opt.Commands{
	Program: "kafka-cluster", Doc: "The Kafka cluster tool.",
	List: []opt.Command{
		{Name: "cluster-id", Doc: "Show the id of a cluster.", Table: clusterOptions(), OneOf: clusterOneOf},
		{Name: "unregister", Doc: "Forget a broker that is gone.", OneOf: clusterOneOf, Table: clusterOptions(
			opt.Option{Name: "id", Aliases: []string{"-i"}, Kind: opt.Value, Type: "Integer", Arg: "id", Required: true, Doc: "The broker's id."})},
		{Name: "list-endpoints", Doc: "List where nodes are reached.", OneOf: clusterOneOf, Table: clusterOptions(
			opt.Option{Name: "include-fenced-brokers", Doc: "List brokers that are fenced too."})},
	},
}

func clusterTool(ctx context.Context, env *Env) int {
	p, err := clusterCommands.Parse(env.Args)
	if err == nil && p.Help != "" {
		fmt.Fprint(env.Out, p.Help)
		return 0
	}
	if err == nil {
		err = runClusterTool(ctx, env, p)
	}
	switch {
	case errors.Is(err, opt.ErrUsage):
		fmt.Fprintf(env.Err, "%s%s: error: %v\n", clusterCommands.Usage(), clusterCommands.Program, err)
		return 1
	case err != nil:
		fmt.Fprintln(env.Err, exception(err))
		return 1
	}
	return 0
}

func runClusterTool(ctx context.Context, env *Env, p *opt.Chosen) error {
	v := p.Values
	id := int64(-1)
	if v.Has("id") {
		var err error
		if id, err = strconv.ParseInt(v.Get("id"), 10, 32); err != nil {
			return opt.Usagef("argument --id/-i: could not convert '%s' to Integer (For input string: \"%s\")", v.Get("id"), v.Get("id"))
		}
	}
	file := v.Get("command-config")
	if v.Has("config") {
		if v.Has("command-config") {
			return errors.New("--config and --command-config cannot be specified together.")
		}
		fmt.Fprintln(env.Out, "Option --config has been deprecated and will be removed in a future version. Use --command-config instead.")
		file = v.Get("config")
	}
	if v.Has("include-fenced-brokers") && v.Has("bootstrap-controller") {
		return errors.New("The option --include-fenced-brokers is only supported with --bootstrap-server option")
	}
	c, err := admin(v.Get("bootstrap-server"), v.Get("bootstrap-controller"), file)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := within(ctx)
	defer cancel()
	if err := c.await(ctx); err != nil {
		return err
	}
	switch p.Command {
	case "unregister":
		return unregisterBroker(ctx, env, c, int32(id))
	case "list-endpoints":
		return listEndpoints(ctx, env, c, v.Has("include-fenced-brokers"))
	}
	n, err := c.describe(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintln(env.Out, "Cluster ID: "+n.clusterID)
	return nil
}

func unregisterBroker(ctx context.Context, env *Env, c *cluster, id int32) error {
	req := kmsg.NewPtrUnregisterBrokerRequest()
	req.BrokerID = id
	resp, err := req.RequestWith(ctx, c)
	if err == nil {
		err = withMessage(resp.ErrorCode, resp.ErrorMessage)
	}
	switch {
	case errors.Is(err, kerr.UnsupportedVersion):
		fmt.Fprintln(env.Out, "The target cluster does not support the broker unregistration API.")
		return nil
	case err != nil:
		return err
	}
	fmt.Fprintf(env.Out, "Broker %d is no longer registered.\n", id)
	return nil
}

// listEndpoints prints a row a node, by its id.
func listEndpoints(ctx context.Context, env *Env, c *cluster, fenced bool) error {
	nodes, err := c.endpoints(ctx, fenced)
	if errors.Is(err, kerr.UnsupportedVersion) {
		fmt.Fprintln(env.Out, reason(err))
		return nil
	}
	if err != nil {
		return err
	}
	slices.SortFunc(nodes, func(a, b kmsg.DescribeClusterResponseBroker) int { return int(a.NodeID) - int(b.NodeID) })
	hostWidth, rackWidth := 0, 0
	if len(nodes) == 0 {
		hostWidth = 100
	}
	for _, b := range nodes {
		hostWidth = max(hostWidth, len(b.Host))
		if b.Rack != nil {
			rackWidth = max(rackWidth, len(*b.Rack))
		}
	}
	if !slices.ContainsFunc(nodes, func(b kmsg.DescribeClusterResponseBroker) bool { return b.Rack != nil }) {
		rackWidth = 10
	}
	row := func(id, host, port, rack, state, kind string) {
		cells := []string{fmt.Sprintf("%-10s", id), fmt.Sprintf("%-*s", hostWidth, host), fmt.Sprintf("%-10s", port), fmt.Sprintf("%-*s", rackWidth, rack)}
		if c.quorum == nil {
			cells = append(cells, fmt.Sprintf("%-10s", state))
		}
		fmt.Fprintln(env.Out, strings.Join(append(cells, fmt.Sprintf("%-15s", kind)), " "))
	}
	row("ID", "HOST", "PORT", "RACK", "STATE", "ENDPOINT_TYPE")
	kind := "broker"
	if c.quorum != nil {
		kind = "controller"
	}
	for _, b := range nodes {
		rack, state := "null", "unfenced"
		if b.Rack != nil {
			rack = *b.Rack
		}
		if b.IsFenced {
			state = "fenced"
		}
		row(strconv.Itoa(int(b.NodeID)), b.Host, strconv.Itoa(int(b.Port)), rack, state, kind)
	}
	return nil
}

// endpoints asks for the nodes, with the fenced ones if wanted, which takes version 2.
func (c *cluster) endpoints(ctx context.Context, fenced bool) ([]kmsg.DescribeClusterResponseBroker, error) {
	if !fenced {
		n, err := c.describe(ctx)
		if err != nil {
			return nil, err
		}
		return n.nodes, nil
	}
	req := kmsg.NewPtrDescribeClusterRequest()
	req.IncludeFencedBrokers = true
	resp, err := req.RequestWith(ctx, c.Client)
	if err == nil {
		err = withMessage(resp.ErrorCode, resp.ErrorMessage)
	}
	if err == nil && resp.Version < 2 {
		err = messageOr(kerr.UnsupportedVersion, "Including fenced broker endpoints is not supported with version "+strconv.Itoa(int(resp.Version)))
	}
	if err != nil {
		return nil, err
	}
	return resp.Brokers, nil
}
