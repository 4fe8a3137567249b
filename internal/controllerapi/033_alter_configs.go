package controllerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/server"
)

// alterConfigs is API key 33: the configs of resources are replaced.
func (a *API) alterConfigs(r *server.Request) {
	req := kmsg.NewPtrAlterConfigsRequest()
	if !decode(r, req) {
		return
	}
	a.forwardWithin(r, req, a.RequestTimeout)
}
