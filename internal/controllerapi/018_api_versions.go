package controllerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/describe"
	"github.com/gregorhq/gregor/internal/server"
)

// apiVersions is API key 18, versions 0 to 5: what this listener serves, and which
// features the cluster has.
func (a *API) apiVersions(r *server.Request) {
	req := kmsg.NewPtrApiVersionsRequest()
	if !decode(r, req) {
		return
	}
	v := describe.Versions{Image: a.Image(), KRaftVersion: a.KRaftVersion(), Keys: r.Listener.APIVersions()}
	r.Reply(v.Answer(req))
}
