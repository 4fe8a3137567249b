package brokerapi

import (
	"regexp"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/server"
)

// clientSoftware is what names and versions of client software look like
// (KIP-511).
var clientSoftware = regexp.MustCompile(`^[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?$`)

// apiVersions is API key 18, versions 0 to 5: what the listener serves, and which
// features the cluster has (KIP-584). The server answers unknown versions itself.
func (a *API) apiVersions(r *server.Request) {
	req := kmsg.NewPtrApiVersionsRequest()
	if !decode(r, req) {
		return
	}
	r.Reply(a.versions(req, r.Listener))
}

func (a *API) versions(req *kmsg.ApiVersionsRequest, l *server.Listener) *kmsg.ApiVersionsResponse {
	resp := req.ResponseKind().(*kmsg.ApiVersionsResponse)
	if err := a.checkVersionsRequest(req); err != nil {
		resp.ErrorCode = err.Num()
		return resp
	}
	resp.ApiKeys = l.APIVersions()
	for _, f := range metadata.SupportedFeatures() {
		// Clients before version 4 cannot read a feature that begins at 0
		// (KAFKA-17011).
		if f.Min == 0 && req.Version < 4 {
			continue
		}
		row := kmsg.NewApiVersionsResponseSupportedFeature()
		row.Name, row.MinVersion, row.MaxVersion = f.Name, f.Min, f.Max
		resp.SupportedFeatures = append(resp.SupportedFeatures, row)
	}
	img := a.Image()
	if img.IsEmpty() {
		return resp
	}
	resp.FinalizedFeaturesEpoch = img.Offset
	for _, f := range img.Features() {
		resp.FinalizedFeatures = append(resp.FinalizedFeatures, finalized(f.Name, f.Level))
	}
	if a.Quorum != nil {
		if level := a.Quorum.Describe().KRaftVersion; level > 0 {
			resp.FinalizedFeatures = append(resp.FinalizedFeatures, finalized(metadata.FeatureKRaftVersion, level))
		}
	}
	return resp
}

// finalized is a feature at one level: a cluster finalises a single one.
func finalized(name string, level int16) kmsg.ApiVersionsResponseFinalizedFeature {
	row := kmsg.NewApiVersionsResponseFinalizedFeature()
	row.Name, row.MinVersionLevel, row.MaxVersionLevel = name, level, level
	return row
}

// checkVersionsRequest refuses names that are none, and clients that mean another
// cluster or node (KIP-1242).
func (a *API) checkVersionsRequest(req *kmsg.ApiVersionsRequest) *kafka.Code {
	if req.Version >= 3 && !(clientSoftware.MatchString(req.ClientSoftwareName) && clientSoftware.MatchString(req.ClientSoftwareVersion)) {
		return kafka.InvalidRequest
	}
	if req.Version < 5 {
		return nil
	}
	switch {
	case (req.ClusterID == nil) != (req.NodeID == -1):
		return kafka.InvalidRequest
	case req.ClusterID != nil && (*req.ClusterID != a.ClusterID || req.NodeID != int32(a.NodeID)):
		return kafka.RebootstrapRequired
	}
	return nil
}
