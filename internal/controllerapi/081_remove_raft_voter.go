package controllerapi

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/quorum"
	"github.com/gregorhq/gregor/internal/rsm"
	"github.com/gregorhq/gregor/internal/server"
)

// removeRaftVoter is API key 81: a voter loses its vote (KIP-853).
func (a *API) removeRaftVoter(r *server.Request) {
	req := kmsg.NewPtrRemoveRaftVoterRequest()
	if !decode(r, req) {
		return
	}
	r.WillBlock()
	r.Reply(a.removeVoter(a.Stopping, req))
}

func (a *API) removeVoter(ctx context.Context, req *kmsg.RemoveRaftVoterRequest) *kmsg.RemoveRaftVoterResponse {
	resp := req.ResponseKind().(*kmsg.RemoveRaftVoterResponse)
	fail := func(code int16, message string) { resp.ErrorCode, resp.ErrorMessage = code, &message }
	switch {
	case a.otherCluster(req.ClusterID):
		fail(kafka.InconsistentClusterID.Num(), a.mismatch(req.ClusterID))
	case req.VoterID < 0 || kafka.UUID(req.VoterDirectoryID) == kafka.UUID{}:
		fail(kafka.InvalidRequest.Num(), "Remove voter request didn't include a valid voter")
	default:
		ctx, cancel := context.WithTimeout(ctx, a.RequestTimeout)
		defer cancel()
		if err := a.Quorum.RemoveVoter(ctx, quorum.Replica{ID: kafka.NodeID(req.VoterID), DirectoryID: req.VoterDirectoryID}); err != nil {
			fail(kafka.NumOf(err), err.Error())
		}
	}
	return resp
}

// Do decides a request that a broker passes on for a client: a change of the voters here,
// anything else at the controller. listener is the one by which controllers reach each
// other. The error is NotController where another node leads, also when this one has
// handed leadership over because it is to be removed: brokers ask the next leader then.
func (a *API) Do(ctx context.Context, principal string, req kmsg.Request, listener string) (rsm.Reply, error) {
	switch req.(type) {
	case *kmsg.AddRaftVoterRequest, *kmsg.RemoveRaftVoterRequest:
		if l := a.Leader(); l.Leader != a.NodeID {
			return rsm.Reply{}, kafka.NotController.Errorf("node %d does not lead the metadata quorum", a.NodeID)
		}
	}
	switch r := req.(type) {
	case *kmsg.AddRaftVoterRequest:
		return rsm.Reply{Response: a.addVoter(ctx, r, listener)}, nil
	case *kmsg.RemoveRaftVoterRequest:
		resp := a.removeVoter(ctx, r)
		if resp.ErrorCode == kafka.NotController.Num() {
			return rsm.Reply{}, kafka.NotController.Errorf("%s", *resp.ErrorMessage)
		}
		return rsm.Reply{Response: resp}, nil
	}
	return a.Controller.Do(ctx, principal, req)
}
