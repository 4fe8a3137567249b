package controllerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/describe"
	"github.com/gregorhq/gregor/internal/log4j"
	"github.com/gregorhq/gregor/internal/server"
)

// describeConfigs is API key 32: what a broker answers, of this controller (KIP-919).
func (a *API) describeConfigs(r *server.Request) {
	req := kmsg.NewPtrDescribeConfigsRequest()
	if decode(r, req) {
		n := describe.Node{ID: a.NodeID, Image: a.Image(), Config: a.Config(), LogLevel: log4j.LevelOf(a.Log)}
		r.Reply(n.Configs(req))
	}
}
