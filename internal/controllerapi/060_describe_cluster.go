package controllerapi

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/describe"
	"github.com/gregorhq/gregor/internal/features"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/server"
)

// endpointControllers asks for controllers, endpointBrokers for brokers.
const (
	endpointBrokers     int8 = 1
	endpointControllers int8 = 2
)

const mismatchedEndpoint = "The request was sent to an endpoint of type CONTROLLER, but we wanted an endpoint of type BROKER"

// describeCluster is API key 60: the controllers that have registered, with the
// address of the listener that the client used (KIP-919). Brokers are not told
// here: who asks for them is at the wrong kind of endpoint.
func (a *API) describeCluster(r *server.Request) {
	req := kmsg.NewPtrDescribeClusterRequest()
	if !decode(r, req) {
		return
	}
	r.Reply(a.cluster(req, r.Listener.Name))
}

func (a *API) cluster(req *kmsg.DescribeClusterRequest, listener string) *kmsg.DescribeClusterResponse {
	resp := req.ResponseKind().(*kmsg.DescribeClusterResponse)
	resp.ControllerID = -1
	img := a.Image()
	fail := func(code *kafka.Code, message string) *kmsg.DescribeClusterResponse {
		resp.ErrorCode, resp.ErrorMessage = code.Num(), &message
		return resp
	}
	mv, ok := img.MetadataVersion()
	switch {
	case !ok || int16(mv) < int16(features.V37IV0):
		return fail(kafka.UnsupportedVersion, "Direct-to-controller communication is not supported with the current MetadataVersion.")
	case req.Version == 0: // which can only mean brokers
		return fail(kafka.InvalidRequest, mismatchedEndpoint)
	case req.EndpointType == endpointBrokers:
		return fail(kafka.MismatchedEndpointType, mismatchedEndpoint)
	case req.EndpointType != endpointControllers:
		return fail(kafka.UnsupportedEndpointType, fmt.Sprintf("Unsupported endpoint type %d", req.EndpointType))
	}
	resp.EndpointType, resp.ClusterID = endpointControllers, a.ClusterID
	if req.IncludeClusterAuthorizedOperations {
		resp.ClusterAuthorizedOperations = describe.AllClusterOperations
	}
	leader := int32(a.Leader().Leader)
	for _, c := range img.Controllers() {
		e, ok := c.Endpoint(listener)
		if !ok {
			continue
		}
		b := kmsg.NewDescribeClusterResponseBroker()
		b.NodeID, b.Host, b.Port = c.ID, e.Host, int32(e.Port)
		resp.Brokers = append(resp.Brokers, b)
		if c.ID == leader { // who is not in the list is not told either
			resp.ControllerID = leader
		}
	}
	return resp
}
