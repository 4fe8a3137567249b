package controllerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/server"
)

// electLeaders is API key 43: leaders are elected now (KIP-183, KIP-460).
func (a *API) electLeaders(r *server.Request) {
	req := kmsg.NewPtrElectLeadersRequest()
	if !decode(r, req) {
		return
	}
	a.forwardWithin(r, req, millis(req.TimeoutMillis))
}
