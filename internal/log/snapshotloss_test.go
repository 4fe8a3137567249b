package log

import (
	"errors"
	"math/rand"
	"testing"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/vfs"
)

// TestPowerLossBringsBackNoSnapshotOfWhatWasCut: a producer snapshot that a truncation
// removed speaks of records that are no more. Came it back, it would be taken for that of
// the log's end, which is there again meanwhile.
func TestPowerLossBringsBackNoSnapshotOfWhatWasCut(t *testing.T) {
	mem := vfs.NewMem()
	r := newRig(t, mem).open()
	l := r.create()
	now := r.clock.Now().UnixMilli()
	for i := range 8 {
		if _, err := r.appendRaw(l, 1, batch.OriginClient, produce(t, 1, int32(i), false, now, "x")); err != nil {
			t.Fatal(err)
		}
		if i%2 == 1 {
			if err := l.Roll(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := errors.Join(l.Flush(), r.m.CheckpointRecoveryPoints()); err != nil {
		t.Fatal(err)
	}
	if len(l.snapshots) < 4 {
		t.Fatalf("snapshots %v", l.snapshots)
	}
	if _, err := l.TruncateTo(3); err != nil {
		t.Fatal(err)
	}
	for l.LogEndOffset() < 8 {
		// Of the same epoch: the epochs' file, when it is replaced, would sync the folder.
		if _, err := r.appendRaw(l, 1, batch.OriginClient, build(t, now, "other")); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(l.FlushTo(l.LogEndOffset()), r.m.CheckpointRecoveryPoints()); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewSource(1))
	for range 100 {
		after := newRig(t, mem.Crash(rng, vfs.PowerLoss)).open()
		compareProducers(t, after.log(), "after a power loss")
		after.close()
		after.open()
		if err := after.log().Load(); err != nil {
			t.Fatal(err)
		}
		compareProducers(t, after.log(), "after a clean stop that followed")
		after.m.Abort()
	}
	r.m.Abort()
}

// TestTruncationThatCannotRemoveASnapshot does not begin.
func TestTruncationThatCannotRemoveASnapshot(t *testing.T) {
	r, fault, l := snapshotRig(t)
	if err := l.Load(); err != nil {
		t.Fatal(err)
	}
	fault.Add(vfs.Rule{Op: vfs.OpRemove, Path: "*" + suffixSnapshot, Err: errENOSPC, Times: -1})
	if _, err := l.TruncateTo(1); err == nil || len(r.offline) != 0 || l.LogEndOffset() != 4 {
		t.Fatalf("the log ends at %d, offline %v, %v", l.LogEndOffset(), r.offline, err)
	}
	fault.Clear()
	if _, err := l.TruncateTo(1); err != nil || l.LogEndOffset() != 1 || len(l.snapshots) != 1 {
		t.Fatalf("the log ends at %d, snapshots %v, %v", l.LogEndOffset(), l.snapshots, err)
	}
	compareProducers(t, l, "cut")
}
