package controllerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/server"
)

// describeQuorum is API key 55: who the voters are and how far they have come
// (KIP-595).
func (a *API) describeQuorum(r *server.Request) {
	req := kmsg.NewPtrDescribeQuorumRequest()
	if !decode(r, req) {
		return
	}
	a.forward(r, req)
}
