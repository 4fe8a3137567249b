package rsm

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/metrics"
	"github.com/gregorhq/gregor/internal/replica"
)

// Op is one operation on a machine. It runs on the shard's goroutine and must not
// keep the machine. to is the token to answer to, coord.NoToken when nobody waits.
type Op[M coord.Machine] func(m M, nowMs int64, to coord.Token) coord.Outcome

// Done gets the answer to an operation, once, from any goroutine: a response, or an
// error with the code that the door makes a response of. It must not block.
type Done func(resp kmsg.Response, err error)

// CoordinatorConfig is what a Coordinator works with. Image and OnEffect may be nil.
type CoordinatorConfig[M coord.Machine] struct {
	// Topic is the internal topic whose partitions the shards are.
	Topic    string
	NodeID   kafka.NodeID
	Replicas *replica.Manager
	Clock    clock.Clock
	Wheel    *clock.Wheel
	Logger   *slog.Logger
	// Notes is where Outcome.Notes go, Logger when it is nil.
	Notes *slog.Logger
	// New makes the empty machine of a partition.
	New func(partition int32) M
	// Image tells a machine of a new metadata image; delta is nil on the first call,
	// after the load, when everything in img is news.
	Image func(m M, delta *metadata.Delta, img *metadata.Image, nowMs int64) coord.Outcome
	// OnEffect runs an effect; it is called from the shard's goroutine and must not
	// block. Its result comes back by Post.
	OnEffect func(partition int32, epoch kafka.LeaderEpoch, e coord.Effect)
	// CommitTimeout bounds how long a reply waits for the commit of its records; the
	// waiting client is answered REQUEST_TIMED_OUT, the records stay.
	CommitTimeout time.Duration
	// LoadBufferSize is how much is read at a time when a partition is loaded.
	LoadBufferSize int
	// Codec is what batches are compressed with.
	Codec batch.Codec
}

// Coordinator runs one machine for each partition of an internal topic that this
// broker leads.
type Coordinator[M coord.Machine] struct {
	cfg CoordinatorConfig[M]
	// routes is replaced under mu and read without.
	routes atomic.Pointer[routes[M]]
	// loading has a token for each shard that reads its log.
	loading chan struct{}
	wg      sync.WaitGroup
	image   atomic.Pointer[metadata.Image]
	started time.Time
	// loadTimes are how long loads took that succeeded.
	loadTimes *metrics.Histogram

	mu     sync.Mutex
	closed bool // guarded by mu
}

// routes finds the shard of a partition. It never changes once it is published.
type routes[M coord.Machine] struct {
	// shards has an element a partition of the topic, nil for those led elsewhere.
	shards []*shard[M]
}

// NewCoordinator returns a Coordinator without shards; Apply brings them.
func NewCoordinator[M coord.Machine](cfg CoordinatorConfig[M]) *Coordinator[M] {
	if cfg.Notes == nil {
		cfg.Notes = cfg.Logger
	}
	c := &Coordinator[M]{cfg: cfg, loading: make(chan struct{}, MaxLoading), started: cfg.Clock.Now(),
		loadTimes: metrics.NewHistogram(metrics.Nanoseconds)}
	c.routes.Store(&routes[M]{})
	return c
}

// Apply starts and ends shards as the leadership of the topic's partitions changes,
// and tells all shards of the image. It runs on the loader's goroutine, after the
// replica manager has applied img. delta is nil on the first call.
func (c *Coordinator[M]) Apply(delta *metadata.Delta, img *metadata.Image) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.image.Store(img)
	if c.closed {
		return
	}
	old := c.routes.Load()
	next := &routes[M]{}
	var begun []*shard[M]
	if t := img.Topic(c.cfg.Topic); t != nil {
		next.shards = make([]*shard[M], t.NumPartitions())
		for index, reg := range t.Partitions() {
			if int(index) >= len(next.shards) || reg.Leader != int32(c.cfg.NodeID) {
				continue
			}
			s := old.shard(index)
			if s == nil || s.epoch != reg.LeaderEpoch || s.part.TopicID() != t.ID {
				if s = c.newShard(index, reg.LeaderEpoch); s != nil {
					begun = append(begun, s)
				}
			}
			next.shards[index] = s
		}
	}
	c.routes.Store(next)
	for _, s := range old.shards {
		if s != nil && next.shard(s.index) != s {
			s.mail.close()
		}
	}
	if c.cfg.Image != nil && delta != nil {
		c.each(item[M]{image: true, op: func(m M, nowMs int64, _ coord.Token) coord.Outcome { return c.cfg.Image(m, delta, img, nowMs) }})
	}
	for _, s := range begun {
		c.wg.Add(1)
		go s.run()
	}
}

func (r *routes[M]) shard(partition int32) *shard[M] {
	if partition < 0 || int(partition) >= len(r.shards) {
		return nil
	}
	return r.shards[partition]
}

// newShard returns a shard that does not run yet, nil when this broker cannot serve
// the partition although it leads it: then its log is offline.
func (c *Coordinator[M]) newShard(index int32, epoch kafka.LeaderEpoch) *shard[M] {
	p := c.cfg.Replicas.Get(c.cfg.Topic, index)
	if p == nil {
		return nil
	}
	if _, ok := p.CommittedInEpoch(epoch); !ok {
		return nil
	}
	s := &shard[M]{
		c: c, index: index, epoch: epoch, part: p, mail: newMailbox[M](CoordinatorMailbox),
		waiting: map[coord.Token]Done{}, timers: map[string]*deadline{},
	}
	s.expiry.Fire = func() {
		s.fired.Store(true)
		s.mail.poke()
	}
	return s
}

// PartitionFor is the partition of a group id or transactional id. ok is false while
// the topic does not exist.
func (c *Coordinator[M]) PartitionFor(key string) (partition int32, ok bool) {
	r := c.routes.Load()
	if len(r.shards) == 0 {
		return 0, false
	}
	return coord.PartitionFor(key, int32(len(r.shards))), true
}

// Do submits an operation on the machine that key belongs to. done is called at once
// when the operation is refused: NOT_COORDINATOR, or COORDINATOR_LOAD_IN_PROGRESS.
func (c *Coordinator[M]) Do(key string, op Op[M], done Done) {
	p, ok := c.PartitionFor(key)
	if !ok {
		done(nil, kafka.NotCoordinator)
		return
	}
	c.DoPartition(p, op, done)
}

// DoPartition is Do for a partition.
func (c *Coordinator[M]) DoPartition(partition int32, op Op[M], done Done) {
	s := c.routes.Load().shard(partition)
	err := error(kafka.NotCoordinator)
	if s != nil {
		if err = s.ready(); err == nil {
			err = s.mail.put(item[M]{op: op, done: done}, true)
		}
	}
	if err != nil {
		done(nil, err)
	}
}

// Post submits an operation that nobody waits for, such as the result of an effect,
// to the shard that led the partition in that epoch. It is dropped when that shard is
// gone: its successor learns from the log what is left to do.
func (c *Coordinator[M]) Post(partition int32, epoch kafka.LeaderEpoch, op Op[M]) {
	if s := c.routes.Load().shard(partition); s != nil && s.epoch == epoch {
		_ = s.mail.put(item[M]{op: op}, false) // refused only when the shard resigns
	}
}

// Each submits an operation to every shard; nobody waits for it. A shard that loads
// runs it afterwards.
func (c *Coordinator[M]) Each(op Op[M]) { c.each(item[M]{op: op}) }

func (c *Coordinator[M]) each(it item[M]) {
	for _, s := range c.routes.Load().shards {
		if s != nil {
			_ = s.mail.put(it, false) // refused only when the shard resigns
		}
	}
}

// Led lists the partitions that this broker coordinates or is about to.
func (c *Coordinator[M]) Led() []int32 {
	var led []int32
	for i, s := range c.routes.Load().shards {
		if s != nil {
			led = append(led, int32(i))
		}
	}
	return led
}

// Close ends all shards, as if the leadership was lost, and waits for them. Whatever
// is submitted afterwards is refused with NOT_COORDINATOR.
func (c *Coordinator[M]) Close() {
	c.mu.Lock()
	c.closed = true
	for _, s := range c.routes.Load().shards {
		if s != nil {
			s.mail.close()
		}
	}
	c.mu.Unlock()
	c.wg.Wait()
}
