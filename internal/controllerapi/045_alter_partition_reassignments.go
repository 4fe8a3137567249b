package controllerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/server"
)

// alterPartitionReassignments is API key 45: partitions move to other brokers (KIP-455).
func (a *API) alterPartitionReassignments(r *server.Request) {
	req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	if !decode(r, req) {
		return
	}
	a.forwardWithin(r, req, millis(req.TimeoutMillis))
}
