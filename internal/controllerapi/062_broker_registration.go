package controllerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/server"
)

// brokerRegistration is API key 62: a broker that starts becomes known (KIP-631).
func (a *API) brokerRegistration(r *server.Request) {
	req := kmsg.NewPtrBrokerRegistrationRequest()
	if !decode(r, req) {
		return
	}
	a.forward(r, req)
}
