package controllerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/server"
)

// createTopics is API key 19: topics are created.
func (a *API) createTopics(r *server.Request) {
	req := kmsg.NewPtrCreateTopicsRequest()
	if !decode(r, req) {
		return
	}
	a.forwardWithin(r, req, millis(req.TimeoutMillis))
}
