package node

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log"
	"github.com/gregorhq/gregor/internal/log4j"
	"github.com/gregorhq/gregor/internal/metrics"
	"github.com/gregorhq/gregor/internal/monitor"
)

// httpListener is the key of the address that metrics and health are served at.
const httpListener = "gregor.http.listener"

// openMonitor binds the HTTP listener. That another process has the default address is no
// reason not to start: several nodes may run on one machine.
func (n *Node) openMonitor(ctx context.Context) error {
	cfg := n.static
	if cfg.GregorHTTPListener == "" {
		return nil
	}
	logger := log4j.Named(n.log, "gregor.monitor.HttpServer", "")
	sources := n.monitorSources() // most nodes are never asked: what they are shown by is made then
	s, err := monitor.Listen(ctx, monitor.Config{
		Net: n.deps.Net, Addr: cfg.GregorHTTPListener, Clock: n.deps.Clock, Log: logger,
		Registry: sync.OnceValue(func() *metrics.Registry { return monitor.New(sources) }), Health: n.health, Pprof: cfg.GregorHTTPPprofEnable,
	})
	if _, given := cfg.Given(httpListener); err != nil && !given {
		logger.Warn("metrics and health are not served, the default address is not free", httpListener, cfg.GregorHTTPListener, "error", err)
		return nil
	}
	n.monitor = s
	return err
}

// monitorSources is what metrics are read from.
func (n *Node) monitorSources() monitor.Sources {
	s := monitor.Sources{
		NodeID: int32(n.static.NodeID), ClusterID: n.ClusterID(), Clock: n.deps.Clock, Began: n.deps.Clock.Now(),
		Server: n.server, Logs: n.logs, Image: n.loader.Current, Raft: &n.raftTraffic, Snapshot: n.snapshots.Stats,
		Quorum:     n.quorumStats,
		JVMAliases: n.static.GregorMetricsJVMAliasesEnable,
	}
	if n.is(roleBroker) {
		s.Replicas, s.Cleaner, s.Groups, s.Transactions = n.replicas, n.cleaner, n.groups, n.transactions
		s.Sessions, s.BrokerState, s.Scrub = n.broker.SessionStats, n.lifecycle.number, n.scrubStats
	}
	if n.is(roleController) {
		s.Controller, s.Elections = n.controller, n.elections
	}
	return s
}

// HTTPAddr is the address at which metrics and health are served, "" for none.
func (n *Node) HTTPAddr() string {
	if n.monitor == nil {
		return ""
	}
	return n.monitor.Addr()
}

// scrubStats is what the scrubber has done, nothing before it runs.
func (n *Node) scrubStats() log.ScrubStats {
	n.mu.Lock()
	s := n.scrubbing
	n.mu.Unlock()
	if s == nil {
		return log.ScrubStats{}
	}
	return s.stats()
}

// brokerStates are the numbers of Kafka's BrokerState.
var brokerStates = map[brokerState]int64{
	stateNotRunning: 0, stateStarting: 1, stateRecovery: 2, stateRunning: 3, statePendingControlledShutdown: 6, stateShuttingDown: 7,
}

func (l *lifecycle) number() int64 { return brokerStates[l.current()] }

func (l *lifecycle) current() brokerState {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

// caughtUpWithin is how long a node that is ready may take to apply what it knows to be
// committed.
const caughtUpWithin = time.Second

// health is what the node says of itself. A broker is ready when it is running and its
// own image says that it is registered and not fenced, and when it has applied what it
// knows to be committed. That no controller leads now makes it no less ready: it serves
// its partitions all the same. A node that is only a controller is ready when it knows
// who leads.
func (n *Node) health(ctx context.Context) monitor.Health {
	var h monitor.Health
	notReady := func(format string, args ...any) { h.NotReady = append(h.NotReady, fmt.Sprintf(format, args...)) }
	if err := n.Err(); err != nil {
		h.Dead = append(h.Dead, "the node cannot go on: "+err.Error())
	}
	if n.stopping.Err() != nil {
		notReady("the node is stopping")
		return h
	}
	if !n.is(roleBroker) {
		if n.meta.Leader().Leader == kafka.NoNode {
			notReady("no leader of the metadata quorum is known")
		}
		return h
	}
	if s := n.lifecycle.current(); s != stateRunning {
		notReady("the broker is %s", s)
		return h
	}
	if b := n.loader.Current().Broker(int32(n.static.NodeID)); b == nil || b.IncarnationID != n.incarnation {
		notReady("the broker is not registered")
	} else if b.Fenced {
		notReady("the broker is fenced")
	}
	end := n.meta.HighWatermark()
	ctx, cancel := context.WithTimeout(ctx, caughtUpWithin)
	defer cancel()
	if err := n.loader.WaitFor(ctx, end); err != nil {
		notReady("metadata is applied up to offset %d, committed is %d", n.loader.Current().EndOffset(), end)
	}
	return h
}
