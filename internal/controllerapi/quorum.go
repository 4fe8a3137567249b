package controllerapi

import (
	"fmt"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/quorum"
	"github.com/gregorhq/gregor/internal/server"
	"github.com/gregorhq/gregor/internal/storage"
)

// endpointFor is the leader's endpoint on the listener that the request came in on: a
// node reaches all controllers on listeners of one name.
func endpointFor(r *server.Request, l quorum.LeaderAndEpoch, endpoints []storage.Endpoint) (storage.Endpoint, bool) {
	if l.Leader == kafka.NoNode {
		return storage.Endpoint{}, false
	}
	for _, e := range endpoints {
		if e.Listener == r.Listener.Name {
			return e, true
		}
	}
	return storage.Endpoint{}, false
}

// otherCluster says whether a request names another cluster.
func (a *API) otherCluster(id *string) bool { return id != nil && *id != a.ClusterID }

// mismatch is what a request for another cluster is told.
func (a *API) mismatch(id *string) string {
	return fmt.Sprintf("The given id %q doesn't match the cluster id %q", *id, a.ClusterID)
}
