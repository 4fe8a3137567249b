package controllerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/server"
)

// alterConfigs is API key 33: the configs of resources are replaced.
func (a *API) alterConfigs(r *server.Request) {
	req := kmsg.NewPtrAlterConfigsRequest()
	if !decode(r, req) {
		return
	}
	a.forwardWithin(r, req, a.RequestTimeout, func(code int16, message string) kmsg.Response {
		resp := req.ResponseKind().(*kmsg.AlterConfigsResponse)
		for i := range req.Resources {
			t := kmsg.NewAlterConfigsResponseResource()
			t.ResourceType, t.ResourceName = req.Resources[i].ResourceType, req.Resources[i].ResourceName
			t.ErrorCode, t.ErrorMessage = code, &message
			resp.Resources = append(resp.Resources, t)
		}
		return resp
	})
}
