package controllerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/server"
)

// assignReplicasToDirs is API key 73: a broker says in which of its directories replicas
// are (KIP-858).
func (a *API) assignReplicasToDirs(r *server.Request) {
	req := kmsg.NewPtrAssignReplicasToDirsRequest()
	if !decode(r, req) {
		return
	}
	a.forward(r, req)
}
