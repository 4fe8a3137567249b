package controllerapi

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/server"
)

// apiVersions is API key 18: what this listener serves, what this node supports of
// every feature, and what is finalised (KIP-35, KIP-584).
func (a *API) apiVersions(r *server.Request) {
	req := kmsg.NewPtrApiVersionsRequest()
	if !decode(r, req) {
		return
	}
	resp := req.ResponseKind().(*kmsg.ApiVersionsResponse)
	resp.ApiKeys = r.Listener.APIVersions()
	for _, f := range metadata.SupportedFeatures() {
		s := kmsg.NewApiVersionsResponseSupportedFeature()
		s.Name, s.MinVersion, s.MaxVersion = f.Name, f.Min, f.Max
		if s.MinVersion == 0 && req.Version < 4 {
			// Old clients reject a range that begins at 0.
			continue
		}
		resp.SupportedFeatures = append(resp.SupportedFeatures, s)
	}
	img := a.Image()
	resp.FinalizedFeaturesEpoch = img.Offset
	finalized := img.Features()
	if level := a.KRaftVersion(); level > 0 {
		// The quorum keeps it, not the image.
		finalized = append(slices.Clone(finalized), metadata.FeatureLevel{Name: metadata.FeatureKRaftVersion, Level: level})
	}
	for _, f := range finalized {
		v := kmsg.NewApiVersionsResponseFinalizedFeature()
		v.Name, v.MinVersionLevel, v.MaxVersionLevel = f.Name, f.Level, f.Level
		resp.FinalizedFeatures = append(resp.FinalizedFeatures, v)
	}
	r.Reply(resp)
}
