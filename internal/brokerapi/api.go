package brokerapi

import (
	"context"
	"log/slog"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/group"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/replica"
	"github.com/gregorhq/gregor/internal/rsm"
	"github.com/gregorhq/gregor/internal/txn"
	"github.com/gregorhq/gregor/internal/vfs"
)

// Controller is the active controller as the doors see it: in this process, or
// behind a connection. Do returns once the decision is committed; a door that
// answers from the local image waits for Reply.EndOffset with API.WaitFor first.
type Controller interface {
	Do(ctx context.Context, principal string, req kmsg.Request) (rsm.Reply, error)
}

// API holds what handlers need. Its fields are set before the first request and
// never change afterwards.
type API struct {
	NodeID    kafka.NodeID
	ClusterID string

	Replicas *replica.Manager
	// Image returns the newest published image; WaitFor blocks until it holds every
	// record below endOffset.
	Image      func() *metadata.Image
	WaitFor    func(ctx context.Context, endOffset kafka.Offset) error
	Controller Controller
	// Groups coordinates the groups whose partition of __consumer_offsets this broker
	// leads.
	Groups *rsm.Coordinator[*group.Machine]
	// Quorum is the quorum's engine on this node, nil where there is none.
	Quorum Quorum
	// Config returns the current configuration: a dynamic change makes a new value.
	Config func() *config.Broker
	// FS is where the log directories lie.
	FS    vfs.FS
	Clock clock.Clock
	Wheel *clock.Wheel
	Log   *slog.Logger
	// LogLevel is the level that Log's handler obeys, nil if it cannot be changed.
	LogLevel *slog.LevelVar

	// Transactions is the transaction coordinator, TxnGroups what transactions need of
	// the group coordinator; nil where there is none.
	Transactions *rsm.Coordinator[*txn.Machine]
	TxnGroups    TxnGroups

	// Peers returns the way to another broker for a purpose, one connection each; nil
	// where this broker is the only one. It does not block.
	Peers func(id kafka.NodeID, purpose string) Peer

	data  dataPlane
	admin adminPlane
}
