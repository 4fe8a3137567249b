package controllerapi

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/controller"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/quorum"
	"github.com/gregorhq/gregor/internal/rsm"
	"github.com/gregorhq/gregor/internal/server"
)

// API holds what handlers need. Its fields are set before the first request and
// never change afterwards.
type API struct {
	NodeID    kafka.NodeID
	ClusterID string
	// Controller is this node's controller, active or not.
	Controller *rsm.Controller
	// Image returns the newest published image, Leader who leads the quorum, and
	// KRaftVersion the kraft.version in force.
	Image        func() *metadata.Image
	Leader       func() quorum.LeaderAndEpoch
	KRaftVersion func() int16
	// Config returns the current configuration: a dynamic change makes a new value.
	Config func() *config.Broker
	// Quorum is this node's voter as other nodes see it.
	Quorum quorum.Server
	// Stopping ends when the node stops, and with it every wait.
	Stopping context.Context
	// RequestTimeout bounds the wait of requests that carry no time of their own.
	RequestTimeout time.Duration
	Log            *slog.Logger

	table server.Table // set by Table
}

// builder collects the table of handlers.
type builder struct{ table server.Table }

func (b *builder) add(key, min, max int16, h func(*server.Request)) {
	b.table[key] = server.Entry{Min: min, Max: max, Handler: server.HandlerFunc(h)}
}

// decode reads the request, or closes the connection: a peer that sends what does
// not parse is not understood any further.
func decode(r *server.Request, req kmsg.Request) bool {
	if err := r.Decode(req); err != nil {
		r.CloseConn(fmt.Errorf("%s: %w", kmsg.NameForKey(req.Key()), err))
		return false
	}
	return true
}

// forward runs the request on the controller and replies.
func (a *API) forward(r *server.Request, req kmsg.Request) {
	a.forwardWithin(r, req, a.RequestTimeout)
}

func (a *API) forwardWithin(r *server.Request, req kmsg.Request, timeout time.Duration) {
	r.WillBlock()
	ctx, cancel := context.WithTimeout(a.Stopping, timeout)
	defer cancel()
	reply, err := a.Controller.Do(ctx, r.Principal, req)
	if err != nil {
		r.Reply(controller.FailAll(req, err))
		return
	}
	r.Reply(reply.Response)
}

// millis is a request's own timeout, bounded by something sensible.
func millis(ms int32) time.Duration { return time.Duration(max(ms, 0)) * time.Millisecond }
