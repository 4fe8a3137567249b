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
	a.forwardWithin(r, req, millis(req.TimeoutMillis), func(code int16, message string) kmsg.Response {
		resp := req.ResponseKind().(*kmsg.DeleteTopicsResponse)
		for i := range req.TopicNames {
			t := kmsg.NewDeleteTopicsResponseTopic()
			t.Topic, t.ErrorCode, t.ErrorMessage = &req.TopicNames[i], code, &message
			resp.Topics = append(resp.Topics, t)
		}
		for i := range req.Topics {
			t := kmsg.NewDeleteTopicsResponseTopic()
			t.Topic, t.TopicID, t.ErrorCode, t.ErrorMessage = req.Topics[i].Topic, req.Topics[i].TopicID, code, &message
			resp.Topics = append(resp.Topics, t)
		}
		return resp
	})
}
