package brokerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/server"
)

// deleteTopics is API key 20, versions 0 to 6: the controller decides, unless
// this cluster forbids deletion.
func (a *API) deleteTopics(r *server.Request) {
	req := kmsg.NewPtrDeleteTopicsRequest()
	if !decode(r, req) {
		return
	}
	if !a.Config().DeleteTopicEnable {
		r.Reply(failAll(req, deletionDisabled(req.Version)))
		return
	}
	a.forward(r, req, req.TimeoutMillis)
}

// deletionDisabled is the refusal, which versions below 3 have no code for.
func deletionDisabled(version int16) error {
	if version < 3 {
		return kafka.InvalidRequest.Errorf("This version does not support topic deletion.")
	}
	return kafka.TopicDeletionDisabled
}
