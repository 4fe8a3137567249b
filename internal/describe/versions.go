package describe

import (
	"regexp"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
)

// clientSoftware is what names and versions of client software look like
// (KIP-511).
var clientSoftware = regexp.MustCompile(`^[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?$`)

// Versions is who answers ApiVersions, with what it knows at that moment.
type Versions struct {
	Image *metadata.Image
	// Broker is whom a client may name to be sure that it talks to; nil where that is not
	// looked at, as at controllers.
	Broker *Identity
	// KRaftVersion is kraft.version as the quorum has it, which the image does not; 0 for none.
	KRaftVersion int16
	// Keys are what the listener serves.
	Keys []kmsg.ApiVersionsResponseApiKey
}

// Identity is a node of a cluster.
type Identity struct {
	NodeID    kafka.NodeID
	ClusterID string
}

// Answer tells what is served, what this node supports of every feature, and what the
// cluster has finalised (KIP-35, KIP-584). Versions 0 to 5.
func (v Versions) Answer(req *kmsg.ApiVersionsRequest) *kmsg.ApiVersionsResponse {
	resp := req.ResponseKind().(*kmsg.ApiVersionsResponse)
	if err := v.check(req); err != nil {
		resp.ErrorCode = err.Num()
		return resp
	}
	resp.ApiKeys = v.Keys
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
	if v.Image.IsEmpty() {
		return resp
	}
	resp.FinalizedFeaturesEpoch = v.Image.Offset
	for _, f := range v.Image.Features() {
		resp.FinalizedFeatures = append(resp.FinalizedFeatures, finalized(f.Name, f.Level))
	}
	if v.KRaftVersion > 0 {
		resp.FinalizedFeatures = append(resp.FinalizedFeatures, finalized(metadata.FeatureKRaftVersion, v.KRaftVersion))
	}
	return resp
}

// finalized is a feature at one level: a cluster finalises a single one.
func finalized(name string, level int16) kmsg.ApiVersionsResponseFinalizedFeature {
	row := kmsg.NewApiVersionsResponseFinalizedFeature()
	row.Name, row.MinVersionLevel, row.MaxVersionLevel = name, level, level
	return row
}

// check refuses names that are none, and clients that mean another cluster or node
// (KIP-1242).
func (v Versions) check(req *kmsg.ApiVersionsRequest) *kafka.Code {
	if req.Version >= 3 && !(clientSoftware.MatchString(req.ClientSoftwareName) && clientSoftware.MatchString(req.ClientSoftwareVersion)) {
		return kafka.InvalidRequest
	}
	if req.Version < 5 {
		return nil
	}
	switch {
	case (req.ClusterID == nil) != (req.NodeID == -1):
		return kafka.InvalidRequest
	case req.ClusterID != nil && v.Broker != nil && *v.Broker != (Identity{kafka.NodeID(req.NodeID), *req.ClusterID}):
		return kafka.RebootstrapRequired
	}
	return nil
}
