package controllerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/server"
)

// createPartitions is API key 37: topics get more partitions (KIP-195).
func (a *API) createPartitions(r *server.Request) {
	req := kmsg.NewPtrCreatePartitionsRequest()
	if !decode(r, req) {
		return
	}
	a.forwardWithin(r, req, millis(req.TimeoutMillis), func(code int16, message string) kmsg.Response {
		resp := req.ResponseKind().(*kmsg.CreatePartitionsResponse)
		for i := range req.Topics {
			t := kmsg.NewCreatePartitionsResponseTopic()
			t.Topic = req.Topics[i].Topic
			t.ErrorCode, t.ErrorMessage = code, &message
			resp.Topics = append(resp.Topics, t)
		}
		return resp
	})
}
