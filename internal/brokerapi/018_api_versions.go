package brokerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/describe"
	"github.com/gregorhq/gregor/internal/server"
)

// apiVersions is API key 18, versions 0 to 5: what the listener serves, and which
// features the cluster has. The server answers unknown versions itself.
func (a *API) apiVersions(r *server.Request) {
	req := kmsg.NewPtrApiVersionsRequest()
	if !decode(r, req) {
		return
	}
	v := describe.Versions{Image: a.Image(), Broker: &describe.Identity{NodeID: a.NodeID, ClusterID: a.ClusterID}, Keys: r.Listener.APIVersions()}
	if a.Quorum != nil {
		v.KRaftVersion = a.Quorum.Describe().KRaftVersion
	}
	r.Reply(v.Answer(req))
}
