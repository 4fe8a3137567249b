package brokerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/server"
)

// removeRaftVoter is API key 81, version 0: the leader of the quorum decides (KIP-853).
func (a *API) removeRaftVoter(r *server.Request) {
	req := kmsg.NewPtrRemoveRaftVoterRequest()
	if decode(r, req) {
		a.forward(r, req, int32(a.Config().RequestTimeoutMs))
	}
}
