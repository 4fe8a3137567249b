package controllerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/server"
)

// allocateProducerIDs is API key 67: a broker gets a block of producer
// ids (KIP-730).
func (a *API) allocateProducerIDs(r *server.Request) {
	req := kmsg.NewPtrAllocateProducerIDsRequest()
	if !decode(r, req) {
		return
	}
	a.forward(r, req)
}
