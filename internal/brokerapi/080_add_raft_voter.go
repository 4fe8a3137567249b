package brokerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/server"
)

// addRaftVoter is API key 80, versions 0 and 1: the leader of the quorum decides
// (KIP-853).
func (a *API) addRaftVoter(r *server.Request) {
	req := kmsg.NewPtrAddRaftVoterRequest()
	if decode(r, req) {
		a.forward(r, req, req.TimeoutMillis)
	}
}
