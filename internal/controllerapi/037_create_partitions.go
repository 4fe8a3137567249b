package controllerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/server"
)

// createPartitions is API key 37: topics get more partitions (KIP-195).
func (a *API) createPartitions(r *server.Request) {
	req := kmsg.NewPtrCreatePartitionsRequest()
	if !decode(r, req) {
		return
	}
	a.forwardWithin(r, req, millis(req.TimeoutMillis))
}
