package controllerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/server"
)

// deleteTopics is API key 20: topics are deleted, by name or, from version 6 on, by
// id (KIP-516).
func (a *API) deleteTopics(r *server.Request) {
	req := kmsg.NewPtrDeleteTopicsRequest()
	if !decode(r, req) {
		return
	}
	a.forwardWithin(r, req, millis(req.TimeoutMillis))
}
