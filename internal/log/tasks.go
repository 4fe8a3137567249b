package log

import (
	"container/heap"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/gregorhq/gregor/internal/clock"
)

// taskQueue does later what must not hold up an append: the sync of a segment that
// was rolled and the removal of files whose delay has passed. It is the package's
// only goroutine; without start, run does what is due on the caller's goroutine. Times
// count from when the queue was made: delays must not follow a wall clock that is set.
//
// mu guards heap, seq and stopped.
type taskQueue struct {
	clock clock.Clock
	made  time.Time

	mu      sync.Mutex
	heap    taskHeap
	seq     int
	stopped bool
	started bool
	wake    chan struct{}
	done    chan struct{}
}

type task struct {
	at  time.Duration
	seq int
	run func()
}

func newTaskQueue(c clock.Clock) *taskQueue {
	return &taskQueue{clock: c, made: c.Now(), wake: make(chan struct{}, 1), done: make(chan struct{})}
}

func (q *taskQueue) add(delayMs int64, run func()) {
	q.mu.Lock()
	if q.stopped {
		q.mu.Unlock()
		return
	}
	q.seq++
	heap.Push(&q.heap, task{q.clock.Since(q.made) + later(delayMs), q.seq, run})
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// later is a delay in milliseconds, of which file.delete.delay.ms may be more than a
// Duration can be.
func later(delayMs int64) time.Duration {
	const most = math.MaxInt64 / int64(time.Millisecond) / 2
	return time.Duration(min(max(delayMs, 0), most)) * time.Millisecond
}

// flushLater syncs a log up to base: the segments before it get no more records.
func (q *taskQueue) flushLater(l *Log, base int64) {
	q.add(0, func() {
		// A failure took the directory offline, or the log was deleted.
		_ = l.FlushTo(base)
	})
}

// removeLater removes files after a delay. What is left behind by a stop is
// removed by the next start.
func (q *taskQueue) removeLater(d *dataDir, delayMs int64, names ...string) {
	if len(names) == 0 {
		return
	}
	q.add(delayMs, func() {
		for _, name := range names {
			if d.err() != nil {
				return
			}
			if err := ignoreMissing(d.env.fs.Remove(name)); err != nil {
				_ = d.ioError("removing "+name, err)
				return
			}
		}
	})
}

// removeFolderLater removes a partition's folder after a delay.
func (q *taskQueue) removeFolderLater(d *dataDir, delayMs int64, folder string) {
	q.add(delayMs, func() {
		if d.err() != nil {
			return
		}
		if err := d.env.fs.RemoveAll(folder); err != nil {
			_ = d.ioError(fmt.Sprintf("removing folder %s", folder), err)
		}
	})
}

// run does everything that is due and returns when the next task is.
func (q *taskQueue) run() (next time.Duration, more bool) {
	for {
		q.mu.Lock()
		if q.stopped || len(q.heap) == 0 {
			q.mu.Unlock()
			return 0, false
		}
		if wait := q.heap[0].at - q.clock.Since(q.made); wait > 0 {
			q.mu.Unlock()
			return wait, true
		}
		t := heap.Pop(&q.heap).(task)
		q.mu.Unlock()
		t.run()
	}
}

// start begins the goroutine that runs the tasks until stop.
func (q *taskQueue) start() {
	q.started = true
	go func() {
		defer close(q.done)
		for {
			next, more := q.run()
			q.mu.Lock()
			stopped := q.stopped
			q.mu.Unlock()
			if stopped {
				return
			}
			if !more {
				<-q.wake
				continue
			}
			t := q.clock.NewTimer(next)
			select {
			case <-t.C():
			case <-q.wake:
				t.Stop()
			}
		}
	}()
}

// stop drops the tasks and waits for the one that is running.
func (q *taskQueue) stop() {
	q.mu.Lock()
	was := q.stopped
	q.stopped = true
	q.heap = nil
	q.mu.Unlock()
	if was || !q.started {
		return
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
	<-q.done
}

// taskHeap orders tasks by time, and by age at the same time.
type taskHeap []task

func (h taskHeap) Len() int { return len(h) }
func (h taskHeap) Less(i, j int) bool {
	if h[i].at != h[j].at {
		return h[i].at < h[j].at
	}
	return h[i].seq < h[j].seq
}
func (h taskHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *taskHeap) Push(x any)   { *h = append(*h, x.(task)) }
func (h *taskHeap) Pop() any {
	old := *h
	n := len(old) - 1
	t := old[n]
	old[n] = task{}
	*h = old[:n]
	return t
}
