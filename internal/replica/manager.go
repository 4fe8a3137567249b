package replica

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log"
	"github.com/gregorhq/gregor/internal/metadata"
)

// Options say what a Manager works with. All but Cluster are required.
type Options struct {
	Cluster Cluster
	NodeID  kafka.NodeID
	Logs    *log.Manager
	Clock   clock.Clock
	Wheel   *clock.Wheel
	Config  *config.Broker
	Logger  *slog.Logger
}

// Manager owns the partitions of a broker.
type Manager struct {
	Stats Stats

	nodeID int32
	logs   *log.Manager
	clock  clock.Clock
	began  time.Time // by clock
	wheel  *clock.Wheel
	logger *slog.Logger

	table *table
	// image is the newest image given to Apply, which may not be published yet.
	image atomic.Pointer[metadata.Image]
	// maxLagMs is replica.lag.time.max.ms.
	maxLagMs atomic.Int64
	settings atomic.Pointer[settings]

	cluster   Cluster
	alter     alterer
	assigner  assigner
	mover     mover
	lag       lagList
	throttles throttles
	// dirsSupported says that the metadata version has directories (KIP-858).
	dirsSupported atomic.Bool
	// manual leaves the goroutines of replication to a test, which does their steps.
	manual bool
	// ctx ends with Close.
	ctx    context.Context
	cancel context.CancelFunc

	// mu orders changes: images, configurations, failed directories.
	mu     sync.Mutex
	config *config.Broker
	first  bool // no image was applied yet
	// booting says that the first image is being applied.
	booting bool
	// ahead says that config is ahead of image: Reconfigure came, its Apply did not yet.
	ahead  bool
	reopen reopening
	// undeleted are the logs whose deletion failed for a cause that passes, with their topics.
	undeleted map[kafka.TopicPartition]kafka.TopicID
	// defaults is the configuration of topics without overrides, nil until needed.
	defaults *topicConfig
	wakes    wakes
	fetchers map[fetcherID]*assignedFetcher

	// goMu guards closed, and the start of goroutines against Close.
	goMu   sync.Mutex
	closed bool
	wg     sync.WaitGroup
}

// New returns a Manager without partitions; Apply brings them.
func New(o Options) *Manager {
	m := &Manager{
		nodeID: int32(o.NodeID),
		logs:   o.Logs,
		clock:  o.Clock,
		began:  o.Clock.Now(),
		wheel:  o.Wheel,
		logger: o.Logger,
		table:  newTable(),
		config: o.Config,
		first:  true,

		cluster:  o.Cluster,
		fetchers: map[fetcherID]*assignedFetcher{},
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.alter.m, m.assigner.m = m, m
	m.mover.init(m)
	m.settings.Store(deriveSettings(o.Config))
	m.throttles.configure(m, o.Config)
	m.maxLagMs.Store(o.Config.ReplicaLagTimeMaxMs)
	return m
}

// Get returns the partition, nil when there is no replica of it here.
func (m *Manager) Get(topic string, partition int32) *Partition {
	if e := m.table.find(topic); e != nil {
		return e.partition(partition)
	}
	return nil
}

// GetByID is Get by topic id.
func (m *Manager) GetByID(id kafka.TopicID, partition int32) *Partition {
	if e := m.table.findID(id); e != nil {
		return e.partition(partition)
	}
	return nil
}

// Find is Get with the error that answers a request for a partition that is not
// here: NOT_LEADER_OR_FOLLOWER when img knows it, UNKNOWN_TOPIC_OR_PARTITION when it
// does not.
func (m *Manager) Find(img *metadata.Image, topic string, partition int32) (*Partition, error) {
	if p := m.Get(topic, partition); p != nil {
		return p, nil
	}
	if img.Partition(topic, partition) != nil {
		return nil, kafka.NotLeaderOrFollower
	}
	return nil, kafka.UnknownTopicOrPartition
}

// FindByID is Find by topic id. An id that no topic has is UNKNOWN_TOPIC_ID.
func (m *Manager) FindByID(img *metadata.Image, id kafka.TopicID, partition int32) (*Partition, error) {
	if p := m.GetByID(id, partition); p != nil {
		return p, nil
	}
	t := img.TopicByID(id)
	switch {
	case t == nil:
		return nil, kafka.UnknownTopicID
	case t.Partition(partition) == nil:
		return nil, kafka.UnknownTopicOrPartition
	default:
		return nil, kafka.NotLeaderOrFollower
	}
}

// All calls f for every partition on this broker, in no particular order.
func (m *Manager) All(f func(*Partition)) {
	m.table.all(func(e *topicEntry) {
		for _, p := range *e.parts.Load() {
			if p != nil {
				f(p)
			}
		}
	})
}

// Logs is the manager of the log directories.
func (m *Manager) Logs() *log.Manager { return m.logs }

// nowMs is the wall time of the manager's start and what has elapsed since. Whether a
// replica is in sync goes by it: a wall clock that is set ahead would have all followers
// dropped that are not just at the end, one that is set back would keep those that are
// stuck. What gets a time for others to read, as records do, gets the wall time.
func (m *Manager) nowMs() int64 { return m.began.Add(m.clock.Since(m.began)).UnixMilli() }

// CheckpointHighWatermarks writes replication-offset-checkpoint of every directory in
// which a high watermark moved since the last time. The node calls it every
// replica.high.watermark.checkpoint.interval.ms.
func (m *Manager) CheckpointHighWatermarks() error { return m.logs.CheckpointHighWatermarks() }

// goFlush starts the partition's flusher, unless the manager is closed.
func (m *Manager) goFlush(p *Partition) bool { return m.start(p.flushLoop) }

// start runs f on a goroutine that Close waits for, unless the manager is closed.
func (m *Manager) start(f func()) bool {
	m.goMu.Lock()
	defer m.goMu.Unlock()
	if m.closed {
		return false
	}
	m.wg.Add(1)
	go func() {
		defer m.wg.Done()
		f()
	}()
	return true
}

// Close answers everybody who waits with NOT_LEADER_OR_FOLLOWER and waits for the
// manager's goroutines. Logs stay open: they belong to the log manager.
func (m *Manager) Close() {
	m.cancel()
	m.lag.mu.Lock()
	if m.lag.scheduled {
		m.wheel.Cancel(&m.lag.entry)
	}
	m.lag.mu.Unlock()
	m.mu.Lock()
	m.All(func(p *Partition) {
		p.mu.Lock()
		p.failAll(kafka.NotLeaderOrFollower, &m.wakes)
		p.mu.Unlock()
		m.wakes.run()
	})
	m.mu.Unlock()
	m.goMu.Lock()
	m.closed = true
	m.goMu.Unlock()
	m.wg.Wait()
}

// countLeader keeps Stats.LeaderCount in step with p's leadership. Caller holds mu.
func (m *Manager) countLeader(p *Partition, leads bool) {
	if p.IsLeader() == leads {
		return
	}
	if leads {
		m.Stats.LeaderCount.Add(1)
	} else {
		m.Stats.LeaderCount.Add(-1)
	}
}

// TopicName returns the broker's own copy of a topic's name, if it has a replica of
// the topic.
func (m *Manager) TopicName(name string) (string, bool) {
	if e := m.table.find(name); e != nil {
		return e.name, true
	}
	return "", false
}
