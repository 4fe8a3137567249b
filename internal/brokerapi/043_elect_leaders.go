package brokerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/server"
)

// electLeaders is API key 43, versions 0 to 2: the controller decides (KIP-183,
// KIP-460).
func (a *API) electLeaders(r *server.Request) {
	req := kmsg.NewPtrElectLeadersRequest()
	if decode(r, req) {
		a.forward(r, req, req.TimeoutMillis)
	}
}
