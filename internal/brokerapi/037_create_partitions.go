package brokerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/server"
)

// createPartitions is API key 37, versions 0 to 3: the controller decides.
func (a *API) createPartitions(r *server.Request) {
	req := kmsg.NewPtrCreatePartitionsRequest()
	if decode(r, req) {
		a.forward(r, req, req.TimeoutMillis)
	}
}
