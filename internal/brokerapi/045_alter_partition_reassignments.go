package brokerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/server"
)

// alterPartitionReassignments is API key 45, versions 0 and 1: the controller decides
// (KIP-455, KIP-860).
func (a *API) alterPartitionReassignments(r *server.Request) {
	req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	if decode(r, req) {
		a.forward(r, req, req.TimeoutMillis)
	}
}
