package brokerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/server"
)

// alterConfigs is API key 33, versions 0 to 2: what is given replaces all that a
// resource had. It cannot change loggers. The controller decides what is left
// after the broker's own checks.
func (a *API) alterConfigs(r *server.Request) {
	req := kmsg.NewPtrAlterConfigsRequest()
	if !decode(r, req) {
		return
	}
	r.WillBlock()
	r.Reply(a.replaceConfigs(req, onBehalfOf(r), r.Alive))
}

func (a *API) replaceConfigs(req *kmsg.AlterConfigsRequest, who onBehalf, alive func() bool) *kmsg.AlterConfigsResponse {
	resp := req.ResponseKind().(*kmsg.AlterConfigsResponse)
	img := a.Image()
	times := map[metadata.ConfigResource]int{}
	for _, x := range req.Resources {
		times[metadata.ConfigResource{Type: int8(x.ResourceType), Name: x.ResourceName}]++
	}
	rest := *req
	rest.Resources = nil
	places := map[metadata.ConfigResource]int{}
	for i, x := range req.Resources {
		id := metadata.ConfigResource{Type: int8(x.ResourceType), Name: x.ResourceName}
		done, err := true, errTwice()
		if times[id] == 1 {
			done, err = a.preprocess(img, id, replacingOps(x), true, req.ValidateOnly)
		}
		num, text := kafka.NumAndText(err)
		resp.Resources = append(resp.Resources, alterResult(x, num, text))
		if err == nil && !done {
			places[id] = i
			rest.Resources = append(rest.Resources, x)
		}
	}
	if len(rest.Resources) == 0 {
		return resp
	}
	answered := a.ask(who, &rest, int32(a.Config().RequestTimeoutMs), alive).(*kmsg.AlterConfigsResponse)
	for _, x := range answered.Resources {
		id := metadata.ConfigResource{Type: int8(x.ResourceType), Name: x.ResourceName}
		if i, ok := places[id]; ok {
			resp.Resources[i].ErrorCode, resp.Resources[i].ErrorMessage = x.ErrorCode, x.ErrorMessage
			delete(places, id)
		}
	}
	for _, i := range places {
		resp.Resources[i].ErrorCode = kafka.UnknownServerError.Num()
	}
	return resp
}

func replacingOps(x kmsg.AlterConfigsRequestResource) []configOp {
	ops := make([]configOp, 0, len(x.Configs))
	for _, c := range x.Configs {
		ops = append(ops, configOp{c.Name, kmsg.IncrementalAlterConfigOpSet, c.Value})
	}
	return ops
}

func alterResult(x kmsg.AlterConfigsRequestResource, num int16, text *string) kmsg.AlterConfigsResponseResource {
	out := kmsg.NewAlterConfigsResponseResource()
	out.ResourceType, out.ResourceName, out.ErrorCode, out.ErrorMessage = x.ResourceType, x.ResourceName, num, text
	return out
}
