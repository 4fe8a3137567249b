package controllerapi

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/quorum"
	"github.com/gregorhq/gregor/internal/server"
)

// removeRaftVoter is API key 81: a voter loses its vote (KIP-853).
func (a *API) removeRaftVoter(r *server.Request) {
	req := kmsg.NewPtrRemoveRaftVoterRequest()
	if !decode(r, req) {
		return
	}
	resp := req.ResponseKind().(*kmsg.RemoveRaftVoterResponse)
	fail := func(code int16, message string) { resp.ErrorCode, resp.ErrorMessage = code, &message }
	switch {
	case a.otherCluster(req.ClusterID):
		fail(kafka.InconsistentClusterID.Num(), a.mismatch(req.ClusterID))
	case req.VoterID < 0 || kafka.UUID(req.VoterDirectoryID) == kafka.UUID{}:
		fail(kafka.InvalidRequest.Num(), "Remove voter request didn't include a valid voter")
	default:
		r.WillBlock()
		ctx, cancel := context.WithTimeout(a.Stopping, a.RequestTimeout)
		defer cancel()
		if err := a.Quorum.RemoveVoter(ctx, quorum.Replica{ID: kafka.NodeID(req.VoterID), DirectoryID: req.VoterDirectoryID}); err != nil {
			fail(kafka.NumOf(err), err.Error())
		}
	}
	r.Reply(resp)
}
