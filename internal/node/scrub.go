package node

import "context"

// scrubbing runs the scrubber of a broker's logs until close.
type scrubbing struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// startScrubbing begins to look for damaged bytes.
func (n *Node) startScrubbing() {
	ctx, cancel := context.WithCancel(n.stopping)
	s := &scrubbing{cancel: cancel, done: make(chan struct{})}
	scrubber := n.logs.NewScrubber(n.static.GregorLogScrubBytesPerSecond, n.replicas.Mend)
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
