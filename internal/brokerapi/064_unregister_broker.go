package brokerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/server"
)

// unregisterBroker is API key 64, version 0: the controller forgets a broker that is
// gone (KIP-631).
func (a *API) unregisterBroker(r *server.Request) {
	req := kmsg.NewPtrUnregisterBrokerRequest()
	if decode(r, req) {
		a.forward(r, req, int32(a.Config().RequestTimeoutMs))
	}
}
