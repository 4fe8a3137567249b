package log

import (
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metrics"
	"github.com/gregorhq/gregor/internal/producer"
	"github.com/gregorhq/gregor/internal/vfs"
)

// env is what all logs of a Manager share. It never changes after Open, but for what
// producerConfig points at and guards, the last guard of a verification that was given:
// one must not come again, be it after a truncation or in another log of the name.
type env struct {
	fs             vfs.FS
	clock          clock.Clock
	logger         *slog.Logger
	files          *fileCache
	tail           *tailPool
	tasks          *taskQueue
	suspects       chan suspect // for the scrubber, never closed
	flushes        *metrics.Histogram
	producerConfig atomic.Pointer[producer.Config]
	guards         atomic.Uint64

	rngMu sync.Mutex
	rng   *rand.Rand
}

// jitter is the random part by which a segment is rolled earlier than segment.ms.
func (e *env) jitter(cfg *config.Topic) int64 {
	n := min(cfg.SegmentJitterMs, cfg.SegmentMs)
	if n <= 0 {
		return 0
	}
	e.rngMu.Lock()
	defer e.rngMu.Unlock()
	return e.rng.Int64N(n)
}

// unique makes the part of a folder's name that tells it from others.
func (e *env) unique() [16]byte {
	e.rngMu.Lock()
	defer e.rngMu.Unlock()
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], e.rng.Uint64())
	binary.BigEndian.PutUint64(b[8:], e.rng.Uint64())
	return b
}

// newDirectoryID makes the id of a directory that has none.
func (e *env) newDirectoryID() kafka.UUID {
	for {
		if id, ok := kafka.UUIDFrom(e.unique()); ok {
			return id
		}
	}
}

// dataDir is one log directory. Everything but the atomics is set before Open
// returns; checkpoints has its own mutex.
type dataDir struct {
	env  *env
	path string
	id   kafka.UUID
	// data says that partitions may be placed here; a directory that is only for
	// the metadata log has it false.
	data  bool
	lock  io.Closer
	clean bool
	epoch int64 // broker epoch of the clean shutdown marker, -1 without one

	onOffline func(dir string, id kafka.UUID, err error)
	failure   atomic.Pointer[error]

	// Set by logs when what a checkpoint holds has changed.
	rpDirty, hwDirty, startDirty atomic.Bool
	// gathering is held from looking at the logs to the file, so that an older look
	// does not overwrite a newer one; it comes before checkpoints.
	gathering   sync.Mutex
	checkpoints sync.Mutex
	cleaned     cleanPoints
	// writeStarts is Manager.checkpointDir of log-start-offset-checkpoint.
	writeStarts func() error
	// writePoints is that of recovery-point-offset-checkpoint.
	writePoints func() error
	space       space
	ghosts      ghosts
}

// err is why the directory is offline, nil while it is not.
func (d *dataDir) err() error {
	if p := d.failure.Load(); p != nil {
		return *p
	}
	return nil
}

// offlineError is why a directory is offline: it does not pass, whatever the cause.
type offlineError struct{ error }

func (e *offlineError) Unwrap() error { return e.error }

// fail takes the directory offline, once.
func (d *dataDir) fail(doing string, cause error) error {
	var err error = &offlineError{kafka.KafkaStorageError.Errorf("%s in log directory %s: %w", doing, d.path, cause)}
	if !d.failure.CompareAndSwap(nil, &err) {
		return *d.failure.Load()
	}
	d.env.logger.Error("log directory goes offline", "dir", d.path, "error", err)
	if d.onOffline != nil {
		d.onOffline(d.path, d.id, err)
	}
	return err
}

// coded says that an error has one of the protocol's codes.
func coded(err error) bool {
	code := (*kafka.Code)(nil)
	return errors.As(err, &code)
}

// ioError judges a failed file operation other than a sync: a full disk and a lack
// of descriptors pass, so only this operation fails (L6); after anything else the
// directory cannot be trusted. An error with a code is not what the disk answered: it is
// about the content of one partition, or was judged before, and no reason to take all
// others from their clients.
func (d *dataDir) ioError(doing string, err error) error {
	if coded(err) {
		return err
	}
	if !passing(err) {
		return d.fail(doing, err)
	}
	if noRoom(err) {
		d.ranOut(err)
	} else {
		d.env.logger.Warn("file operation failed, the next one may succeed", "dir", d.path, "operation", doing, "error", err)
	}
	return kafka.KafkaStorageError.Errorf("%s in log directory %s: %w", doing, d.path, err)
}

// writeOffsets replaces one of the directory's checkpoints.
func (d *dataDir) writeOffsets(name string, offsets map[kafka.TopicPartition]int64) error {
	d.checkpoints.Lock()
	defer d.checkpoints.Unlock()
	if err := d.err(); err != nil {
		return err
	}
	if err := vfs.WriteFileAtomic(d.env.fs, filepath.Join(d.path, name), formatOffsets(offsets)); err != nil {
		return d.ioError("writing "+name, err)
	}
	return nil
}

// readOffsets reads one of the directory's checkpoints; one that is damaged counts
// as empty.
func (d *dataDir) readOffsets(name string) map[kafka.TopicPartition]int64 {
	m, err := readOffsets(d.env.fs, filepath.Join(d.path, name))
	if err != nil {
		d.env.logger.Warn("unusable checkpoint", "dir", d.path, "file", name, "error", err)
		return map[kafka.TopicPartition]int64{}
	}
	return m
}
