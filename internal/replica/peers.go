package replica

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
)

// Peer is the way to one other broker. Requests of one Peer are answered in order, so
// a fetch that is parked there holds up what comes after it.
type Peer interface {
	// Do sends a request, in the newest version that both sides know, and waits for the
	// answer. Byte fields of the answer belong to the caller.
	Do(ctx context.Context, req kmsg.Request) (kmsg.Response, error)
	Close() error
}

// ControllerChannel is the way to the active controller. Do finds it, and tries again
// when it has moved, until ctx ends.
type ControllerChannel interface {
	Do(ctx context.Context, req kmsg.Request) (kmsg.Response, error)
}

// Cluster says how to reach the other nodes. Without it a Manager leads and serves but
// does not follow, and proposes no change of an ISR.
type Cluster struct {
	// Peers opens the way to a broker, for one fetcher, which closes it. It does not
	// block; errors come from Do.
	Peers func(id kafka.NodeID) Peer
	// Controller takes AlterPartition.
	Controller ControllerChannel
	// Assignments takes AssignReplicasToDirs, on a way of its own: what one asks must not wait
	// for the other. Without it the controller is not told where replicas are.
	Assignments ControllerChannel
	// BrokerEpoch is the epoch of this broker's registration, -1 before it has one.
	BrokerEpoch func() int64
}

func (m *Manager) brokerEpoch() int64 {
	if m.cluster.BrokerEpoch == nil {
		return -1
	}
	return m.cluster.BrokerEpoch()
}
