package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/gregorhq/gregor/internal/rpc"
)

const (
	// maxControlledShutdown bounds a controlled shutdown whose caller sets no limit.
	maxControlledShutdown = 5 * time.Minute
	// majorityCheck is how often a broker that waits to be let go looks whether there is
	// a majority of controllers that could do so; majorityProbe bounds one look at one
	// of them.
	majorityCheck = 100 * time.Millisecond
	majorityProbe = time.Second
)

// errNoMajority is why a controlled shutdown is given up early.
var errNoMajority = errors.New("a majority of the controllers does not run any more")

// controlledShutdown asks the controller to move the leaders of this broker
// elsewhere, and waits until it has, as long as ctx allows and there are controllers to
// do it. A broker that does not run has none.
func (l *lifecycle) controlledShutdown(ctx context.Context) {
	l.mu.Lock()
	if l.state != stateRunning || !l.n.static.ControlledShutdownEnable {
		l.log.Info(fmt.Sprintf("Skipping controlled shutdown because we are in state %s.", l.state))
		l.mu.Unlock()
		return
	}
	l.log.Info("Beginning controlled shutdown.")
	l.state = statePendingControlledShutdown
	l.mu.Unlock()
	l.heartbeatNow()
	ctx, cancel := context.WithTimeout(ctx, maxControlledShutdown)
	defer cancel()
	ctx, giveUp := context.WithCancelCause(ctx)
	var looking sync.WaitGroup
	looking.Add(1)
	go func() {
		defer looking.Done()
		for l.n.deps.Clock.Sleep(ctx, majorityCheck) == nil {
			if l.n.majorityGone(ctx) {
				giveUp(errNoMajority)
			}
		}
	}()
	if err := l.wait(ctx, l.mayLeave); err != nil {
		l.log.Warn("the controlled shutdown was cut short", "error", err)
	}
	giveUp(nil)
	looking.Wait()
}

// majorityGone says whether so many controllers have ended that those which are left
// cannot decide anything: the addresses of the others refuse connections. A controller
// that is silent counts as running.
func (n *Node) majorityGone(ctx context.Context) bool {
	voters := n.meta.Describe().VoterSet
	running := len(voters)
	for _, v := range voters {
		e, ok := pickEndpoint(v.Endpoints, n.static.ControllerListenerNames)
		if !ok || v.ID == n.static.NodeID {
			continue
		}
		probe, cancel := context.WithTimeout(ctx, majorityProbe)
		err := rpc.Probe(probe, rpc.Options{Net: n.deps.Net}, net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port))))
		cancel()
		if errors.Is(err, rpc.ErrRefused) {
			running--
		}
	}
	return len(voters) > 0 && running < len(voters)/2+1
}
