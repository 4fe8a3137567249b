package publish

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/quorum"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/storage"
)

// stepBatches bounds the batches that make one step of the image.
const stepBatches = 256

// Update is one step of the image.
type Update struct {
	// Old and New are the images before and after; Delta says what changed. After a
	// snapshot Delta is the difference to it. On the first update of all Old is the
	// empty image and Delta is nil: everything in New is news.
	Old, New *metadata.Image
	Delta    *metadata.Delta
	// Snapshot says that New was loaded from one.
	Snapshot bool
	// Bytes is what the batches of this step take in the log.
	Bytes int64
	// Leader is who leads the quorum as far as this node knows.
	Leader quorum.LeaderAndEpoch
}

// Publisher acts on new images. Publish runs on the loader's goroutine; the next
// publisher, and the next image, wait for it.
type Publisher interface {
	// Name is for log lines.
	Name() string
	Publish(u Update)
}

// Loader applies the committed log and publishes images. It is a quorum.Listener:
// register it with the engine before the engine is started. What the engine tells waits
// in a quorum.Queue, so that the engine never waits for a publisher.
//
// Nothing is published before the loader has caught up: until it knows a leader
// and has applied what was committed before, publishers would act on a state of
// the past, and take what they find in their directories for strays. A node that
// follows the log cannot tell by the log alone how much of it was committed; Gate
// tells it by what the state must hold.
type Loader struct {
	// Gate says whether the state is new enough to be published; nil takes every one
	// as soon as a leader is known. It runs on the loader's goroutine until it has said
	// yes once, and is set before Start.
	Gate func(*metadata.Image) bool

	log *slog.Logger
	// onFatal is called when the log cannot be applied.
	onFatal    func(error)
	publishers []Publisher // fixed by Start

	queue   *quorum.Queue[item]
	stop    chan struct{}
	done    chan struct{}
	once    sync.Once
	started atomic.Bool
	current atomic.Pointer[metadata.Image]
	leader  atomic.Pointer[quorum.LeaderAndEpoch]

	// state belongs to the loader's goroutine.
	state      *metadata.Log
	bytes      int64
	publishing bool

	mu      sync.Mutex
	waiters map[*waiter]struct{} // guarded by mu
}

var _ quorum.Listener = (*Loader)(nil)

// item is something for the loader; one field is set.
type item struct {
	batch    *quorum.Batch
	leader   *quorum.LeaderAndEpoch
	snapshot []records.Message
	at       metadata.Provenance
}

type waiter struct {
	end  kafka.Offset
	done chan struct{}
}

// New returns a loader that is not running. onFatal is called from the loader's
// goroutine when the log cannot be applied; the node must stop then, since what it
// holds is not the cluster's state. It must not wait for Close.
func New(log *slog.Logger, onFatal func(error), publishers ...Publisher) *Loader {
	l := &Loader{
		log: log, onFatal: onFatal, publishers: publishers,
		queue: quorum.NewQueue[item](), stop: make(chan struct{}), done: make(chan struct{}),
		state: metadata.NewLog(metadata.Empty()), waiters: map[*waiter]struct{}{},
	}
	l.current.Store(l.state.Image())
	l.leader.Store(&quorum.LeaderAndEpoch{Leader: kafka.NoNode})
	return l
}

// Current returns the newest image that every publisher has acted on. It never
// returns nil: before the first record it is the empty image.
func (l *Loader) Current() *metadata.Image { return l.current.Load() }

// Leader is who leads the quorum as far as this node knows.
func (l *Loader) Leader() quorum.LeaderAndEpoch { return *l.leader.Load() }

// WaitFor blocks until Current holds every record below endOffset. It returns
// RequestTimedOut when ctx ends first.
func (l *Loader) WaitFor(ctx context.Context, endOffset kafka.Offset) error {
	if l.Current().EndOffset() >= endOffset {
		return nil
	}
	w := &waiter{end: endOffset, done: make(chan struct{})}
	l.mu.Lock()
	if l.Current().EndOffset() >= endOffset {
		l.mu.Unlock()
		return nil
	}
	l.waiters[w] = struct{}{}
	l.mu.Unlock()
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
	case <-l.done:
	}
	l.mu.Lock()
	delete(l.waiters, w)
	l.mu.Unlock()
	select {
	case <-w.done:
		return nil
	default:
	}
	cause := context.Cause(ctx)
	if cause == nil {
		cause = errEnded
	}
	return kafka.RequestTimedOut.Errorf("waiting for metadata offset %d: %w", endOffset, cause)
}

// Start runs the loader.
func (l *Loader) Start() {
	l.started.Store(true)
	go l.run()
}

// Close stops the loader; what it has not applied yet stays unapplied.
func (l *Loader) Close() {
	l.once.Do(func() { close(l.stop) })
	if l.started.Load() {
		<-l.done
	} else {
		l.queue.Close()
	}
}

var errEnded = errors.New("the metadata loader has ended")

func (l *Loader) send(it item) error {
	if !l.queue.Put(it) {
		return errEnded
	}
	return nil
}

// HandleCommit takes the next committed batch.
func (l *Loader) HandleCommit(b *quorum.Batch) error { return l.send(item{batch: b}) }

// HandleSnapshot takes a snapshot in place of everything before it.
func (l *Loader) HandleSnapshot(s *storage.SnapshotReader) error {
	recs, err := s.ReadAll()
	if err != nil {
		return err
	}
	if recs == nil {
		recs = []records.Message{}
	}
	return l.send(item{snapshot: recs, at: metadata.Provenance{
		Offset: s.ID.EndOffset - 1, Epoch: s.ID.Epoch, TimestampMs: s.Header.LastContainedLogTimeMs}})
}

// HandleLeaderChange notes who leads.
func (l *Loader) HandleLeaderChange(ll quorum.LeaderAndEpoch) {
	// The only error is that the loader has ended, when nobody asks any more.
	_ = l.send(item{leader: &ll})
}

func (l *Loader) run() {
	defer close(l.done)
	defer l.queue.Close()
	for {
		select {
		case <-l.stop:
			return
		case <-l.queue.Ready():
		}
		select {
		case <-l.stop: // whatever waits
			return
		default:
		}
		it, ok := l.queue.Next()
		if !ok {
			continue
		}
		if err := l.apply(it); err != nil {
			l.log.Error("the metadata log cannot be applied", "error", err)
			if l.onFatal != nil {
				l.onFatal(err)
			}
			return
		}
	}
}

// apply takes an item and the batches that wait behind it, and publishes the step
// that they make together.
func (l *Loader) apply(it item) error {
	switch {
	case it.leader != nil:
		l.leader.Store(it.leader)
		l.tryGate()
		return nil
	case it.snapshot != nil:
		c, err := l.state.LoadSnapshot(it.at, it.snapshot)
		if err != nil {
			return fmt.Errorf("metadata snapshot at offset %d: %w", it.at.Offset, err)
		}
		l.publish(c, true)
		return nil
	}
	batches, next, more := l.gather(it.batch)
	c, err := l.state.Append(batches...)
	if err != nil {
		return fmt.Errorf("metadata batches at offset %d: %w", batches[0].BaseOffset, err)
	}
	if c != nil {
		l.publish(c, false)
	}
	if more {
		return l.apply(next)
	}
	return nil
}

// gather collects the batches that wait behind first, up to stepBatches. An item of
// another kind that ended the search comes back as next.
func (l *Loader) gather(first *quorum.Batch) (batches []metadata.Batch, next item, more bool) {
	batches = []metadata.Batch{first.Batch}
	l.bytes += int64(first.SizeBytes)
	for len(batches) < stepBatches {
		next, more = l.queue.Next()
		if !more || next.batch == nil {
			break
		}
		batches = append(batches, next.batch.Batch)
		l.bytes += int64(next.batch.SizeBytes)
		more = false
	}
	return batches, next, more
}

// tryGate publishes for the first time when the state is new enough.
func (l *Loader) tryGate() {
	img := l.state.Image()
	if l.publishing || l.Leader().Leader == kafka.NoNode || l.Gate != nil && !l.Gate(img) {
		return
	}
	l.publishing = true
	l.publish(&metadata.Change{Old: metadata.Empty(), New: img}, true)
}

// publish calls the publishers, stores the image and wakes who waits for it.
func (l *Loader) publish(c *metadata.Change, snapshot bool) {
	if !l.publishing {
		l.tryGate()
		return
	}
	u := Update{Old: c.Old, New: c.New, Delta: c.Delta, Snapshot: snapshot, Bytes: l.bytes, Leader: l.Leader()}
	l.bytes = 0
	for _, p := range l.publishers {
		p.Publish(u)
	}
	l.current.Store(c.New)
	end := c.New.EndOffset()
	l.mu.Lock()
	for w := range l.waiters {
		if w.end <= end {
			close(w.done)
			delete(l.waiters, w)
		}
	}
	l.mu.Unlock()
}
