package publish

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/quorum"
	"github.com/gregorhq/gregor/internal/storage"
)

// Snapshots is the publisher that writes a snapshot of the image when enough was
// written since the last one, or enough time has passed. The writing happens on a
// goroutine of its own, one at a time; Close waits for it.
type Snapshots struct {
	engine quorum.Log
	clock  clock.Clock
	log    *slog.Logger
	// maxBytes is metadata.log.max.record.bytes.between.snapshots, maxInterval
	// metadata.log.max.snapshot.interval.ms; an interval of 0 is none.
	maxBytes    int64
	maxInterval time.Duration

	// bytes and last belong to the loader's goroutine.
	bytes int64
	last  time.Time

	mu      sync.Mutex
	busy    bool          // a snapshot is being written; guarded by mu
	closed  bool          // guarded by mu
	written *sync.Cond    // signalled when busy ends
	stop    chan struct{} // closed by Close
	wrote   SnapshotStats // as of wroteAt; guarded by mu
	wroteAt time.Time
}

// SnapshotStats tells of the last snapshot that was written here.
type SnapshotStats struct {
	// Age is how long ago it was complete, or the node was started.
	Age time.Duration
	// Bytes is its size, 0 for none.
	Bytes int64
}

// Stats tells of the last snapshot.
func (s *Snapshots) Stats() SnapshotStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return SnapshotStats{Age: s.clock.Since(s.wroteAt), Bytes: s.wrote.Bytes}
}

// NewSnapshots returns the publisher.
func NewSnapshots(engine quorum.Log, c clock.Clock, log *slog.Logger, maxBytes int64, maxInterval time.Duration) *Snapshots {
	s := &Snapshots{engine: engine, clock: c, log: log, maxBytes: maxBytes, maxInterval: maxInterval, last: c.Now(), stop: make(chan struct{}), wroteAt: c.Now()}
	s.written = sync.NewCond(&s.mu)
	return s
}

// Name is the publisher's name.
func (s *Snapshots) Name() string { return "SnapshotGenerator" }

// Publish counts, and begins a snapshot when one is due.
func (s *Snapshots) Publish(u Update) {
	if u.Snapshot {
		s.bytes, s.last = 0, s.clock.Now()
		return
	}
	s.bytes += u.Bytes
	due := ""
	switch {
	case s.bytes >= s.maxBytes:
		due = fmt.Sprintf("%d bytes since the last one", s.bytes)
	case s.maxInterval > 0 && s.clock.Since(s.last) >= s.maxInterval:
		due = fmt.Sprintf("%s since the last one", s.clock.Since(s.last).Round(time.Second))
	}
	if due == "" || !s.begin() {
		return
	}
	s.bytes, s.last = 0, s.clock.Now()
	go s.write(u.New, due)
}

// begin takes the right to write.
func (s *Snapshots) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy || s.closed {
		return false
	}
	s.busy = true
	return true
}

// write writes one snapshot.
func (s *Snapshots) write(img *metadata.Image, due string) {
	defer func() {
		s.mu.Lock()
		s.busy = false
		s.written.Broadcast()
		s.mu.Unlock()
	}()
	id := storage.SnapshotID{EndOffset: img.EndOffset(), Epoch: img.Epoch}
	if err := s.emit(img, id); err != nil {
		s.log.Error("writing a metadata snapshot", "snapshot", id.String(), "error", err)
		return
	}
	s.log.Info("wrote a metadata snapshot", "snapshot", id.String(), "reason", due)
}

func (s *Snapshots) emit(img *metadata.Image, id storage.SnapshotID) error {
	w, err := s.engine.CreateSnapshot(id, img.TimestampMs)
	if err != nil || w == nil {
		return err
	}
	for m := range img.Snapshot() {
		select {
		case <-s.stop:
			w.Abort()
			return kafka.UnknownServerError.Errorf("the node is stopping")
		default:
		}
		if err := w.Append(m); err != nil {
			w.Abort()
			return err
		}
	}
	if err := w.Freeze(); err != nil {
		return err
	}
	s.engine.SnapshotDone(id)
	s.mu.Lock()
	s.wrote.Bytes, s.wroteAt = w.Size(), s.clock.Now()
	s.mu.Unlock()
	return nil
}

// Close ends a snapshot that is being written and allows no other.
func (s *Snapshots) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		close(s.stop)
	}
	for s.busy {
		s.written.Wait()
	}
}
