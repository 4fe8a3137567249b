package storage

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/vfs"
)

// Names and suffixes of checkpoints.
const (
	BootstrapCheckpointName = "bootstrap.checkpoint"

	checkpointSuffix = ".checkpoint"
	partialSuffix    = ".checkpoint.part"
	deletedSuffix    = ".checkpoint.deleted"
)

// SnapshotID names a checkpoint: it stands for every record below EndOffset; Epoch
// is the leader epoch of the record at EndOffset-1.
type SnapshotID struct {
	EndOffset kafka.Offset
	Epoch     kafka.LeaderEpoch
}

// BootstrapSnapshotID names the checkpoint that formatting a dynamic quorum's
// metadata directory leaves.
var BootstrapSnapshotID = SnapshotID{}

// String is the file name without its suffix.
func (id SnapshotID) String() string { return fmt.Sprintf("%020d-%010d", id.EndOffset, id.Epoch) }

// FileName is the name of the complete checkpoint.
func (id SnapshotID) FileName() string { return id.String() + checkpointSuffix }

// Before orders checkpoints by age.
func (id SnapshotID) Before(o SnapshotID) bool {
	if id.EndOffset != o.EndOffset {
		return id.EndOffset < o.EndOffset
	}
	return id.Epoch < o.Epoch
}

// ParseSnapshotName reads a file name in the metadata log's directory. ok is false
// for files that are no checkpoints; complete is false for those that were being
// written or deleted.
func ParseSnapshotName(name string) (id SnapshotID, complete, ok bool) {
	stem := name
	switch {
	case strings.HasSuffix(name, partialSuffix), strings.HasSuffix(name, deletedSuffix):
	case strings.HasSuffix(name, checkpointSuffix):
		complete = true
		stem = strings.TrimSuffix(name, checkpointSuffix)
		if len(stem) != 31 {
			return id, false, false
		}
	default:
		return id, false, false
	}
	if len(stem) < 31 || stem[20] != '-' {
		return id, false, false
	}
	end, err1 := strconv.ParseUint(stem[:20], 10, 63)
	epoch, err2 := strconv.ParseUint(stem[21:31], 10, 31)
	if err1 != nil || err2 != nil {
		return id, false, false
	}
	return SnapshotID{kafka.Offset(end), kafka.LeaderEpoch(epoch)}, complete, true
}

// ListSnapshots returns the complete checkpoints of dir, oldest first, and removes
// what was being written or deleted when the process last stopped.
func ListSnapshots(fsys vfs.FS, dir string) ([]SnapshotID, error) {
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("listing checkpoints in %s: %w", dir, err)
	}
	var ids []SnapshotID
	for _, e := range entries {
		id, complete, ok := ParseSnapshotName(e.Name())
		switch {
		case !ok:
		case complete:
			ids = append(ids, id)
		default:
			if err := fsys.Remove(filepath.Join(dir, e.Name())); err != nil {
				return nil, fmt.Errorf("removing an unfinished checkpoint: %w", err)
			}
		}
	}
	sort.Slice(ids, func(i, j int) bool { return ids[i].Before(ids[j]) })
	return ids, nil
}

// RemoveSnapshot deletes one checkpoint.
func RemoveSnapshot(fsys vfs.FS, dir string, id SnapshotID) error {
	return fsys.Remove(filepath.Join(dir, id.FileName()))
}

// SnapshotHeader is what the first batch of a checkpoint says besides its records.
type SnapshotHeader struct {
	// LastContainedLogTimeMs is the append time of the last record that the
	// checkpoint stands for.
	LastContainedLogTimeMs int64
	// KRaftVersion is 0 for a static quorum; Voters are written from 1 on.
	KRaftVersion int16
	Voters       VoterSet
}

// controlRecords are the records of the first batch.
func (h SnapshotHeader) controlRecords() []records.Message {
	recs := []records.Message{&records.SnapshotHeaderRecord{LastContainedLogTimestamp: h.LastContainedLogTimeMs}}
	if h.KRaftVersion > 0 {
		recs = append(recs, &records.KRaftVersionRecord{KRaftVersion: h.KRaftVersion})
		if len(h.Voters) > 0 {
			recs = append(recs, h.Voters.Record())
		}
	}
	return recs
}

// SnapshotWriter writes one checkpoint under a temporary name. One goroutine uses
// it; Freeze or Abort ends it.
type SnapshotWriter struct {
	fsys  vfs.FS
	dir   string
	temp  string
	final string
	epoch kafka.LeaderEpoch
	nowMs int64

	file vfs.File
	pos  int64
	next kafka.Offset
	buf  []byte
	b    *batch.Builder
}

// batchTargetBytes is where a batch of a checkpoint is closed.
const batchTargetBytes = 512 << 10

// CreateSnapshot begins the checkpoint id in dir.
func CreateSnapshot(fsys vfs.FS, dir string, id SnapshotID, h SnapshotHeader, nowMs int64) (*SnapshotWriter, error) {
	temp := fmt.Sprintf("%s-%d%s", id, nowMs, partialSuffix)
	return createWriter(fsys, dir, temp, id.FileName(), id.Epoch, h, nowMs)
}

func createWriter(fsys vfs.FS, dir, temp, final string, epoch kafka.LeaderEpoch, h SnapshotHeader, nowMs int64) (*SnapshotWriter, error) {
	w := &SnapshotWriter{fsys: fsys, dir: dir, temp: filepath.Join(dir, temp), final: filepath.Join(dir, final), epoch: epoch, nowMs: nowMs}
	f, err := fsys.OpenFile(w.temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return nil, fmt.Errorf("creating a checkpoint: %w", err)
	}
	w.file = f
	if err := w.control(h.controlRecords()...); err != nil {
		w.Abort()
		return nil, err
	}
	return w, nil
}

// Append adds records behind those before.
func (w *SnapshotWriter) Append(recs ...records.Message) error {
	for _, r := range recs {
		if w.b == nil {
			w.b = batch.NewBuilder(w.next)
			w.b.LeaderEpoch = w.epoch
		}
		w.b.Append(w.nowMs, nil, records.Encode(r), nil)
		w.next++
		if w.b.Size() >= batchTargetBytes {
			if err := w.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// flush writes the open batch.
func (w *SnapshotWriter) flush() error {
	if w.b == nil {
		return nil
	}
	var err error
	w.buf, err = build(w.buf[:0], w.b)
	w.b = nil
	if err != nil {
		return err
	}
	return w.write()
}

func (w *SnapshotWriter) control(recs ...records.Message) error {
	var err error
	w.buf, err = AppendControlBatch(w.buf[:0], w.next, w.epoch, w.nowMs, recs...)
	if err != nil {
		return err
	}
	w.next += int64(len(recs))
	return w.write()
}

func (w *SnapshotWriter) write() error {
	if _, err := w.file.WriteAt(w.buf, w.pos); err != nil {
		return fmt.Errorf("writing checkpoint %s: %w", w.temp, err)
	}
	w.pos += int64(len(w.buf))
	return nil
}

// Size is how many bytes were written.
func (w *SnapshotWriter) Size() int64 { return w.pos }

// Freeze writes the footer, syncs the file and puts it in place durably.
func (w *SnapshotWriter) Freeze() error {
	err := w.flush()
	if err == nil {
		err = w.control(&records.SnapshotFooterRecord{})
	}
	if err == nil {
		if err = w.file.Sync(); err != nil {
			err = fmt.Errorf("syncing checkpoint %s: %w", w.temp, err)
		}
	}
	if err != nil {
		w.Abort()
		return err
	}
	file := w.file
	w.file = nil
	if err := file.Close(); err != nil {
		w.remove()
		return fmt.Errorf("closing checkpoint %s: %w", w.temp, err)
	}
	if err := w.fsys.Rename(w.temp, w.final); err != nil {
		w.remove()
		return fmt.Errorf("putting checkpoint %s in place: %w", w.final, err)
	}
	if err := w.fsys.SyncDir(w.dir); err != nil {
		return fmt.Errorf("syncing %s: %w", w.dir, err)
	}
	return nil
}

// Abort removes what was written. Calling it after Freeze does nothing.
func (w *SnapshotWriter) Abort() {
	if w.file != nil {
		_ = w.file.Close() // the file goes away; nothing in it is needed
		w.file = nil
		w.remove()
	}
}

func (w *SnapshotWriter) remove() {
	_ = w.fsys.Remove(w.temp) // ListSnapshots removes it at the next start
}
