package brokerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/describe"
	"github.com/gregorhq/gregor/internal/log4j"
	"github.com/gregorhq/gregor/internal/server"
)

// describeConfigs is API key 32, versions 0 to 4: the configuration of topics,
// of this broker or the defaults of all, of groups, of client metrics
// subscriptions and of this broker's loggers. Secrets are never shown.
func (a *API) describeConfigs(r *server.Request) {
	req := kmsg.NewPtrDescribeConfigsRequest()
	if decode(r, req) {
		r.Reply(a.configs(req))
	}
}

func (a *API) configs(req *kmsg.DescribeConfigsRequest) *kmsg.DescribeConfigsResponse {
	n := describe.Node{ID: a.NodeID, Image: a.Image(), Config: a.Config(), LogLevel: log4j.LevelOf(a.Log)}
	return n.Configs(req)
}
