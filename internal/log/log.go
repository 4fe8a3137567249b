package log

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/producer"
	"github.com/gregorhq/gregor/internal/vfs"
)

// noUnstable is the first unstable offset of a log without open transactions.
const noUnstable = math.MaxInt64

// Log is one partition's log. All methods are safe for concurrent use; readers do
// not wait for appends.
//
// mu is held by whatever changes the log, and guards the fields below it. The
// atomics are stored under mu and loaded by anyone.
type Log struct {
	env *env
	dir *dataDir
	tp  kafka.TopicPartition
	// ours says that the topic is one by which the cluster lives: it may use a full
	// directory's headroom.
	ours bool

	folder   atomic.Pointer[string]
	cfg      atomic.Pointer[config.Topic]
	view     atomic.Pointer[view]
	gen      atomic.Uint64 // odd while a truncation is under way
	start    atomic.Int64
	hw       atomic.Int64
	unstable atomic.Int64
	flushed  atomic.Int64 // everything below it is durable
	flushMs  atomic.Int64 // when the last flush ended
	tail     atomic.Pointer[tailView]
	epochs   atomic.Pointer[epochTable]
	loaded   atomic.Bool
	gone     atomic.Pointer[error] // why the log serves no more
	kind     atomic.Uint32         // folderKind
	moving   atomic.Bool           // is copied to another directory: no compaction
	moved    atomic.Bool           // another log takes its place
	retired  atomic.Bool           // its folder is marked as deleted or stray: gone for good

	flush flushGroup

	mu        sync.Mutex
	topicID   kafka.TopicID
	idKnown   bool
	producers *producer.State
	snapshots []int64 // offsets of the snapshot files, ascending
	dirDirty  bool    // names in the folder changed since it was synced
	dirSyncs  int     // syncs of the folder that are under way without mu
	gapsBelow int64   // offsets below may be missing between segments: recovery takes no gap there for a loss
	// snapshotDirty says that the newest snapshot may not be durable.
	snapshotDirty bool
	// epochsBehind says that leader-epoch-checkpoint differs from epochs in what lies at
	// or beyond the log end: a load makes that good as long as no record follows, so the
	// next one is written after the file. epochsDirty says that it differs below the log
	// start, which a load makes good in any case: the file follows at close.
	epochsBehind, epochsDirty bool
	// pointBehind says that recovery-point-offset-checkpoint may have a higher offset than
	// flushed, startBehind that log-start-offset-checkpoint has one than start, which were
	// lowered: they are written before anything is appended.
	pointBehind, startBehind bool
	// parentDirty says that the folder's own name was not synced yet.
	parentDirty bool
	broken      error // a failed write could not be cut off again
	cleaning    bool  // a round of compaction is under way
}

// TopicPartition is the partition that the log holds.
func (l *Log) TopicPartition() kafka.TopicPartition { return l.tp }

// Dir is the log directory that holds the partition's folder, and its id.
func (l *Log) Dir() (path string, id kafka.UUID) { return l.dir.path, l.dir.id }

// Folder is the partition's own folder.
func (l *Log) Folder() string { return *l.folder.Load() }

// IsFuture says whether the log is a replica on its way to another directory.
func (l *Log) IsFuture() bool { return folderKind(l.kind.Load()) == folderFuture }

// Config is the effective topic configuration, not to be changed.
func (l *Log) Config() *config.Topic { return l.cfg.Load() }

// Reconfigure replaces the topic configuration.
func (l *Log) Reconfigure(cfg config.Topic) { l.cfg.Store(&cfg) }

// TopicID is the topic's id from partition.metadata, zero when there is none.
func (l *Log) TopicID() (kafka.TopicID, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.topicIDLocked()
}

func (l *Log) topicIDLocked() (kafka.TopicID, error) {
	if l.idKnown {
		return l.topicID, nil
	}
	name := filepath.Join(l.Folder(), filePartitionMetadata)
	data, err := vfs.ReadFile(l.env.fs, name)
	if errors.Is(err, fs.ErrNotExist) {
		l.idKnown = true
		return kafka.ZeroUUID, nil
	}
	if err != nil {
		return kafka.ZeroUUID, l.ioError("reading "+name, err)
	}
	id, err := parsePartitionMetadata(data)
	if err != nil {
		return id, kafka.KafkaStorageError.Errorf("%s: %w", name, err)
	}
	l.topicID, l.idKnown = id, true
	return id, nil
}

// SetTopicID records the id durably. It fails with InconsistentTopicID when
// another id is recorded already.
func (l *Log) SetTopicID(id kafka.TopicID) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	have, err := l.topicIDLocked()
	if err != nil {
		return err
	}
	if have == id || id.IsZero() {
		return nil
	}
	if !have.IsZero() {
		return kafka.InconsistentTopicID.Errorf("%s: topic id %s was to be recorded, but the log already has %s", l.tp, id, have)
	}
	name := filepath.Join(l.Folder(), filePartitionMetadata)
	if err := vfs.WriteFileAtomic(l.env.fs, name, formatPartitionMetadata(id)); err != nil {
		return l.ioError("writing "+name, err)
	}
	l.topicID = id
	return nil
}

// LogStartOffset is the first offset that can be read.
func (l *Log) LogStartOffset() int64 { return l.start.Load() }

// LogEndOffset is the offset that the next record will get.
func (l *Log) LogEndOffset() int64 {
	next, _ := l.view.Load().active().end()
	return next
}

// HighWatermark is the offset below which records are on all in-sync replicas.
func (l *Log) HighWatermark() int64 { return l.hw.Load() }

// FirstUnstableOffset is the first offset of the earliest transaction that is open
// or whose end is not replicated yet; ok is false when there is none.
func (l *Log) FirstUnstableOffset() (offset int64, ok bool) {
	l.ensureLoaded()
	u := l.unstable.Load()
	return u, u != noUnstable
}

// LastStableOffset is the offset up to which a read-committed consumer may read:
// the high watermark, or the first unstable offset if that is lower. Of a log that
// cannot be loaded now nothing is known to be stable: it is the log start.
func (l *Log) LastStableOffset() int64 {
	l.ensureLoaded()
	if !l.loaded.Load() {
		return l.LogStartOffset()
	}
	// The watermark is loaded first: an append makes a transaction unstable
	// before the watermark can pass its first record.
	hw := l.hw.Load()
	return min(hw, l.unstable.Load())
}

// RecoveryPoint is the offset below which everything, indexes included, is
// durable; what a checkpoint may claim.
func (l *Log) RecoveryPoint() int64 {
	end := l.LogEndOffset()
	return min(l.flushed.Load(), end)
}

// Size is the number of bytes in the segments.
func (l *Log) Size() int64 {
	var n int64
	for _, s := range l.view.Load().segs {
		n += s.size()
	}
	return n
}

// Segments describes the segments in order.
func (l *Log) Segments() []Segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.view.Load()
	list := make([]Segment, len(v.segs))
	for i, s := range v.segs {
		list[i] = Segment{BaseOffset: s.base, NextOffset: v.endOf(i), Size: s.size(), MaxTimestamp: l.maxTimestampLocked(s), Active: i == len(v.segs)-1}
	}
	return list
}

// UpdateHighWatermark raises the high watermark to hw, bounded by the log end; a
// lower value is ignored. It returns the value in force.
func (l *Log) UpdateHighWatermark(hw int64) int64 {
	hw = min(hw, l.LogEndOffset())
	if l.unstable.Load() != noUnstable && hw > l.hw.Load() {
		// Before the watermark is visible: else a log that was just loaded, all of whose
		// transactions wait for their markers to be replicated, would show a high
		// watermark that is right and a last stable offset of long ago.
		l.mu.Lock()
		l.refreshUnstable(hw)
		l.mu.Unlock()
	}
	for {
		old := l.hw.Load()
		if hw <= old {
			return old
		}
		if l.hw.CompareAndSwap(old, hw) {
			break
		}
	}
	l.dir.hwDirty.Store(true)
	return hw
}

// refreshUnstable tells the producer state of the watermark, which may be about to
// become visible, and publishes the first unstable offset; l.mu is held.
func (l *Log) refreshUnstable(hw int64) {
	if l.producers == nil {
		return
	}
	l.producers.OnHighWatermark(hw)
	u := int64(noUnstable)
	if offset, ok := l.producers.FirstUnstableOffset(); ok {
		u = max(offset, l.start.Load())
	}
	l.unstable.Store(u)
}

// AssignEpochStart notes that epoch begins at the log end; a new leader calls it before
// it serves. It becomes durable with the epoch's first record: of one without records a
// load would keep nothing (docs/formats/leader-epoch-checkpoint.md).
func (l *Log) AssignEpochStart(epoch kafka.LeaderEpoch) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	if t, changed := l.epochs.Load().assign(epoch, l.LogEndOffset()); changed {
		l.epochs.Store(t)
		l.epochsBehind = true
	}
	return nil
}

// setEpochs replaces the epochs, first in leader-epoch-checkpoint; l.mu is held.
func (l *Log) setEpochs(t *epochTable) error {
	if err := l.writeEpochs(t); err != nil {
		return err
	}
	l.epochs.Store(t)
	return nil
}

// writeEpochs replaces leader-epoch-checkpoint.
func (l *Log) writeEpochs(t *epochTable) error {
	name := filepath.Join(l.Folder(), fileLeaderEpochs)
	if err := vfs.WriteFileAtomic(l.env.fs, name, formatEpochs(t.entries)); err != nil {
		return l.ioError("writing "+name, err)
	}
	l.epochsBehind, l.epochsDirty = false, false
	return nil
}

// table returns the epochs, loading the log if need be.
func (l *Log) table() *epochTable {
	l.ensureLoaded()
	if t := l.epochs.Load(); t != nil {
		return t
	}
	return &epochTable{}
}

// LatestEpoch is the epoch of the last entry, kafka.NoEpoch when there is none.
func (l *Log) LatestEpoch() kafka.LeaderEpoch { return l.table().latest() }

// EndOffsetForEpoch returns the largest epoch known that is not above the one
// asked for, and its end; (NoEpoch, NoOffset) when that is not known.
func (l *Log) EndOffsetForEpoch(epoch kafka.LeaderEpoch) (kafka.LeaderEpoch, int64) {
	t := l.table()
	return t.endFor(epoch, l.LogEndOffset())
}

// EpochForOffset is the epoch under which offset was written, NoEpoch if unknown.
func (l *Log) EpochForOffset(offset int64) kafka.LeaderEpoch { return l.table().at(offset) }

// EpochEntries lists the leader epochs with their start offsets.
func (l *Log) EpochEntries() []EpochEntry {
	return append([]EpochEntry(nil), l.table().entries...)
}

// Load reads what the log left for its first use. Every method that needs it does
// so by itself and cannot report a failure in all cases; a caller that wants to
// know calls Load first.
func (l *Log) Load() error {
	if l.loaded.Load() {
		return l.err()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.usable()
}

func (l *Log) ensureLoaded() {
	if !l.loaded.Load() {
		// A failure took the directory offline, or is returned by the next
		// operation that can report it unless that one finds the cause gone: until
		// then the caller sees nothing of what the load would have read.
		_ = l.Load()
	}
}

// usable loads the log if need be and says whether it may be changed; l.mu is
// held.
func (l *Log) usable() error {
	if err := l.err(); err != nil {
		return err
	}
	if l.broken != nil {
		return l.broken
	}
	if !l.loaded.Load() {
		if err := l.load(); err != nil {
			return err
		}
	}
	return l.settlePoints()
}

// err is why the log serves no more, nil while it does.
func (l *Log) err() error {
	if p := l.gone.Load(); p != nil {
		return *p
	}
	return l.dir.err()
}

// ioError reports a failed file operation. Running out of space or descriptors
// passes; after anything else the directory is not used any more. A file that is
// missing because the log was deleted meanwhile is no failure of the directory
// (L3).
func (l *Log) ioError(doing string, err error) error {
	if errors.Is(err, fs.ErrNotExist) && l.gone.Load() != nil {
		return *l.gone.Load()
	}
	return l.dir.ioError(fmt.Sprintf("%s: %s", l.tp, doing), err)
}

// now is the wall clock in milliseconds.
func (l *Log) now() int64 { return l.env.clock.Now().UnixMilli() }
