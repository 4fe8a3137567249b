package brokerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/server"
)

// listPartitionReassignments is API key 46, version 0. The controller is asked and not
// the local image, which may be a little behind: who lists after an alteration sees it
// (KIP-455).
func (a *API) listPartitionReassignments(r *server.Request) {
	req := kmsg.NewPtrListPartitionReassignmentsRequest()
	if decode(r, req) {
		a.forward(r, req, req.TimeoutMillis)
	}
}
