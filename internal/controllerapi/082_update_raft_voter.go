package controllerapi

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/server"
	"github.com/gregorhq/gregor/internal/storage"
)

// updateRaftVoter is API key 82: a voter tells where it is reached and which
// kraft.version it supports (KIP-853).
func (a *API) updateRaftVoter(r *server.Request) {
	req := kmsg.NewPtrUpdateRaftVoterRequest()
	if !decode(r, req) {
		return
	}
	resp := req.ResponseKind().(*kmsg.UpdateRaftVoterResponse)
	v := storage.Voter{ID: kafka.NodeID(req.VoterID), DirectoryID: req.VoterDirectoryID,
		MinKRaftVersion: req.KRaftVersionFeature.MinSupportedVersion, MaxKRaftVersion: req.KRaftVersionFeature.MaxSupportedVersion}
	own := false
	for _, l := range req.Listeners {
		v.Endpoints = append(v.Endpoints, storage.Endpoint{Listener: l.Name, Host: l.Host, Port: l.Port})
		own = own || l.Name == r.Listener.Name
	}
	switch {
	case a.otherCluster(req.ClusterID):
		resp.ErrorCode = kafka.InconsistentClusterID.Num()
	case req.VoterID < 0 || v.DirectoryID == kafka.UUID{} || !own:
		resp.ErrorCode = kafka.InvalidRequest.Num()
	default:
		r.WillBlock()
		ctx, cancel := context.WithTimeout(a.Stopping, a.RequestTimeout)
		defer cancel()
		resp.ErrorCode = kafka.NumOf(a.Quorum.UpdateVoter(ctx, req.CurrentLeaderEpoch, v))
	}
	l, endpoints := a.Quorum.LeaderEndpoints()
	resp.CurrentLeader.LeaderID, resp.CurrentLeader.LeaderEpoch = int32(l.Leader), l.Epoch
	if e, ok := endpointFor(r, l, endpoints); ok {
		resp.CurrentLeader.Host, resp.CurrentLeader.Port = e.Host, int32(e.Port)
	}
	r.Reply(resp)
}
