package node

import (
	"sync"
	"time"

	"github.com/gregorhq/gregor/internal/clock"
)

// scheduler does the periodic work of a node on one goroutine, one task at a time.
type scheduler struct {
	clock clock.Clock
	tasks []*task
	stop  chan struct{}
	done  chan struct{}
	once  sync.Once
	begun bool // set by start, before close can be called
}

// task is one piece of periodic work.
type task struct {
	every time.Duration
	next  time.Time
	run   func()
}

// maxInterval is what counts as "never".
const maxInterval = 365 * 24 * time.Hour

// spaceCheckMs is how often the room of the log directories is looked at.
const spaceCheckMs = 1000

func newScheduler(n *Node) *scheduler {
	s := &scheduler{clock: n.deps.Clock, stop: make(chan struct{}), done: make(chan struct{})}
	cfg := n.static
	first := time.Duration(cfg.LogInitialTaskDelayMs) * time.Millisecond
	report := func(what string, err error) {
		if err != nil {
			n.log.Error("periodic work failed", "task", what, "error", err)
		}
	}
	s.add(cfg.LogRetentionCheckIntervalMs, first, func() {
		if n.configsKnown() {
			n.logs.DeleteOldSegments()
		}
	})
	s.add(cfg.LogFlushSchedulerIntervalMs, first, func() { n.logs.FlushDirtyLogs() })
	s.add(cfg.LogFlushOffsetCheckpointIntervalMs, first, func() {
		report("recovery-point-offset-checkpoint", n.logs.CheckpointRecoveryPoints())
	})
	s.add(cfg.LogFlushStartOffsetCheckpointIntervalMs, first, func() {
		report("log-start-offset-checkpoint", n.logs.CheckpointLogStartOffsets())
	})
	s.add(spaceCheckMs, 0, func() {
		n.logs.CheckSpace()
		if n.replicas != nil {
			n.replicas.Reopen()
		}
	})
	s.add(cfg.ProducerIDExpirationCheckIntervalMs, first, func() { n.logs.ExpireProducers() })
	if n.replicas != nil {
		s.add(cfg.ReplicaHighWatermarkCheckpointIntervalMs, 0, func() {
			report("replication-offset-checkpoint", n.replicas.CheckpointHighWatermarks())
		})
	}
	return s
}

// add schedules run every so many milliseconds, after delay for the first time.
func (s *scheduler) add(everyMs int64, delay time.Duration, run func()) {
	if everyMs <= 0 || everyMs > maxInterval.Milliseconds() {
		return
	}
	every := time.Duration(everyMs) * time.Millisecond
	if delay <= 0 {
		delay = every
	}
	s.tasks = append(s.tasks, &task{every: every, next: s.clock.Now().Add(delay), run: run})
}

func (s *scheduler) start() {
	s.begun = true
	go s.loop()
}

func (s *scheduler) loop() {
	defer close(s.done)
	t := s.clock.NewTimer(s.untilNext())
	defer t.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-t.C():
		}
		now := s.clock.Now()
		for _, k := range s.tasks {
			if !k.next.After(now) {
				k.run()
				k.next = s.clock.Now().Add(k.every)
			}
		}
		t.Reset(s.untilNext())
	}
}

// untilNext is the time to the next task.
func (s *scheduler) untilNext() time.Duration {
	d := maxInterval
	now := s.clock.Now()
	for _, k := range s.tasks {
		d = min(d, max(k.next.Sub(now), 0))
	}
	return d
}

// close ends the goroutine after the task that runs.
func (s *scheduler) close() {
	s.once.Do(func() { close(s.stop) })
	if s.begun {
		<-s.done
	}
}
