package brokerapi

import (
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/server"
)

// listConfigResources is API key 74, versions 0 and 1: what has configs that can
// be described. Version 0 knows client metrics only (KIP-1000, KIP-1142).
func (a *API) listConfigResources(r *server.Request) {
	req := kmsg.NewPtrListConfigResourcesRequest()
	if decode(r, req) {
		r.Reply(a.configResources(req, r.Listener.Name))
	}
}

func (a *API) configResources(req *kmsg.ListConfigResourcesRequest, listener string) *kmsg.ListConfigResourcesResponse {
	resp := req.ResponseKind().(*kmsg.ListConfigResourcesResponse)
	supported := []int8{metadata.ResourceGroup, metadata.ResourceClientMetrics, metadata.ResourceBrokerLogger, metadata.ResourceBroker, metadata.ResourceTopic}
	if req.Version == 0 {
		supported = []int8{metadata.ResourceClientMetrics}
	}
	wanted := req.ResourceTypes
	if len(wanted) == 0 {
		wanted = supported
	}
	for _, t := range wanted {
		if !slices.Contains(supported, t) {
			resp.ErrorCode = kafka.UnsupportedVersion.Num()
			return resp
		}
	}
	img := a.Image()
	add := func(kind int8, name string) {
		row := kmsg.NewListConfigResourcesResponseConfigResource()
		row.Type, row.Name = kind, name
		resp.ConfigResources = append(resp.ConfigResources, row)
	}
	for _, kind := range supported {
		if !slices.Contains(wanted, kind) {
			continue
		}
		switch kind {
		case metadata.ResourceTopic:
			for _, t := range img.SortedTopics() {
				add(kind, t.Name)
			}
		case metadata.ResourceBroker, metadata.ResourceBrokerLogger:
			for _, b := range img.Brokers() {
				if _, ok := b.Endpoint(listener); ok {
					add(kind, strconv.Itoa(int(b.ID)))
				}
			}
		default:
			for _, c := range img.ConfigResources() {
				if c.Type == kind {
					add(kind, c.Name)
				}
			}
		}
	}
	return resp
}
