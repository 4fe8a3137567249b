package brokerapi

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/controller"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/quorum"
	"github.com/gregorhq/gregor/internal/rpc"
	"github.com/gregorhq/gregor/internal/server"
)

// The admin plane: handlers that answer from the metadata image, and handlers
// that pass a request on to the controller. The latter wait on the connection's
// reader, so that a connection's administrative requests take effect in their
// order and need no goroutine each.

// Quorum is what the admin plane asks of the metadata quorum. quorum.Engine
// provides it.
type Quorum interface {
	Leader() quorum.LeaderAndEpoch
	Describe() quorum.Status
}

// adminPlane is the state of the admin plane's handlers.
type adminPlane struct {
	mu sync.Mutex // guards creating
	// creating holds the topics that automatic creation is at work on, so that
	// many clients that ask for one topic cause one request.
	creating map[string]bool
}

// adminTable adds the handlers of the admin plane.
func (a *API) adminTable(add func(key, min, max int16, h func(*server.Request))) {
	add(3, 0, 13, a.metadata)
	add(18, 0, 5, a.apiVersions)
	add(19, 0, 7, a.createTopics)
	add(20, 0, 6, a.deleteTopics)
	add(32, 0, 4, a.describeConfigs)
	add(33, 0, 2, a.alterConfigs)
	add(37, 0, 3, a.createPartitions)
	add(43, 0, 2, a.electLeaders)
	add(44, 0, 1, a.incrementalAlterConfigs)
	add(45, 0, 1, a.alterPartitionReassignments)
	add(46, 0, 0, a.listPartitionReassignments)
	add(55, 0, 2, a.describeQuorum)
	add(57, 0, 2, a.updateFeatures)
	add(60, 0, 2, a.describeCluster)
	add(64, 0, 0, a.unregisterBroker)
	add(74, 0, 1, a.listConfigResources)
	add(75, 0, 0, a.describeTopicPartitions)
	add(80, 0, 1, a.addRaftVoter)
	add(81, 0, 0, a.removeRaftVoter)
}

// decode reads the request, or closes the connection that sent bytes which are
// none.
func decode(r *server.Request, req kmsg.Request) bool {
	if err := r.Decode(req); err != nil {
		r.CloseConn(fmt.Errorf("%s v%d: %w", kmsg.NameForKey(req.Key()), r.Header.Version, err))
		return false
	}
	return true
}

// retryPause is how long forward waits for a controller to be elected before it
// asks again.
const retryPause = 50 * time.Millisecond

// forward passes req on to the controller and answers with what it says, once
// the local image holds it. It waits at most timeoutMs.
func (a *API) forward(r *server.Request, req kmsg.Request, timeoutMs int32) {
	r.WillBlock()
	r.Reply(a.ask(onBehalfOf(r), req, timeoutMs, r.Alive))
}

// onBehalf is for whom the controller is asked.
type onBehalf struct {
	principal string
	rpc.Client
}

func onBehalfOf(r *server.Request) onBehalf {
	return onBehalf{r.Principal, rpc.Client{Host: r.ClientHost, ID: r.Header.ClientIDString()}}
}

// ask is forward without the connection: it returns the response. While there is
// no controller it tries again, as long as alive says that someone waits. Only
// what a controller surely did not do is tried again.
func (a *API) ask(who onBehalf, req kmsg.Request, timeoutMs int32, alive func() bool) kmsg.Response {
	a.init()
	ctx, cancel := a.within(int64(timeoutMs))
	defer cancel()
	ctx = rpc.WithClient(ctx, who.Client)
	for {
		reply, err := a.Controller.Do(ctx, who.principal, req)
		if err == nil {
			// What was decided stands, even if this broker learns of it later.
			if reply.EndOffset > 0 {
				_ = a.WaitFor(ctx, reply.EndOffset)
			}
			reply.Response.SetVersion(req.GetVersion())
			return reply.Response
		}
		if kafka.CodeOf(err) != kafka.NotController || !alive() {
			return controller.FailAll(req, err)
		}
		if a.Clock.Sleep(ctx, retryPause) != nil {
			return controller.FailAll(req, kafka.RequestTimedOut.Errorf("The request timed out: there is no active controller."))
		}
	}
}

// within returns a context that ends after so many milliseconds, or with the API.
func (a *API) within(timeoutMs int64) (context.Context, func()) {
	ctx, cancel := context.WithCancel(a.data.ctx)
	timer := a.Clock.AfterFunc(time.Duration(max(timeoutMs, 1))*time.Millisecond, cancel)
	return ctx, func() { timer.Stop(); cancel() }
}
