package controllerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/server"
)

// brokerHeartbeat is API key 63: a broker is alive, and asks to be
// unfenced or to leave (KIP-631).
func (a *API) brokerHeartbeat(r *server.Request) {
	req := kmsg.NewPtrBrokerHeartbeatRequest()
	if !decode(r, req) {
		return
	}
	a.forward(r, req)
}
