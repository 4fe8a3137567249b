package controllerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/server"
)

// listPartitionReassignments is API key 46: what is on the move (KIP-455).
func (a *API) listPartitionReassignments(r *server.Request) {
	req := kmsg.NewPtrListPartitionReassignmentsRequest()
	if !decode(r, req) {
		return
	}
	a.forwardWithin(r, req, millis(req.TimeoutMillis))
}
