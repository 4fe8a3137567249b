package controllerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/server"
)

// alterPartition is API key 56: a leader proposes an ISR (KIP-497).
func (a *API) alterPartition(r *server.Request) {
	req := kmsg.NewPtrAlterPartitionRequest()
	if !decode(r, req) {
		return
	}
	a.forward(r, req)
}
