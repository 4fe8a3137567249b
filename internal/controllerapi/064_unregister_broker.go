package controllerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/server"
)

// unregisterBroker is API key 64: a broker that is gone is forgotten.
func (a *API) unregisterBroker(r *server.Request) {
	req := kmsg.NewPtrUnregisterBrokerRequest()
	if !decode(r, req) {
		return
	}
	a.forward(r, req)
}
