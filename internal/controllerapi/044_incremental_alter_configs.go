package controllerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/server"
)

// incrementalAlterConfigs is API key 44: single configs of resources change
// (KIP-339).
func (a *API) incrementalAlterConfigs(r *server.Request) {
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	if !decode(r, req) {
		return
	}
	a.forwardWithin(r, req, a.RequestTimeout, func(code int16, message string) kmsg.Response {
		resp := req.ResponseKind().(*kmsg.IncrementalAlterConfigsResponse)
		for i := range req.Resources {
			t := kmsg.NewIncrementalAlterConfigsResponseResource()
			t.ResourceType, t.ResourceName = req.Resources[i].ResourceType, req.Resources[i].ResourceName
			t.ErrorCode, t.ErrorMessage = code, &message
			resp.Resources = append(resp.Resources, t)
		}
		return resp
	})
}
