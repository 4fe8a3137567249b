package controllerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/server"
)

// updateFeatures is API key 57: feature levels are finalised (KIP-584).
func (a *API) updateFeatures(r *server.Request) {
	req := kmsg.NewPtrUpdateFeaturesRequest()
	if !decode(r, req) {
		return
	}
	a.forwardWithin(r, req, millis(req.TimeoutMillis))
}
