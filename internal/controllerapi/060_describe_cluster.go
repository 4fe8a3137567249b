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

// unknownOperations stands for authorized operations that were not asked for.
const unknownOperations = -2147483648

// describeCluster is API key 60: the controllers that have registered, with the
// address of the listener that the client used (KIP-919). Brokers are not told
// here: who asks for them is at the wrong kind of endpoint.
func (a *API) describeCluster(r *server.Request) {
	req := kmsg.NewPtrDescribeClusterRequest()
	if !decode(r, req) {
		return
	}
	resp := req.ResponseKind().(*kmsg.DescribeClusterResponse)
	resp.EndpointType = endpointControllers
	resp.ClusterID = a.ClusterID
	resp.ControllerID = -1
	if resp.ClusterAuthorizedOperations = unknownOperations; req.IncludeClusterAuthorizedOperations {
		resp.ClusterAuthorizedOperations = describe.AllClusterOperations
	}
	img := a.Image()
	mv, ok := img.MetadataVersion()
	fail := func(code int16, message string) {
		resp.ErrorCode, resp.ErrorMessage = code, &message
	}
	switch {
	case !ok || int16(mv) < int16(features.V37IV0):
		fail(kafka.UnsupportedVersion.Num(), "Direct-to-controller communication is not supported with the current MetadataVersion.")
	case req.Version == 0: // which can only mean brokers
		fail(kafka.InvalidRequest.Num(), mismatchedEndpoint)
	case req.EndpointType == endpointBrokers:
		fail(kafka.MismatchedEndpointType.Num(), mismatchedEndpoint)
	case req.EndpointType != endpointControllers:
		fail(kafka.UnsupportedEndpointType.Num(), fmt.Sprintf("Unsupported endpoint type %d", req.EndpointType))
	default:
		leader := int32(a.Leader().Leader)
		for _, c := range img.Controllers() {
			e, ok := c.Endpoint(r.Listener.Name)
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
	}
	r.Reply(resp)
}
