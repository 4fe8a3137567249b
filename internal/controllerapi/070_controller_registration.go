package controllerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/server"
)

// controllerRegistration is API key 70: a controller that starts
// becomes known (KIP-919).
func (a *API) controllerRegistration(r *server.Request) {
	req := kmsg.NewPtrControllerRegistrationRequest()
	if !decode(r, req) {
		return
	}
	a.forward(r, req)
}
