package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/cli/opt"
)

// The options by which most tools connect.
var (
	bootstrapServerOption = opt.Option{Name: "bootstrap-server", Kind: opt.Value, Arg: "server(s) to use for bootstrapping", Doc: "REQUIRED: The server(s) to connect to, in the form HOST1:PORT1,HOST2:PORT2."}
	commandConfigOption   = opt.Option{Name: "command-config", Kind: opt.Value, Arg: "config file", Doc: "A property file with settings for the admin client."}
)

// admin connects a tool to brokers or controllers with the settings of a property
// file. The first line of its errors is the one that Kafka's tools print.
func admin(servers, controllers, file string) (*cluster, error) {
	props, err := readProperties(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s\n%w", file, err)
	}
	if err != nil {
		return nil, err
	}
	c, err := connectEither(servers, controllers, props)
	if err != nil {
		return nil, fmt.Errorf("Failed to create new KafkaAdminClient\n%w", err)
	}
	return c, nil
}

// awaitPause is the time between two tries to reach a node.
const awaitPause = 200 * time.Millisecond

// await waits until a node answers. Scripts run tools while a broker is still
// starting, and rely on it that Kafka's tools wait.
func (c *cluster) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	for {
		var err error
		if c.quorum == nil {
			err = c.Ping(ctx)
		} else {
			_, err = c.describe(ctx)
		}
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return messageOr(kerr.RequestTimedOut, "Timed out waiting for a node assignment.\n"+reason(err))
		case <-time.After(awaitPause):
		}
	}
}

// task is a tool's work on a cluster.
type task func(context.Context, *Env, *cluster, *opt.Values) error

// whenUp is the task after waiting for the cluster.
func whenUp(work task) task {
	return func(ctx context.Context, env *Env, c *cluster, v *opt.Values) error {
		if err := c.await(ctx); err != nil {
			return err
		}
		return work(ctx, env, c, v)
	}
}

// withCluster runs a task within the time that an exchange may take, and prints how
// it failed.
func withCluster(ctx context.Context, env *Env, v *opt.Values, work task) int {
	c, err := admin(v.Get("bootstrap-server"), "", v.Get("command-config"))
	if err == nil {
		defer c.Close()
		ctx, cancel := within(ctx)
		defer cancel()
		err = work(ctx, env, c, v)
	}
	if err != nil {
		fmt.Fprintln(env.Err, exception(err))
		return 1
	}
	return 0
}

// apiVersions asks one node, or any when id is negative, what it serves.
func (c *cluster) apiVersions(ctx context.Context, id int32) (*kmsg.ApiVersionsResponse, error) {
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = "gregor", "1"
	var resp kmsg.Response
	var err error
	if id < 0 {
		resp, err = c.Request(ctx, req)
	} else {
		resp, err = c.askNode(ctx, id, req)
	}
	if err != nil {
		return nil, err
	}
	versions := resp.(*kmsg.ApiVersionsResponse)
	return versions, withMessage(versions.ErrorCode, nil)
}

// commaSeparated splits a list and drops what is empty.
func commaSeparated(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' })
}
