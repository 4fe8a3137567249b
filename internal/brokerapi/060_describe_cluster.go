package brokerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/describe"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/server"
)

// Kinds of endpoints in DescribeCluster (KIP-919).
const (
	brokerEndpoints     int8 = 1
	controllerEndpoints int8 = 2
)

// describeCluster is API key 60, versions 0 to 2.
func (a *API) describeCluster(r *server.Request) {
	req := kmsg.NewPtrDescribeClusterRequest()
	if decode(r, req) {
		r.Reply(a.cluster(req, r.Listener.Name))
	}
}

func (a *API) cluster(req *kmsg.DescribeClusterRequest, listener string) *kmsg.DescribeClusterResponse {
	resp := req.ResponseKind().(*kmsg.DescribeClusterResponse)
	kind := req.EndpointType
	if req.Version == 0 {
		kind = brokerEndpoints
	}
	switch kind {
	case brokerEndpoints:
	case controllerEndpoints:
		resp.ErrorCode, resp.ErrorMessage = kafka.NumAndText(kafka.MismatchedEndpointType.Errorf(
			"The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER"))
		return resp
	default:
		resp.ErrorCode, resp.ErrorMessage = kafka.NumAndText(kafka.UnsupportedEndpointType.Errorf("Unsupported endpoint type %d", kind))
		return resp
	}
	img := a.Image()
	resp.EndpointType, resp.ClusterID = brokerEndpoints, a.ClusterID
	if req.IncludeClusterAuthorizedOperations {
		resp.ClusterAuthorizedOperations = describe.AllClusterOperations
	}
	controller := a.controllerID(img)
	resp.ControllerID = -1
	for _, b := range img.Brokers() {
		e, ok := b.Endpoint(listener)
		if !ok || b.Fenced && !req.IncludeFencedBrokers {
			continue
		}
		row := kmsg.NewDescribeClusterResponseBroker()
		row.NodeID, row.Host, row.Port, row.Rack, row.IsFenced = b.ID, e.Host, int32(e.Port), b.Rack, b.Fenced
		resp.Brokers = append(resp.Brokers, row)
		if b.ID == controller {
			resp.ControllerID = controller
		}
	}
	return resp
}
