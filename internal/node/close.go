package node

import (
	"context"
	"errors"

	"github.com/gregorhq/gregor/internal/rpc"
)

// Drain does the first part of Close: a broker moves its leaders elsewhere, as long as
// ctx allows. Nodes of one process drain together before the first of them is closed,
// since the last could not any more.
func (n *Node) Drain(ctx context.Context) {
	n.mu.Lock()
	idle := n.closed || !n.started || n.failure != nil || n.drained
	n.drained = true
	n.mu.Unlock()
	if !idle {
		n.logStopping()
	}
	if n.lifecycle != nil && !idle {
		n.lifecycle.controlledShutdown(ctx)
	}
}

// Close stops the node. A broker first moves its leaders elsewhere as long as ctx
// allows; everything written is flushed and the directories are marked as cleanly
// shut down.
func (n *Node) Close(ctx context.Context) error {
	n.Drain(ctx)
	if !n.beginClose() {
		return nil
	}
	epoch := int64(-1)
	if n.lifecycle != nil && n.started {
		epoch = n.lifecycle.brokerEpoch()
	}
	n.closeCoordinators()
	errs := []error{n.server.Stop(ctx)}
	errs = append(errs, n.stopParts(false))
	if n.failed() {
		// What is in memory may contradict what the quorum says; recovery decides.
		n.logs.Abort()
	} else {
		if n.replicas != nil && !n.replicas.DirectoriesTold() {
			// The markers would vouch for replicas of which the controller does not know
			// whether they were in a directory that the next start may be without.
			epoch = -1
		}
		errs = append(errs, n.logs.Close(epoch))
	}
	n.logStopped()
	return errors.Join(errs...)
}

// Abort stops the node as if its process had died: nobody is told, nothing is flushed,
// and the directories are not marked as cleanly shut down. It waits for what runs.
func (n *Node) Abort() {
	if !n.beginClose() {
		return
	}
	n.cancel(errStopping)   // nothing that a handler waits for comes any more
	_ = n.server.Close()    // peers see what they would see of a dead process
	_ = n.transport.Close() // so the quorum hears no farewell either
	n.closeCoordinators()
	_ = n.stopParts(true)
	n.logs.Abort()
}

// beginClose reports whether the caller is the one who closes.
func (n *Node) beginClose() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	n.closed = true
	return true
}

func (n *Node) failed() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.failure != nil
}

// closeCoordinators answers requests that wait for a coordinator: they would hold their
// connections open.
func (n *Node) closeCoordinators() {
	if n.groups != nil {
		n.transactions.Close()
		n.groups.Close()
	}
}

// stopParts ends everything that runs behind the listeners, without a farewell to the
// quorum if the node aborts.
func (n *Node) stopParts(abort bool) error {
	n.cancel(errStopping)
	if n.monitor != nil {
		n.monitor.Close()
	}
	n.peers.close()
	if n.is(roleBroker) {
		n.broker.Close()
	}
	if n.lifecycle != nil {
		n.lifecycle.close()
	}
	if n.deaths != nil {
		n.deaths.close()
	}
	n.scheduler.close()
	n.mu.Lock()
	scrubbing := n.scrubbing
	n.mu.Unlock()
	if scrubbing != nil {
		scrubbing.close()
	}
	if n.cleaner != nil {
		n.cleaner.Close()
	}
	// The engine ends first: its listeners must be there as long as it delivers.
	err := errors.Join(n.closeQuorum(abort), n.transport.Close())
	n.channels.each((*rpc.Controllers).Close)
	if n.controller != nil {
		n.controller.Close()
	}
	n.snapshots.Close()
	n.loader.Close()
	if n.replicas != nil {
		n.replicas.Close()
	}
	if n.started {
		n.wheel.Stop()
	}
	return err
}
