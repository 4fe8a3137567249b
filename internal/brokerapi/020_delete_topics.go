package brokerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/server"
)

// deleteTopics is API key 20, versions 0 to 6: the controller decides, also whether this
// cluster allows it (delete.topic.enable of controllers).
func (a *API) deleteTopics(r *server.Request) {
	req := kmsg.NewPtrDeleteTopicsRequest()
	if !decode(r, req) {
		return
	}
	a.forward(r, req, req.TimeoutMillis)
}
