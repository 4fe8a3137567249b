package raft

import (
	"time"

	"github.com/gregorhq/gregor/internal/log"
)

// roomDelay is the pause between two tries of a write for which there was no room.
const roomDelay = 100 * time.Millisecond

// patiently repeats what failed on a full disk, or for want of descriptors, until it
// succeeds or the engine is closed: a node must not end for a cause that passes.
// Meanwhile it takes part in nothing, so that the other voters go on without it.
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
