package rsm

import (
	"context"
	"errors"
	"log/slog"
	"math/rand"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/controller"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/quorum"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/storage"
)

// MaxOperations bounds the operations that wait for the loop.
const MaxOperations = 1024

// Config is what a Controller works with. All but OnFatal are required.
type Config struct {
	Machine controller.Config
	Engine  quorum.Engine
	Clock   clock.Clock
	Logger  *slog.Logger
	// Seed is for the placement of replicas.
	Seed int64
	// MaxIdleInterval is metadata.max.idle.interval.ms: when nothing was written for
	// that long, a NoOpRecord is; 0 means never.
	MaxIdleInterval time.Duration
	// OnFatal is called once, from the loop, when the log cannot be applied: then
	// this node must stop. It must not wait for Close.
	OnFatal func(error)
}

// Reply is what an operation gave.
type Reply struct {
	Response kmsg.Response
	// EndOffset is one past the last record that the reply rests on; all of them are
	// committed. Who answers from the local image waits until the image holds it. It
	// is 0 when nothing was written.
	EndOffset kafka.Offset
}

// Controller is the active controller, or a stand-by that refuses. It is a
// quorum.Listener: register it with the engine before the engine is started.
type Controller struct {
	cfg     Config
	mailbox *quorum.Queue[event] // everything for the loop, in the order in which it came
	// room holds a token for each operation in the mailbox. What the engine tells needs
	// none, so that its goroutine waits neither for the loop nor for those who ask.
	room    chan struct{}
	stop    chan struct{}
	done    chan struct{}
	once    sync.Once
	started atomic.Bool
	began   time.Time // of the clock, when the controller was made
	metrics ControllerMetrics

	mu sync.Mutex
	// active is closed while this node is the active controller; a new channel takes
	// its place when it ceases to be. Guarded by mu.
	active   chan struct{}
	isActive bool // guarded by mu

	// Everything below belongs to the loop.

	// log is the committed state.
	log *metadata.Log
	// epoch is the epoch in which this node is the active controller, else
	// kafka.NoEpoch; the fields after it mean something only then.
	epoch   kafka.LeaderEpoch
	machine *controller.Machine
	// spec is the committed image plus everything proposed.
	spec *metadata.Image
	// parked are the operations whose records are not committed, by end offset.
	parked      []parked
	lastWriteMs int64
	fatal       bool
}

var _ quorum.Listener = (*Controller)(nil)

// New returns a stand-by controller.
func New(cfg Config) *Controller {
	return &Controller{
		cfg: cfg, mailbox: quorum.NewQueue[event](), room: make(chan struct{}, MaxOperations),
		stop: make(chan struct{}), done: make(chan struct{}), active: make(chan struct{}),
		log: metadata.NewLog(metadata.Empty()), epoch: kafka.NoEpoch, began: cfg.Clock.Now(),
		metrics: newControllerMetrics(),
	}
}

// event is something for the loop; exactly one field is set.
type event struct {
	op       *operation
	batch    *quorum.Batch
	snapshot *loadSnapshot
	leader   *quorum.LeaderAndEpoch
}

// operation is one request on its way. done holds one outcome.
type operation struct {
	req  kmsg.Request
	done chan outcome
	at   time.Duration // since the controller was made
}

type outcome struct {
	reply Reply
	err   error
}

// parked is an operation that waits until everything below end is committed.
type parked struct {
	end   kafka.Offset
	op    *operation
	reply Reply
	at    time.Duration // of the decision, since the controller was made
}

// loadSnapshot is a whole snapshot, read on the engine's goroutine.
type loadSnapshot struct {
	at   metadata.Provenance
	recs []records.Message
}

// Start runs the loop.
func (c *Controller) Start() {
	c.started.Store(true)
	go c.run()
}

// Close stops the loop; operations on their way get NotController.
func (c *Controller) Close() {
	c.once.Do(func() { close(c.stop) })
	if c.started.Load() {
		<-c.done
	} else {
		c.mailbox.Close()
	}
}

// Active says whether this node is the active controller.
func (c *Controller) Active() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.isActive
}

// WaitActive blocks until this node is the active controller or ctx ends.
func (c *Controller) WaitActive(ctx context.Context) error {
	c.mu.Lock()
	ch := c.active
	c.mu.Unlock()
	select {
	case <-ch:
		return nil
	case <-ctx.Done():
		return kafka.RequestTimedOut.Errorf("waiting to become the active controller: %w", context.Cause(ctx))
	case <-c.done:
		return errNotActive
	}
}

// setActive is called by the loop.
func (c *Controller) setActive(active bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if active == c.isActive {
		return
	}
	c.isActive = active
	if active {
		close(c.active)
	} else {
		c.active = make(chan struct{})
	}
}

var errNotActive = kafka.NotController.Errorf("this node is not the active controller")

// Do runs req on the controller and returns once everything it wrote is
// committed. principal is the authenticated name, for example User:ANONYMOUS. A
// failure of what was asked is in the response; the error is NotController when
// this node is not, or ceases to be, the active controller, RequestTimedOut when
// ctx ends first (the operation may still happen), and UnsupportedVersion for a
// request that the controller does not know.
func (c *Controller) Do(ctx context.Context, principal string, req kmsg.Request) (Reply, error) {
	if dq, ok := req.(*kmsg.DescribeQuorumRequest); ok {
		return c.describeQuorum(dq)
	}
	if !controller.Handles(req.Key()) {
		return Reply{}, kafka.UnsupportedVersion.Errorf("the controller does not handle %s", kmsg.NameForKey(req.Key()))
	}
	op := &operation{req: req, done: make(chan outcome, 1), at: c.since()}
	select {
	case c.room <- struct{}{}:
	case <-ctx.Done():
		return Reply{}, timedOut(ctx, principal, req)
	case <-c.stop:
		return Reply{}, errNotActive
	}
	if !c.mailbox.Put(event{op: op}) {
		return Reply{}, errNotActive
	}
	select {
	case out := <-op.done:
		return out.reply, out.err
	case <-ctx.Done():
		return Reply{}, timedOut(ctx, principal, req)
	case <-c.done:
		// The loop may have answered just before it ended.
		select {
		case out := <-op.done:
			return out.reply, out.err
		default:
			return Reply{}, errNotActive
		}
	}
}

func timedOut(ctx context.Context, principal string, req kmsg.Request) error {
	return kafka.RequestTimedOut.Errorf("%s of %s at the controller: %w", kmsg.NameForKey(req.Key()), principal, context.Cause(ctx))
}

// send puts an event of the log into the mailbox.
func (c *Controller) send(ev event) error {
	if !c.mailbox.Put(ev) {
		return errors.New("the controller loop has ended")
	}
	return nil
}

// HandleCommit takes the next committed batch.
func (c *Controller) HandleCommit(b *quorum.Batch) error { return c.send(event{batch: b}) }

// HandleSnapshot takes a snapshot in place of everything before it.
func (c *Controller) HandleSnapshot(s *storage.SnapshotReader) error {
	recs, err := s.ReadAll()
	if err != nil {
		return err
	}
	at := metadata.Provenance{Offset: s.ID.EndOffset - 1, Epoch: s.ID.Epoch, TimestampMs: s.Header.LastContainedLogTimeMs}
	return c.send(event{snapshot: &loadSnapshot{at: at, recs: recs}})
}

// HandleLeaderChange activates or deactivates the controller.
func (c *Controller) HandleLeaderChange(l quorum.LeaderAndEpoch) {
	// The only error is that the loop has ended, when there is nothing to change.
	_ = c.send(event{leader: &l})
}

func newMachine(c *Controller) *controller.Machine {
	return controller.New(c.cfg.Machine, rand.New(rand.NewSource(c.cfg.Seed+int64(c.epoch))))
}
