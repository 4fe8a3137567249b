package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/features"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log4j"
	"github.com/gregorhq/gregor/internal/metadata"
)

// brokerPrincipal is whom requests of this node to its own controller come from.
const brokerPrincipal = "User:ANONYMOUS"

// brokerState is where a broker is in its life (KIP-631).
type brokerState string

const (
	stateNotRunning                brokerState = "NOT_RUNNING"
	stateStarting                  brokerState = "STARTING"
	stateRecovery                  brokerState = "RECOVERY"
	stateRunning                   brokerState = "RUNNING"
	statePendingControlledShutdown brokerState = "PENDING_CONTROLLED_SHUTDOWN"
	stateShuttingDown              brokerState = "SHUTTING_DOWN"
)

// lifecycle registers the broker with the controller and keeps it alive by
// heartbeats, at the active controller of the time. One goroutine, begun by start and ended by close, talks to the
// controller.
type lifecycle struct {
	n   *Node
	log *slog.Logger

	ctx    context.Context // ends with close
	cancel context.CancelFunc
	done   chan struct{}
	kick   chan struct{} // asks for a heartbeat now
	begun  bool          // set by start, before close can be called

	mu sync.Mutex
	// The fields below are guarded by mu.
	state    brokerState
	epoch    int64         // the broker epoch, -1 before the registration
	ready    bool          // may be unfenced
	offline  []kafka.UUID  // directories that failed
	heard    []kafka.UUID  // those that the controller was told of
	caughtUp chan struct{} // closed when the image has the registration
	running  chan struct{} // closed when unfenced for the first time
	mayLeave chan struct{} // closed when the controller lets the broker go
}

func newLifecycle(n *Node) *lifecycle {
	l := &lifecycle{
		n: n, state: stateNotRunning, epoch: -1,
		log:  log4j.Named(n.log, "kafka.server.BrokerLifecycleManager", fmt.Sprintf("BrokerLifecycleManager id=%d", n.static.NodeID)),
		done: make(chan struct{}), kick: make(chan struct{}, 1),
		caughtUp: make(chan struct{}), running: make(chan struct{}), mayLeave: make(chan struct{}),
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

func (l *lifecycle) start() {
	l.begun = true
	l.setState(stateStarting)
	l.log.Info(fmt.Sprintf("Incarnation %s of broker %d in cluster %s is now STARTING.", l.n.incarnation, l.n.static.NodeID, l.n.ClusterID()))
	go l.run()
}

// close ends the goroutine.
func (l *lifecycle) close() {
	l.cancel()
	if l.begun {
		<-l.done
	}
	l.setState(stateShuttingDown)
}

func (l *lifecycle) setState(s brokerState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state = s
}

// brokerEpoch is the epoch of the registration, -1 before it.
func (l *lifecycle) brokerEpoch() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.epoch
}

// heartbeatNow asks for a heartbeat without waiting for its time.
func (l *lifecycle) heartbeatNow() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// run registers, then sends heartbeats.
func (l *lifecycle) run() {
	defer close(l.done)
	if !l.register() {
		return
	}
	interval := time.Duration(l.n.static.BrokerHeartbeatIntervalMs) * time.Millisecond
	t := l.n.deps.Clock.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-t.C():
		case <-l.kick:
		}
		next := l.heartbeat()
		if next <= 0 {
			next = interval
		}
		t.Reset(next)
	}
}

// Backoff of requests that failed.
const (
	minBackoff = 10 * time.Millisecond
	maxBackoff = time.Second
)

// register registers until it succeeds. It returns false when the node stops, or
// has failed because registering took too long.
func (l *lifecycle) register() bool {
	limit := time.Duration(l.n.static.InitialBrokerRegistrationTimeoutMs) * time.Millisecond
	begin := l.n.deps.Clock.Now()
	backoff := minBackoff
	for {
		err := l.registerOnce()
		if err == nil {
			return true
		}
		if l.ctx.Err() != nil {
			return false
		}
		l.log.Info(fmt.Sprintf("Unable to register broker %d because the controller returned error %s", l.n.static.NodeID, kafka.CodeOf(err).Name()), "error", err)
		if l.n.deps.Clock.Since(begin) > limit {
			l.log.Error("Shutting down because we were unable to register with the controller quorum.")
			l.n.fail(fmt.Errorf("registering with the controller: %w", err))
			return false
		}
		if l.n.deps.Clock.Sleep(l.ctx, backoff) != nil {
			return false
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// registerOnce sends one BrokerRegistration and waits until the local image has it.
func (l *lifecycle) registerOnce() error {
	req, err := l.registration()
	if err != nil {
		return err
	}
	ctx, cancel := l.timeout()
	defer cancel()
	reply, err := l.n.channels.heartbeats.Do(ctx, brokerPrincipal, req)
	if err != nil {
		return err
	}
	resp := reply.Response.(*kmsg.BrokerRegistrationResponse)
	if code := kafka.CodeForNum(resp.ErrorCode); code != nil {
		return code.Errorf("registration of broker %d: %s", req.BrokerID, code.Message())
	}
	if err := l.n.loader.WaitFor(ctx, reply.EndOffset); err != nil {
		return err
	}
	l.mu.Lock()
	l.epoch = resp.BrokerEpoch
	l.mu.Unlock()
	l.log.Info(fmt.Sprintf("Successfully registered broker %d with broker epoch %d", req.BrokerID, resp.BrokerEpoch))
	return nil
}

// timeout bounds one request to the controller.
func (l *lifecycle) timeout() (context.Context, context.CancelFunc) {
	return context.WithTimeout(l.ctx, time.Duration(l.n.static.BrokerSessionTimeoutMs)*time.Millisecond)
}

// registration is what the broker says about itself.
func (l *lifecycle) registration() (*kmsg.BrokerRegistrationRequest, error) {
	n := l.n
	req := kmsg.NewPtrBrokerRegistrationRequest()
	req.SetVersion(req.MaxVersion())
	req.BrokerID, req.ClusterID, req.IncarnationID = int32(n.static.NodeID), n.ClusterID(), n.incarnation
	req.PreviousBrokerEpoch = n.logs.PreviousBrokerEpoch()
	if n.static.Rack != "" {
		req.Rack = &n.static.Rack
	}
	endpoints, err := n.endpoints(false)
	if err != nil {
		return nil, err
	}
	for _, e := range endpoints {
		k := kmsg.NewBrokerRegistrationRequestListener()
		k.Name, k.Host, k.Port, k.SecurityProtocol = e.Name, e.Host, e.Port, e.SecurityProtocol
		req.Listeners = append(req.Listeners, k)
	}
	for _, f := range metadata.SupportedFeatures() {
		k := kmsg.NewBrokerRegistrationRequestFeature()
		k.Name, k.MinSupportedVersion, k.MaxSupportedVersion = f.Name, f.Min, f.Max
		req.Features = append(req.Features, k)
	}
	for _, id := range n.directoryIDs() {
		req.LogDirs = append(req.LogDirs, id)
	}
	return req, nil
}

// heartbeat sends one heartbeat and acts on the answer. It returns when the next
// one is due, 0 for the usual interval.
func (l *lifecycle) heartbeat() time.Duration {
	req := kmsg.NewPtrBrokerHeartbeatRequest()
	req.SetVersion(req.MaxVersion())
	l.mu.Lock()
	if l.state == stateShuttingDown {
		l.mu.Unlock()
		return 0 // a heartbeat would ask for the broker to be unfenced again
	}
	req.BrokerID, req.BrokerEpoch = int32(l.n.static.NodeID), l.epoch
	req.WantFence = !l.ready
	req.WantShutdown = l.state == statePendingControlledShutdown
	for _, id := range l.offline {
		req.OfflineLogDirs = append(req.OfflineLogDirs, id)
	}
	starting := l.state == stateStarting
	l.mu.Unlock()
	img := l.n.loader.Current()
	req.CurrentMetadataOffset = img.Offset
	if mv, ok := img.MetadataVersion(); ok && int16(mv) >= int16(features.V43IV0) && !starting {
		req.CordonedLogDirs = [][16]byte{} // none is not the same as not known
		req.CordonedLogDirs = append(req.CordonedLogDirs, l.n.cordonedIDs()...)
	}
	ctx, cancel := l.timeout()
	defer cancel()
	reply, err := l.n.channels.heartbeats.Do(ctx, brokerPrincipal, req)
	if err == nil {
		resp := reply.Response.(*kmsg.BrokerHeartbeatResponse)
		if code := kafka.CodeForNum(resp.ErrorCode); code != nil {
			err = code
		} else {
			l.directoriesHeard(req.OfflineLogDirs)
			if err = l.n.loader.WaitFor(ctx, reply.EndOffset); err == nil {
				return l.heartbeatDone(resp)
			}
		}
	}
	if l.ctx.Err() != nil {
		return 0
	}
	l.log.Warn(fmt.Sprintf("Broker %d sent a heartbeat request but received error %s.", req.BrokerID, kafka.CodeOf(err).Name()), "error", err)
	if errors.Is(err, kafka.StaleBrokerEpoch) || errors.Is(err, kafka.BrokerIDNotRegistered) {
		// The controller does not know this registration: the broker was unregistered,
		// or fenced and replaced. Only a new registration helps.
		l.register()
	}
	return maxBackoff
}

// heartbeatDone moves the state on.
func (l *lifecycle) heartbeatDone(resp *kmsg.BrokerHeartbeatResponse) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch l.state {
	case stateStarting:
		if !resp.IsCaughtUp {
			return minBackoff
		}
		l.log.Info("The broker has caught up. Transitioning from STARTING to RECOVERY.")
		l.state = stateRecovery
		close(l.caughtUp)
		if resp.IsFenced {
			return minBackoff
		}
		fallthrough
	case stateRecovery:
		if resp.IsFenced {
			if l.ready {
				return minBackoff
			}
			return 0
		}
		l.log.Info("The broker has been unfenced. Transitioning from RECOVERY to RUNNING.")
		l.state = stateRunning
		close(l.running)
	case statePendingControlledShutdown:
		if !resp.ShouldShutdown {
			return minBackoff
		}
		l.log.Info("The controller has asked us to exit controlled shutdown.")
		l.state = stateShuttingDown
		close(l.mayLeave)
	}
	return 0
}

// waitCaughtUp blocks until the broker is registered and its image has that.
func (l *lifecycle) waitCaughtUp(ctx context.Context) error { return l.wait(ctx, l.caughtUp) }

// unfence lets the broker be unfenced and blocks until its own image says that it is.
func (l *lifecycle) unfence(ctx context.Context) error {
	l.mu.Lock()
	l.ready = true
	l.mu.Unlock()
	l.heartbeatNow()
	if err := l.wait(ctx, l.running); err != nil {
		return err
	}
	for {
		img := l.n.loader.Current()
		if b := img.Broker(int32(l.n.static.NodeID)); b != nil && !b.Fenced {
			return nil
		}
		if err := l.n.loader.WaitFor(ctx, img.EndOffset()+1); err != nil {
			return err
		}
	}
}

func (l *lifecycle) wait(ctx context.Context, ch <-chan struct{}) error {
	select {
	case <-ch:
		return nil
	case <-l.done:
		return errStopping
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
