package cleaner

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log"
)

// Config is what the broker's configuration says about compaction.
type Config struct {
	Enable              bool
	Threads             int
	DedupeBufferSize    int64
	LoadFactor          float64
	IOBufferSize        int
	IOMaxBytesPerSecond float64
	BackoffMs           int64
}

// FromBroker takes the log.cleaner keys out of a broker's configuration.
func FromBroker(b *config.Broker) Config {
	return Config{
		Enable: b.LogCleanerEnable, Threads: b.LogCleanerThreads,
		DedupeBufferSize: b.LogCleanerDedupeBufferSize, LoadFactor: b.LogCleanerIOBufferLoadFactor,
		IOBufferSize: b.LogCleanerIOBufferSize, IOMaxBytesPerSecond: b.LogCleanerIOMaxBytesPerSecond,
		BackoffMs: b.LogCleanerBackoffMs,
	}
}

// Options say what a Cleaner works with. All are required.
type Options struct {
	// Logs lists the logs of the broker, as log.Manager.Logs does.
	Logs   func() []*log.Log
	Clock  clock.Clock
	Logger *slog.Logger
	Config Config
	// HashKey is the secret under which keys are hashed; it must be random, since
	// who knows it could make keys that are taken for each other.
	HashKey [2]uint64
}

// errStopped is why a round ends when its goroutine is to stop.
var errStopped = errors.New("the cleaner is stopping")

// Cleaner compacts logs in the background.
//
// mu guards the fields below it. control comes before mu and serialises Start,
// Reconfigure and Close.
type Cleaner struct {
	o        Options
	throttle throttle

	control sync.Mutex
	cancel  context.CancelCauseFunc // nil while no goroutine runs
	running sync.WaitGroup
	closed  bool

	mu      sync.Mutex
	cfg     Config
	taken   map[*log.Log]bool
	failed  map[*log.Log]*failure
	last    map[int]RoundStats // of each goroutine
	delayMs map[int]int64      // by which the last round of each goroutine was late
	dirty   float64            // largest dirty share at the last look
	lookMs  int64              // when that was
	// wanted is how many goroutines were started and not told to end, alive how many
	// of them are there.
	wanted, alive int
}

// failure is a log whose last round failed.
type failure struct {
	err   error
	tries int
	retry time.Time
	// uncleanable says that the log's content is the cause.
	uncleanable bool
}

// New returns a Cleaner that does nothing until Start.
func New(o Options) *Cleaner {
	c := &Cleaner{
		o: o, cfg: o.Config, taken: map[*log.Log]bool{}, failed: map[*log.Log]*failure{},
		last: map[int]RoundStats{}, delayMs: map[int]int64{}, lookMs: o.Clock.Now().UnixMilli(),
	}
	c.throttle.clock = o.Clock
	c.throttle.setRate(c.cfg.IOMaxBytesPerSecond)
	return c
}

// Start begins to compact, unless log.cleaner.enable is false.
func (c *Cleaner) Start() {
	c.control.Lock()
	defer c.control.Unlock()
	c.start()
}

func (c *Cleaner) start() {
	c.mu.Lock()
	cfg := c.cfg
	c.mu.Unlock()
	if c.closed || c.cancel != nil || !cfg.Enable {
		return
	}
	if cfg.Threads < 1 {
		c.o.Logger.Warn("no log is compacted because log.cleaner.threads is 0")
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	c.cancel = cancel
	c.count(cfg.Threads, cfg.Threads)
	for id := range cfg.Threads {
		c.running.Add(1)
		go func() {
			defer c.running.Done()
			defer c.count(0, -1)
			c.loop(ctx, id)
		}()
	}
}

// count notes that goroutines were started, told to end, or ended.
func (c *Cleaner) count(wanted, alive int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wanted += wanted
	c.alive += alive
}

// stop ends the goroutines; rounds under way are given up.
func (c *Cleaner) stop() {
	if c.cancel == nil {
		return
	}
	c.mu.Lock()
	told := c.wanted
	c.mu.Unlock()
	c.cancel(errStopped)
	c.running.Wait()
	c.count(-told, 0)
	c.cancel = nil
}

// Reconfigure puts a new configuration into force; a Cleaner that runs begins anew
// with it.
func (c *Cleaner) Reconfigure(cfg Config) {
	c.control.Lock()
	defer c.control.Unlock()
	c.mu.Lock()
	same := c.cfg == cfg
	c.cfg = cfg
	c.mu.Unlock()
	if same {
		return
	}
	c.throttle.setRate(cfg.IOMaxBytesPerSecond)
	if c.cancel == nil {
		return // not started yet
	}
	c.o.Logger.Info("restarting with a new configuration", "threads", cfg.Threads, "dedupeBufferSize", cfg.DedupeBufferSize, "ioMaxBytesPerSecond", cfg.IOMaxBytesPerSecond)
	c.stop()
	c.start()
}

// Close ends the goroutines for good.
func (c *Cleaner) Close() {
	c.control.Lock()
	defer c.control.Unlock()
	c.closed = true
	c.stop()
}

// loop compacts one log after the other, and rests when none is due.
func (c *Cleaner) loop(ctx context.Context, id int) {
	for ctx.Err() == nil {
		if c.RunOnce(ctx, id) {
			continue
		}
		c.mu.Lock()
		backoff := time.Duration(min(c.cfg.BackoffMs, int64(math.MaxInt64/time.Millisecond))) * time.Millisecond
		c.mu.Unlock()
		if c.o.Clock.Sleep(ctx, max(backoff, time.Millisecond)) != nil {
			return
		}
	}
}

// RunOnce does one round on the dirtiest log that is due, on behalf of goroutine id;
// false when there is none. A log whose round failed waits before its next.
func (c *Cleaner) RunOnce(ctx context.Context, id int) bool {
	todo, ok := c.grab(id)
	if !ok {
		return false
	}
	c.mu.Lock()
	cfg := c.cfg
	c.mu.Unlock()
	threads := max(cfg.Threads, 1)
	began := c.o.Clock.Now()
	r := &round{
		ctx: ctx, todo: todo, throttle: &c.throttle, nowMs: began.UnixMilli(),
		keys: newOffsetMap(hasher{c.o.HashKey[0], c.o.HashKey[1]}, min(cfg.DedupeBufferSize/int64(threads), math.MaxInt32), cfg.LoadFactor),
	}
	err := r.run(cfg.IOBufferSize / threads / 2)
	r.stats.Took = c.o.Clock.Since(began)
	c.finish(id, todo.log, r.stats, err, ctx.Err() != nil)
	return true
}

// grab takes the dirtiest log that is due.
func (c *Cleaner) grab(id int) (candidate, bool) {
	now := c.o.Clock.Now()
	logs := c.o.Logs()
	c.forget(logs)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lookMs, c.dirty = now.UnixMilli(), 0
	var best *candidate
	var delay int64
	for _, l := range logs {
		if !l.Config().CleanupCompact || c.taken[l] || l.Moving() || c.waits(l, now) {
			continue
		}
		todo, _, err := consider(l, now.UnixMilli())
		if err != nil {
			c.fail(l, err, now)
			continue
		}
		c.dirty = max(c.dirty, todo.ratio())
		delay = max(delay, todo.delayMs)
		if todo.due() && (best == nil || todo.ratio() > best.ratio()) {
			best = &todo
		}
	}
	if best == nil {
		return candidate{}, false
	}
	c.taken[best.log] = true
	c.delayMs[id] = delay
	return *best, true
}

// forget drops failures of logs that are gone.
func (c *Cleaner) forget(logs []*log.Log) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.failed) == 0 {
		return
	}
	here := make(map[*log.Log]bool, len(logs))
	for _, l := range logs {
		here[l] = true
	}
	for l := range c.failed {
		if !here[l] {
			delete(c.failed, l)
		}
	}
}

// waits says whether a log that failed is not to be tried yet; c.mu is held.
func (c *Cleaner) waits(l *log.Log, now time.Time) bool {
	f := c.failed[l]
	return f != nil && now.Before(f.retry)
}

// finish notes how a round ended.
func (c *Cleaner) finish(id int, l *log.Log, s RoundStats, err error, stopping bool) {
	now := c.o.Clock.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.taken, l)
	switch {
	case err == nil:
		delete(c.failed, l)
		c.last[id] = s
		c.report(l, s)
	case stopping:
	default:
		c.fail(l, err, now)
	}
}

// Pauses before a log is tried again, doubled with every failure. What lies in the
// log's content heals when a replica's copy takes the place of the damage, so that it
// is tried again too.
const (
	passingPause     = time.Second
	uncleanablePause = time.Minute
	maxPauseDoubled  = 6
)

// fail notes a failure; c.mu is held.
func (c *Cleaner) fail(l *log.Log, err error, now time.Time) {
	f := c.failed[l]
	if f == nil {
		f = &failure{}
		c.failed[l] = f
	}
	f.err = err
	pause := max(passingPause, time.Duration(min(c.cfg.BackoffMs, 60_000))*time.Millisecond)
	was := f.uncleanable
	if f.uncleanable = !passing(err); f.uncleanable {
		pause = uncleanablePause
	}
	f.retry = now.Add(pause << min(f.tries, maxPauseDoubled))
	f.tries++
	dir, _ := l.Dir()
	switch {
	case errors.Is(err, log.ErrCleaningAborted):
		f.tries = 0
		f.retry = now.Add(time.Duration(min(c.cfg.BackoffMs, 60_000)) * time.Millisecond)
		c.o.Logger.Debug("compaction of a log that changes begins anew", "partition", l.TopicPartition().String(), "error", err)
	case f.uncleanable && !was:
		c.o.Logger.Warn("the log cannot be compacted, its partition is marked as uncleanable until a later try succeeds", "partition", l.TopicPartition().String(), "dir", dir, "retry", f.retry, "error", err)
	case !errors.Is(err, kafka.UnknownTopicOrPartition):
		c.o.Logger.Warn("compaction failed and is tried again", "partition", l.TopicPartition().String(), "dir", dir, "retry", f.retry, "error", err)
	}
}

// report logs a round that did its work.
func (c *Cleaner) report(l *log.Log, s RoundStats) {
	c.o.Logger.Info("cleaned log", "partition", l.TopicPartition().String(), "from", s.From, "to", s.To, "seconds", s.Took.Seconds(),
		"bytesIndexed", s.MapBytesRead, "bytesRead", s.BytesRead, "bytesWritten", s.BytesWritten,
		"messagesRead", s.MessagesRead, "messagesWritten", s.MessagesWritten, "bufferUtilization", s.BufferUtilization)
	if s.InvalidMessages > 0 {
		c.o.Logger.Warn("removed records without a key during compaction", "partition", l.TopicPartition().String(), "records", s.InvalidMessages)
	}
}
