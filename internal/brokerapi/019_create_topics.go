package brokerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/server"
)

// createTopics is API key 19, versions 0 to 7: the controller decides. Versions
// below 4 have no way to ask for the default number of partitions or replicas,
// and the controller refuses what stands for it in later ones.
func (a *API) createTopics(r *server.Request) {
	req := kmsg.NewPtrCreateTopicsRequest()
	if decode(r, req) {
		a.forward(r, req, req.TimeoutMillis)
	}
}
