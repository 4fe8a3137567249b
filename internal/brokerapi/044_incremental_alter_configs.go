package brokerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/server"
)

// incrementalAlterConfigs is API key 44, versions 0 and 1 (KIP-339). What concerns
// this broker is checked, and its loggers changed, here; the controller decides
// the rest.
func (a *API) incrementalAlterConfigs(r *server.Request) {
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	if !decode(r, req) {
		return
	}
	r.WillBlock()
	r.Reply(a.alterIncrementally(req, onBehalfOf(r), r.Alive))
}

func (a *API) alterIncrementally(req *kmsg.IncrementalAlterConfigsRequest, who onBehalf, alive func() bool) *kmsg.IncrementalAlterConfigsResponse {
	resp := req.ResponseKind().(*kmsg.IncrementalAlterConfigsResponse)
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
			done, err = a.preprocess(img, id, incrementalOps(x), false, req.ValidateOnly)
		}
		num, text := kafka.NumAndText(err)
		resp.Resources = append(resp.Resources, incrementalResult(x, num, text))
		if err == nil && !done {
			places[id] = i
			rest.Resources = append(rest.Resources, x)
		}
	}
	if len(rest.Resources) == 0 {
		return resp
	}
	answered := a.ask(who, &rest, int32(a.Config().RequestTimeoutMs), alive).(*kmsg.IncrementalAlterConfigsResponse)
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

// preprocess does the broker's part for one resource. done says that nothing is
// left for the controller.
func (a *API) preprocess(img *metadata.Image, id metadata.ConfigResource, ops []configOp, replace, validateOnly bool) (done bool, err error) {
	if err := checkOps(ops); err != nil {
		return true, err
	}
	switch id.Type {
	case metadata.ResourceBroker:
		return false, a.checkBroker(img, id.Name, ops, replace)
	case metadata.ResourceBrokerLogger:
		if !replace {
			return true, a.alterLoggers(id.Name, ops, validateOnly)
		}
	case metadata.ResourceTopic, metadata.ResourceClientMetrics, metadata.ResourceGroup:
		return false, nil
	}
	return true, kafka.InvalidRequest.Errorf("Unknown resource type %d", id.Type)
}

func incrementalOps(x kmsg.IncrementalAlterConfigsRequestResource) []configOp {
	ops := make([]configOp, 0, len(x.Configs))
	for _, c := range x.Configs {
		ops = append(ops, configOp{c.Name, c.Op, c.Value})
	}
	return ops
}

func incrementalResult(x kmsg.IncrementalAlterConfigsRequestResource, num int16, text *string) kmsg.IncrementalAlterConfigsResponseResource {
	out := kmsg.NewIncrementalAlterConfigsResponseResource()
	out.ResourceType, out.ResourceName, out.ErrorCode, out.ErrorMessage = x.ResourceType, x.ResourceName, num, text
	return out
}
