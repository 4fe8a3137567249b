package rsm

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/quorum"
	"github.com/gregorhq/gregor/internal/records"
)

// stall keeps the loop in the decision of an operation, which the first channel answers,
// until release is closed.
func stall(c *Controller, e *fakeEngine) (out <-chan outcome, release chan struct{}) {
	release = make(chan struct{})
	e.onDecision(func() { <-release })
	out = put(c, createTopic("a", false))
	synctest.Wait()
	return out, release
}

// commitNoOps hands in n more batches of the log, as the engine does from one goroutine,
// and returns how many calls have returned though nobody lets the loop go.
func (e *fakeEngine) commitNoOps(n int) int64 {
	var returned atomic.Int64
	go func() {
		for range n {
			e.mu.Lock()
			b := metadata.Batch{BaseOffset: e.end, LastOffset: e.end, Epoch: 1, Messages: []records.Message{records.NewNoOpRecord()}}
			e.end++
			e.log, e.committed = append(e.log, b), e.committed+1
			e.mu.Unlock()
			if err := e.listener.HandleCommit(&quorum.Batch{Batch: b}); err != nil {
				return
			}
			returned.Add(1)
		}
	}()
	synctest.Wait()
	return returned.Load()
}

// The engine's goroutine sends heartbeats and answers votes: it must not wait for an
// operation, nor for room among the operations that wait for the loop.
func TestSlowOperationHoldsUpNoCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const backlog = 2000
		c, e := start(t, clock.NewVirtual(time.UnixMilli(1e12)), 0)
		out, release := stall(c, e)
		// As many wait as may; each is answered at once when it is its turn.
		var waiting []<-chan outcome
		for range MaxOperations {
			waiting = append(waiting, put(c, kmsg.NewPtrFetchRequest()))
		}
		if n := e.commitNoOps(backlog); n != backlog {
			t.Errorf("%d of %d commits were taken while an operation was decided", n, backlog)
		}
		// The change of the leader comes behind the commits and before what is asked later.
		go e.lead(kafka.NoNode, 1)
		synctest.Wait()
		if n := c.Queued(); n != MaxOperations+backlog+1 {
			t.Errorf("%d events wait, want %d", n, MaxOperations+backlog+1)
		}
		refusedWhenFull(t, c)
		close(release)
		for i, w := range waiting {
			if o := <-w; !errors.Is(o.err, kafka.UnsupportedVersion) {
				t.Fatalf("request %d, asked before the leader changed: %v", i, o.err)
			}
		}
		if o := <-out; !errors.Is(o.err, kafka.NotController) {
			t.Errorf("the operation whose records were lost: %+v, %v", o.reply, o.err)
		}
		synctest.Wait()
		if c.Active() || c.Queued() != 0 {
			t.Errorf("active %v, %d events wait", c.Active(), c.Queued())
		}
		c.Close()
		e.mu.Lock()
		end := e.log[e.committed-1].LastOffset
		e.mu.Unlock()
		if got := c.log.Image().Offset; got != end {
			t.Errorf("the loop has applied up to %d, want %d", got, end)
		}
	})
}

// refusedWhenFull checks that an operation for which there is no room waits for some as
// long as its context lasts.
func refusedWhenFull(t *testing.T, c *Controller) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	before := c.Queued()
	if _, err := c.Do(ctx, "User:test", createTopic("b", false)); !errors.Is(err, kafka.RequestTimedOut) {
		t.Errorf("an operation for which there is no room: %v", err)
	}
	if n := c.Queued(); n != before {
		t.Errorf("%d events wait after it, %d before", n, before)
	}
}

// Close ends what is under way and nothing else, whatever waits; who waits is told, and
// nothing is taken any more.
func TestCloseOfAControllerWithABacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const backlog = 2000
		c, e := start(t, clock.NewVirtual(time.UnixMilli(1e12)), 0)
		_, release := stall(c, e)
		waits := ask(c, createTopic("b", false))
		synctest.Wait()
		if n := e.commitNoOps(backlog); n != backlog {
			t.Errorf("%d of %d commits were taken while an operation was decided", n, backlog)
		}
		before := c.log.Image().Offset // the loop stands in a decision
		closed := make(chan struct{})
		go func() { c.Close(); close(closed) }()
		synctest.Wait()
		close(release)
		<-closed
		if o := <-waits; !errors.Is(o.err, kafka.NotController) {
			t.Errorf("who waited when the controller was closed: %+v, %v", o.reply, o.err)
		}
		if got := c.log.Image().Offset; got != before {
			t.Errorf("%d records were applied after Close", got-before)
		}
		if err := c.HandleCommit(&quorum.Batch{}); err == nil {
			t.Error("a controller that has ended takes a commit")
		}
		synctest.Wait()
	})
}
