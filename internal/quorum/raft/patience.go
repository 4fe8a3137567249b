package raft

import (
	"time"

	"github.com/gregorhq/gregor/internal/log"
)

// roomDelay is the pause between two tries of a write for which there was no room.
const roomDelay = 100 * time.Millisecond

// patiently repeats what failed on a full disk, or for want of descriptors, until it
// succeeds or the engine is closed: a node must not end for a cause that passes.
// Meanwhile it takes part in nothing, so that the other voters go on without it, and it
// counts as stuck.
func (e *Engine) patiently(doing string, op func() error) error {
	for said := false; ; said = true {
		err := op()
		if err == nil || !log.Passing(err) {
			if err == nil && said {
				e.o.Logger.Info("the metadata log has room again", "operation", doing)
			}
			return err
		}
		if !said {
			e.o.Logger.Warn("the metadata log waits for room", "operation", doing, "error", err)
		}
		if e.o.Clock.Sleep(e.ctx, roomDelay) != nil {
			return err
		}
	}
}

// sinceTurn is how long ago the loop began its last pass. A leader of others begins one
// with every tick, unless a write, a sync or a listener holds it up.
func (e *Engine) sinceTurn() time.Duration {
	return e.o.Clock.Since(e.born) - time.Duration(e.turned.Load())
}

// stuck says whether the loop was held up for so long that the other voters may have
// elected one of themselves, of which this node has not heard. Who leads it does not know
// then: a node that took its word for it would stay with it, and be fenced by the leader.
// The caller holds mu.
func (e *Engine) stuck() bool { return !e.isSole() && e.sinceTurn() > e.o.ElectionTimeout }

// untilStuck is how long what a leader of others has just said may count, false for ever.
func (e *Engine) untilStuck() (time.Duration, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.o.ElectionTimeout - e.sinceTurn() + time.Millisecond, !e.isSole()
}
