package controllerapi

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/server"
	"github.com/gregorhq/gregor/internal/storage"
)

// addRaftVoter is API key 80: a controller that follows becomes a voter (KIP-853).
func (a *API) addRaftVoter(r *server.Request) {
	req := kmsg.NewPtrAddRaftVoterRequest()
	if !decode(r, req) {
		return
	}
	r.WillBlock()
	r.Reply(a.addVoter(a.Stopping, req, r.Listener.Name))
}

// addVoter decides the request. listener is the one by which controllers reach each
// other, of which the new voter must have an endpoint.
func (a *API) addVoter(ctx context.Context, req *kmsg.AddRaftVoterRequest, listener string) *kmsg.AddRaftVoterResponse {
	resp := req.ResponseKind().(*kmsg.AddRaftVoterResponse)
	fail := func(code *kafka.Code, message string) { resp.ErrorCode, resp.ErrorMessage = code.Num(), &message }
	v := storage.Voter{ID: kafka.NodeID(req.VoterID), DirectoryID: req.VoterDirectoryID, MaxKRaftVersion: 1}
	own := false
	for _, l := range req.Listeners {
		v.Endpoints = append(v.Endpoints, storage.Endpoint{Listener: l.Name, Host: l.Host, Port: l.Port})
		own = own || l.Name == listener
	}
	switch {
	case a.otherCluster(req.ClusterID):
		fail(kafka.InconsistentClusterID, a.mismatch(req.ClusterID))
	case req.VoterID < 0 || v.DirectoryID == kafka.UUID{}:
		fail(kafka.InvalidRequest, "Add voter request didn't include a valid voter")
	case !own:
		fail(kafka.InvalidRequest, fmt.Sprintf("Add voter request didn't include the endpoint (%v) for the default listener %s", v.Endpoints, listener))
	default:
		ctx, cancel := context.WithTimeout(ctx, millis(req.TimeoutMillis))
		defer cancel()
		if err := a.Quorum.AddVoter(ctx, v, req.Version < 1 || req.AckWhenCommitted); err != nil {
			message := err.Error()
			resp.ErrorCode, resp.ErrorMessage = kafka.NumOf(err), &message
		}
	}
	return resp
}
