package rsm

import (
	"errors"
	"time"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log"
)

// How long a shard waits after a load that failed. Each wait is twice the one before.
// Causes that pass by themselves do so in seconds; for all others somebody has to act, and
// each try may read the whole log.
const (
	firstWait      = 200 * time.Millisecond
	maxPassingWait = 5 * time.Second
	maxLastingWait = time.Minute
)

// complainEvery bounds how many tries fail for the same cause before it is said again.
const complainEvery = 64

// failures are the loads of one shard that failed, one after the other.
type failures struct {
	// n counts those for the same cause, which code and passing are.
	n       int
	code    *kafka.Code
	passing bool
}

// add notes a failure. wait is how long the next try has to wait; tell says that the
// operator is to hear of this failure: each cause at once, and then ever more rarely.
func (f *failures) add(err error) (wait time.Duration, tell bool) {
	code, passing := kafka.CodeOf(err), log.Passing(err)
	if code != f.code || passing != f.passing {
		*f = failures{code: code, passing: passing}
	}
	f.n++
	most := maxLastingWait
	if passing {
		most = maxPassingWait
	}
	// Far fewer doublings than these reach the most.
	wait = min(firstWait<<min(f.n-1, 16), most)
	return wait, f.n&(f.n-1) == 0 || f.n%complainEvery == 0
}

// reload loads the machine, as often as it takes, and returns how long the load took that
// succeeded. ok is false when the shard has to end. Each try has a new machine: what the
// last one replayed before it failed is not to be replayed twice.
func (s *shard[M]) reload() (took time.Duration, ok bool) {
	var failed failures
	for {
		s.machine, s.end = s.c.cfg.New(s.index), 0
		if m, ok := any(s.machine).(coord.Bounded); ok {
			m.BoundBatches(s.maxRecords)
		}
		s.c.loading <- struct{}{}
		started := s.c.cfg.Clock.Now()
		err := s.load()
		<-s.c.loading
		switch {
		case err == nil:
			return s.c.cfg.Clock.Since(started), true
		case errors.Is(err, errResigned):
			return 0, false
		}
		wait, tell := failed.add(err)
		if tell {
			s.c.cfg.Logger.Error("could not load the state of a coordinator", "partition", s.part.TopicPartition(), "leaderEpoch", s.epoch,
				"tries", failed.n, "retryMs", wait.Milliseconds(), "error", err)
		}
		if !s.pause(wait) {
			return 0, false
		}
	}
}

// pause waits before the next try. It returns false, at once, when the shard has to end.
func (s *shard[M]) pause(d time.Duration) bool {
	t := s.c.cfg.Clock.NewTimer(d)
	defer t.Stop()
	defer s.mail.poke() // what has been put into the mailbox meanwhile is for the loop
	for {
		if _, leads := s.part.CommittedInEpoch(s.epoch); !leads || s.mail.isClosed() {
			return false
		}
		s.mail.dropImages()
		select {
		case <-t.C():
			return true
		case <-s.mail.signal:
		}
	}
}
