package rsm

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/metrics"
)

// CoordinatorStats is how a coordinator does, apart from its machines.
type CoordinatorStats struct {
	// Loading and Active are its shards by state.
	Loading, Active int
	// Queued are the operations that wait for shards.
	Queued int
}

// Stats counts the shards and what waits for them.
func (c *Coordinator[M]) Stats() CoordinatorStats {
	var s CoordinatorStats
	for _, sh := range c.routes.Load().shards {
		if sh == nil {
			continue
		}
		switch sh.state.Load() {
		case shardLoading:
			s.Loading++
		case shardActive:
			s.Active++
		}
		sh.mail.mu.Lock()
		s.Queued += len(sh.mail.items)
		sh.mail.mu.Unlock()
	}
	return s
}

// LoadTimes are how long it took to read the state of partitions, in nanoseconds.
func (c *Coordinator[M]) LoadTimes() *metrics.Histogram { return c.loadTimes }

// Collect calls f with the machine of every shard that is active, on the shards'
// goroutines, and returns what f returned, in no order. f must not keep the machine. A
// shard that does not answer before ctx ends is left out.
func Collect[M coord.Machine, R any](ctx context.Context, c *Coordinator[M], f func(partition int32, m M) R) []R {
	shards := c.routes.Load().shards
	results := make(chan R, len(shards)) // an answer after the end of ctx needs a place too
	done := make(chan struct{}, len(shards))
	asked := 0
	for _, s := range shards {
		if s == nil || s.ready() != nil {
			continue
		}
		op := func(m M, _ int64, to coord.Token) coord.Outcome {
			results <- f(s.index, m)
			return coord.Outcome{Replies: []coord.Reply{{To: to}}}
		}
		if s.mail.put(item[M]{op: op, done: func(kmsg.Response, error) { done <- struct{}{} }}, false) == nil {
			asked++
		}
	}
	for range asked {
		select {
		case <-done:
		case <-ctx.Done():
		}
	}
	all := make([]R, 0, len(results))
	for {
		select {
		case r := <-results:
			all = append(all, r)
		default:
			return all
		}
	}
}

// ControllerMetrics are how a controller's loop does. Each may be read by anyone.
type ControllerMetrics struct {
	// QueueTimes are how long requests waited for the loop, ProcessingTimes how long it
	// took to decide them, CommitTimes how long from there until what was decided was
	// committed; in nanoseconds.
	QueueTimes, ProcessingTimes, CommitTimes *metrics.Histogram
}

func newControllerMetrics() ControllerMetrics {
	h := func() *metrics.Histogram { return metrics.NewHistogram(metrics.Nanoseconds) }
	return ControllerMetrics{h(), h(), h()}
}

// Metrics tells how the loop does.
func (c *Controller) Metrics() ControllerMetrics { return c.metrics }

// Queued is how many events wait for the loop.
func (c *Controller) Queued() int { return c.mailbox.Len() }

// since is the time since the controller was made.
func (c *Controller) since() time.Duration { return c.cfg.Clock.Since(c.began) }
