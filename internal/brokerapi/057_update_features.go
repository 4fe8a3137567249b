package brokerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/server"
)

// updateFeatures is API key 57, versions 0 to 2: the controller decides
// (KIP-584).
func (a *API) updateFeatures(r *server.Request) {
	req := kmsg.NewPtrUpdateFeaturesRequest()
	if decode(r, req) {
		a.forward(r, req, req.TimeoutMillis)
	}
}
