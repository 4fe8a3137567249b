package log

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sort"
	"sync"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metrics"
	"github.com/gregorhq/gregor/internal/producer"
	"github.com/gregorhq/gregor/internal/vfs"
)

// Options say what a Manager works with. FS, Clock, Logger, Dirs and TopicConfig
// are required.
type Options struct {
	FS     vfs.FS
	Clock  clock.Clock
	Logger *slog.Logger
	// Dirs are log.dirs. MetadataDir, when not empty, is where the metadata log
	// lives; it may be one of Dirs.
	Dirs        []string
	MetadataDir string
	NodeID      kafka.NodeID
	ClusterID   string // empty: taken from meta.properties
	// AllowUnformatted makes Open write meta.properties into directories that were
	// never formatted; without it at least one must have been.
	AllowUnformatted bool
	// TopicConfig gives the configuration of a log that is found on disk.
	TopicConfig func(topic string) config.Topic
	// OnOffline is called once for a directory that failed, from any goroutine and
	// with locks held: it must only take note.
	OnOffline func(dir string, id kafka.UUID, err error)

	MaxOpenFiles int // 0: 8192
	// HeadroomBytes of a directory's file system are not for records of users; no more
	// than a sixteenth of it counts.
	HeadroomBytes   int64
	TailBytes       int64  // memory for hot reads; 0: 64 MiB; negative: none
	RecoveryThreads int    // num.recovery.threads.per.data.dir; 0: 2
	Seed            uint64 // for jitter and folder names; 0: random
	// Manual makes RunTasks do what otherwise a goroutine does by itself.
	Manual bool

	ProducerIDExpirationMs  int64 // 0: a day
	TransactionMaxTimeoutMs int64 // 0: 15 minutes
	// VerifyTransactions is transaction.partition.verification.enable.
	VerifyTransactions bool
}

// Manager owns data directories and the logs in them.
//
// mu guards the maps; it is never held during a file operation. create serialises
// the creation and removal of folders, and comes before Log.mu.
type Manager struct {
	env       *env
	opts      Options
	clusterID string
	dirs      []*dataDir
	metaDir   *dataDir

	create sync.Mutex
	mu     sync.RWMutex
	logs   map[kafka.TopicPartition]*Log
	future map[kafka.TopicPartition]*Log
	strays []string
	// rivals are further logs of a partition, of other topics of its name; see rivals.go.
	rivals map[kafka.TopicPartition][]*Log
	// cordoned are the directories that get no new partitions, preferred those for logs to
	// come; guarded by mu.
	cordoned  map[string]bool
	preferred map[kafka.TopicPartition]kafka.UUID
	// doubles are second current logs that Open found, futures all but the first future one.
	doubles map[kafka.TopicPartition]*Log
	futures []*Log
	// deleted are the partitions of which Open found deleted folders.
	deleted map[kafka.TopicPartition]bool
	// metadata is the metadata log, closed with the others but in no checkpoint.
	metadata *Log
	closed   bool
}

// DirInfo describes one directory.
type DirInfo struct {
	Path    string
	ID      kafka.UUID
	Offline error // nil while online
	// Clean says that the last stop was clean; BrokerEpoch is what its marker
	// holds, -1 if nothing.
	Clean       bool
	BrokerEpoch int64
	Space       SpaceInfo
}

// Open locks the directories, checks meta.properties, and opens or recovers every
// log in them. A directory that fails is offline in the result; an error means
// that none can be used, or that what is there must not be touched: another
// process holds it, or it belongs to another node or cluster.
func Open(ctx context.Context, o Options) (*Manager, error) {
	if o.RecoveryThreads <= 0 {
		o.RecoveryThreads = 2
	}
	if o.ProducerIDExpirationMs <= 0 {
		o.ProducerIDExpirationMs = 24 * 3600 * 1000
	}
	if o.TransactionMaxTimeoutMs <= 0 {
		o.TransactionMaxTimeoutMs = 15 * 60 * 1000
	}
	seed := o.Seed
	if seed == 0 {
		seed = rand.Uint64()
	}
	e := &env{
		clock: o.Clock, logger: o.Logger,
		files: newFileCache(o.FS, o.MaxOpenFiles),
		tail:  newTailPool(o.TailBytes),
		tasks: newTaskQueue(o.Clock), suspects: make(chan suspect, 16),
		flushes: metrics.NewHistogram(metrics.Nanoseconds),
		rng:     rand.New(rand.NewPCG(seed, 0x67726567)),
	}
	e.fs = thrifty{o.FS, e.files}
	e.producerConfig.Store(&producer.Config{
		ExpirationMs: o.ProducerIDExpirationMs, MaxTransactionTimeoutMs: o.TransactionMaxTimeoutMs,
		VerifyTransactions: o.VerifyTransactions,
	})
	m := &Manager{env: e, opts: o, clusterID: o.ClusterID, logs: map[kafka.TopicPartition]*Log{}, future: map[kafka.TopicPartition]*Log{}, rivals: map[kafka.TopicPartition][]*Log{}, preferred: map[kafka.TopicPartition]kafka.UUID{}, doubles: map[kafka.TopicPartition]*Log{}, deleted: map[kafka.TopicPartition]bool{}}
	if err := m.open(ctx); err != nil {
		m.Abort()
		return nil, err
	}
	if !o.Manual {
		e.tasks.start()
	}
	return m, nil
}

// ClusterID is the cluster that the directories belong to.
func (m *Manager) ClusterID() string { return m.clusterID }

// Dirs describes the directories that may hold partitions, as configured.
func (m *Manager) Dirs() []DirInfo {
	var list []DirInfo
	for _, d := range m.dirs {
		if d.data {
			list = append(list, d.info())
		}
	}
	return list
}

// MetadataDir describes the directory of the metadata log.
func (m *Manager) MetadataDir() (DirInfo, bool) {
	if m.metaDir == nil {
		return DirInfo{}, false
	}
	return m.metaDir.info(), true
}

func (d *dataDir) info() DirInfo {
	return DirInfo{Path: d.path, ID: d.id, Offline: d.err(), Clean: d.clean, BrokerEpoch: d.epoch, Space: d.spaceInfo()}
}

// PreviousBrokerEpoch is the broker epoch of the clean shutdown markers, -1 when
// the last stop was not clean everywhere or they disagree.
func (m *Manager) PreviousBrokerEpoch() int64 {
	epoch := int64(-1)
	for i, d := range m.dirs {
		if !d.clean || i > 0 && d.epoch != epoch {
			return -1
		}
		epoch = d.epoch
	}
	return epoch
}

// Get returns the log of tp, or nil.
func (m *Manager) Get(tp kafka.TopicPartition) *Log {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.logs[tp]
}

// Future returns the log of tp that is on its way to another directory, or nil.
func (m *Manager) Future(tp kafka.TopicPartition) *Log {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.future[tp]
}

// Logs lists all logs but future ones and the metadata log, ordered by partition.
func (m *Manager) Logs() []*Log {
	m.mu.RLock()
	list := make([]*Log, 0, len(m.logs))
	for _, l := range m.logs {
		list = append(list, l)
	}
	m.mu.RUnlock()
	sort.Slice(list, func(i, j int) bool { return lessPartition(list[i].tp, list[j].tp) })
	return list
}

// StrayFolders lists the folders that hold partitions which the cluster does not
// know.
func (m *Manager) StrayFolders() []string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return append([]string(nil), m.strays...)
}

// RunTasks does what is due of the work that is done later; with Manual nobody
// else does.
func (m *Manager) RunTasks() { m.env.tasks.run() }
