package log

import (
	"errors"
	"testing"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/vfs"
)

// snapshotRig is a log with one producer and a snapshot at each of its segments, opened
// after a clean stop, on a file system that fails on demand.
func snapshotRig(t *testing.T) (*rig, *vfs.Fault, *Log) {
	t.Helper()
	fault := vfs.NewFault(vfs.NewMem())
	r := newRig(t, fault).open()
	l := r.create()
	now := r.clock.Now().UnixMilli()
	for i := range 4 {
		if _, err := r.appendRaw(l, 1, batch.OriginClient, produce(t, 1, int32(i), false, now, "x")); err != nil {
			t.Fatal(err)
		}
		if err := l.Roll(); err != nil {
			t.Fatal(err)
		}
	}
	r.close()
	return r, fault, r.open().log()
}

// TestASnapshotThatCannotBeReadNowStays: that there are no descriptors says nothing of the
// snapshot. The load fails, and the next one uses it.
func TestASnapshotThatCannotBeReadNowStays(t *testing.T) {
	_, fault, l := snapshotRig(t)
	newest := offsetName(4) + suffixSnapshot
	fault.Add(vfs.Rule{Op: vfs.OpOpen, Path: newest, Err: errEMFILE, Times: 2}) // one is tried again
	if err := l.Load(); !errors.Is(err, kafka.KafkaStorageError) || !Passing(err) {
		t.Fatalf("loaded without it: %v", err)
	}
	if ok, err := vfs.Exists(fault, l.path(4, suffixSnapshot)); err != nil || !ok {
		t.Fatalf("the snapshot is gone, %v", err)
	}
	read := false
	fault.Add(vfs.Rule{Op: vfs.OpRead, Path: newest, Times: -1, Before: func(vfs.Op, string) { read = true }})
	if err := l.Load(); err != nil || !read {
		t.Fatalf("read %v, %v", read, err)
	}
	compareProducers(t, l, "loaded")
}

// TestASnapshotOfABadDisk takes the directory offline, as all that a disk cannot read.
func TestASnapshotOfABadDisk(t *testing.T) {
	r, fault, l := snapshotRig(t)
	fault.Add(vfs.Rule{Op: vfs.OpRead, Path: offsetName(4) + suffixSnapshot, Err: errEIO})
	if err := l.Load(); !errors.Is(err, kafka.KafkaStorageError) || len(r.offline) != 1 {
		t.Fatalf("offline %v, %v", r.offline, err)
	}
	if ok, err := vfs.Exists(fault, l.path(4, suffixSnapshot)); err != nil || !ok {
		t.Errorf("the snapshot is gone, %v", err)
	}
}

// TestTruncationThatLacksDescriptors, whatever it would open, changes nothing, and the
// next try succeeds.
func TestTruncationThatLacksDescriptors(t *testing.T) {
	for _, name := range []string{offsetName(1) + suffixSnapshot, offsetName(1) + suffixLog, offsetName(1) + suffixIndex, offsetName(1) + suffixTimeIndex} {
		r, fault, l := snapshotRig(t)
		if err := l.Load(); err != nil {
			t.Fatal(err)
		}
		fault.Add(vfs.Rule{Op: vfs.OpOpen, Path: name, Err: errEMFILE, Times: -1})
		if _, err := l.TruncateTo(1); !errors.Is(err, kafka.KafkaStorageError) || len(r.offline) != 0 || l.LogEndOffset() != 4 {
			t.Fatalf("%s: the log ends at %d, offline %v, %v", name, l.LogEndOffset(), r.offline, err)
		}
		fault.Clear()
		if ok, err := vfs.Exists(fault, l.path(1, suffixSnapshot)); err != nil || !ok {
			t.Fatalf("%s: the snapshot is gone, %v", name, err)
		}
		if _, err := l.TruncateTo(1); err != nil || l.LogEndOffset() != 1 {
			t.Fatalf("%s: the log ends at %d, %v", name, l.LogEndOffset(), err)
		}
		compareProducers(t, l, name)
	}
}

// TestTruncationWithoutATimeIndex builds it again.
func TestTruncationWithoutATimeIndex(t *testing.T) {
	r, fault, l := snapshotRig(t)
	if err := errors.Join(l.Load(), fault.Remove(l.path(1, suffixTimeIndex))); err != nil {
		t.Fatal(err)
	}
	if _, err := l.TruncateTo(1); err != nil || l.LogEndOffset() != 1 || len(r.offline) != 0 {
		t.Fatalf("the log ends at %d, offline %v, %v", l.LogEndOffset(), r.offline, err)
	}
}
