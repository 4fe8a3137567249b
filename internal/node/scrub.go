package node

import (
	"context"

	"github.com/gregorhq/gregor/internal/log"
)

// scrubbing runs the scrubber of a broker's logs until close.
type scrubbing struct {
	cancel context.CancelFunc
	done   chan struct{}
	stats  func() log.ScrubStats
}

// startScrubbing begins to look for damaged bytes.
func (n *Node) startScrubbing() {
	ctx, cancel := context.WithCancel(n.stopping)
	scrubber := n.logs.NewScrubber(n.static.GregorLogScrubBytesPerSecond, n.replicas.Mend)
	s := &scrubbing{cancel: cancel, done: make(chan struct{}), stats: scrubber.Stats}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		cancel()
		return
	}
	n.scrubbing = s
	go func() {
		defer close(s.done)
		scrubber.Run(ctx)
	}()
}

// close ends the goroutine and waits for it.
func (s *scrubbing) close() {
	s.cancel()
	<-s.done
}
