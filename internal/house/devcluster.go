package house

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/gregorhq/gregor/broker"
	"github.com/gregorhq/gregor/internal/cli"
	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/storage"
	"github.com/gregorhq/gregor/internal/vfs"
)

// devCluster runs several nodes in this process.
func devCluster(ctx context.Context, env *cli.Env, nodes, port int, data string, overrides []string, logger *slog.Logger) error {
	if port+2*nodes-1 > 65535 {
		return fmt.Errorf("%d nodes need the ports from %d to %d", nodes, port, port+2*nodes-1)
	}
	if _, err := vfs.OS().Stat(filepath.Join(data, storage.MetaPropertiesName)); err == nil {
		return fmt.Errorf("%s has the data of a single node; choose another folder with --data", data)
	}
	var props config.Properties
	for _, o := range overrides {
		var err error
		if props, err = props.Override(o); err != nil {
			return err
		}
	}
	c, err := broker.OpenCluster(broker.ClusterConfig{Nodes: nodes, Dir: data, Port: port, Properties: props.Map(), Logger: logger})
	if err != nil {
		return explain(err)
	}
	err = c.Start(ctx)
	if err == nil {
		if env.Terminal {
			clusterBanner(env, c, port, data)
		}
		releaseStartPages()
		err = c.Wait(ctx)
	}
	return errors.Join(err, c.Close())
}

// devIsCluster refuses a folder of several nodes for a single one, which would take
// their folders for its topics.
func devIsCluster(data string) error {
	if _, err := vfs.OS().Stat(filepath.Join(data, broker.NodeDir(1), storage.MetaPropertiesName)); err == nil {
		return fmt.Errorf("%s has the data of several nodes; run with --nodes, or choose another folder with --data", data)
	}
	return nil
}

func clusterBanner(env *cli.Env, c *broker.Cluster, port int, data string) {
	at := ""
	if port != 9092 {
		at = fmt.Sprintf(" -b localhost:%d", port)
	}
	fmt.Fprintf(env.Out, `gregor is running: %d nodes, cluster %s, data in %s

  clients connect to    %s

  In another terminal:
    gregor produce hello%s      publishes each line that you type
    gregor consume hello%s      prints them

Ctrl-C stops them; the data stays.
`, c.Size(), c.ClusterID(), data, strings.Join(c.Addrs(), ","), at, at)
}
