package publish

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/quorum"
	"github.com/gregorhq/gregor/internal/records"
)

// backlog is the number of batches that are handed in while a publisher works.
const backlog = 2000

// slow is a publisher that works on its first step until it is let go.
type slow struct {
	loader  *Loader
	release chan struct{}
	updates []Update
}

func (s *slow) Name() string { return "slow" }

func (s *slow) Publish(u Update) {
	s.updates = append(s.updates, u)
	<-s.release
}

// numbered is the record of the topic that stands at an offset.
func numbered(at kafka.Offset) *records.TopicRecord {
	r := records.NewTopicRecord()
	r.Name, r.TopicID = fmt.Sprint("t", at), kafka.UUID{0: 1, 14: byte(at >> 8), 15: byte(at)}
	return r
}

// startSlow runs a loader whose publisher is at work on the first batch.
func startSlow(t *testing.T) *slow {
	t.Helper()
	s := &slow{release: make(chan struct{})}
	s.loader = New(slog.New(slog.DiscardHandler), func(err error) { t.Error(err) }, s)
	s.loader.Start()
	s.loader.HandleLeaderChange(quorum.LeaderAndEpoch{Leader: 1, Epoch: 1})
	if err := s.loader.HandleCommit(batchAt(0, numbered(0))); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	return s
}

// handIn hands in the backlog, with another leader in its middle, as the engine does from
// one goroutine, and returns how many calls have returned though nobody lets the
// publisher go.
func (s *slow) handIn() int64 {
	var returned atomic.Int64
	go func() {
		for i := range kafka.Offset(backlog) {
			if i == backlog/2 {
				s.loader.HandleLeaderChange(quorum.LeaderAndEpoch{Leader: 2, Epoch: 2})
			}
			if err := s.loader.HandleCommit(batchAt(i+1, numbered(i+1))); err != nil {
				return
			}
			returned.Add(1)
		}
	}()
	synctest.Wait()
	return returned.Load()
}

// The engine's goroutine sends heartbeats and answers votes: it must not wait for a
// publisher, however long that works on one step. What came meanwhile is published in the
// order in which it came, many batches a step.
func TestSlowPublisherHoldsUpNoCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startSlow(t)
		defer s.loader.Close()
		if n := s.handIn(); n != backlog {
			t.Errorf("%d of %d commits were taken while a publisher worked", n, backlog)
		}
		close(s.release)
		wait(t, s.loader, backlog+1)
		synctest.Wait()
		at := s.updates[0].Old.Offset
		for i, u := range s.updates {
			if u.Old.Offset != at || u.New.Offset-at > stepBatches {
				t.Errorf("step %d is from %d to %d, the one before ended at %d", i, u.Old.Offset, u.New.Offset, at)
			}
			at = u.New.Offset
			leader := kafka.NodeID(1)
			if at > backlog/2 {
				leader = 2
			}
			if u.Leader.Leader != leader {
				t.Errorf("step %d up to %d is of leader %d, want %d", i, at, u.Leader.Leader, leader)
			}
		}
		// Each half of the backlog is cut into steps on its own.
		if want := 1 + 2*((backlog/2+stepBatches-1)/stepBatches); at != backlog || len(s.updates) != want {
			t.Errorf("%d steps up to offset %d, want %d up to %d", len(s.updates), at, want, backlog)
		}
	})
}

// A loader that is closed ends with the step that it is at, whatever waits behind it, and
// takes nothing afterwards.
func TestCloseDoesNotWorkOffWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startSlow(t)
		if n := s.handIn(); n != backlog {
			t.Errorf("%d of %d commits were taken while a publisher worked", n, backlog)
		}
		closed := make(chan struct{})
		go func() { s.loader.Close(); close(closed) }()
		synctest.Wait()
		close(s.release)
		<-closed
		if n := len(s.updates); n != 1 {
			t.Errorf("%d steps were published, want the one that was begun before Close", n)
		}
		if err := s.loader.HandleCommit(batchAt(backlog+1, numbered(backlog+1))); err == nil {
			t.Error("a loader that has ended takes a commit")
		}
		synctest.Wait()
	})
}
