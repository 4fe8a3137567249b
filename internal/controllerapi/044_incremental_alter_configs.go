package controllerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/server"
)

// incrementalAlterConfigs is API key 44: single configs of resources change
// (KIP-339).
func (a *API) incrementalAlterConfigs(r *server.Request) {
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	if !decode(r, req) {
		return
	}
	a.forwardWithin(r, req, a.RequestTimeout)
}
