package raft

import (
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/gregorhq/gregor/internal/storage"
	"github.com/gregorhq/gregor/internal/vfs"
)

// TestOldSnapshotIsRemovedAfterAFailure: what could not be removed goes with the next
// snapshot, though log and snapshots may be small enough by then.
func TestOldSnapshotIsRemovedAfterAFailure(t *testing.T) {
	for what, rule := range map[string]vfs.Rule{
		"the snapshot's file": {Op: vfs.OpRemove, Path: "*.checkpoint", Err: syscall.EIO},
		"a segment before it": {Op: vfs.OpRename, Path: "*.log.deleted", Err: syscall.ENOSPC},
	} {
		t.Run(what, func(t *testing.T) {
			fsys := vfs.NewFault(vfs.NewMem())
			format(t, fsys, nil)
			v := boot(t, fsys, func(o *Options) { o.RetentionBytes = 1 })
			defer func() { v.die() }()
			epoch := v.epoch()
			v.awaitOffset(v.propose(epoch, "a"))
			v.snapshot()
			if err := v.engine.o.Log.Roll(); err != nil {
				t.Fatal(err)
			}
			v.awaitOffset(v.propose(epoch, "b"))
			fsys.Add(rule)
			second := v.snapshot()
			if n := len(v.snapshots(fsys)); n != 2 {
				t.Fatalf("%d snapshots after the failure", n)
			}
			v.awaitOffset(v.propose(epoch, "c"))
			v.engine.o.RetentionBytes = -1
			third := v.snapshot()
			if ids := v.snapshots(fsys); !slices.Equal(ids, []storage.SnapshotID{second, third}) {
				t.Fatalf("snapshots left: %v, want %v and %v", ids, second, third)
			}
			if l := v.engine.o.Log; l.LogStartOffset() != second.EndOffset || len(l.SegmentSizes()) != 1 {
				t.Fatalf("the log begins at %d with %d segments, want %d", l.LogStartOffset(), len(l.SegmentSizes()), second.EndOffset)
			}
			v.stop()
			v = boot(t, fsys)
			v.awaitOffset(v.propose(v.epoch(), "d"))
			if strings.Join(v.rec.names, "") != "abcd" {
				t.Errorf("all %v", v.rec.names)
			}
		})
	}
}

// TestReplicaAtTheLogStartNeedsNoSnapshot: one that has everything below the log's
// beginning goes on with the log, whatever is left of snapshots before.
func TestReplicaAtTheLogStartNeedsNoSnapshot(t *testing.T) {
	fsys := vfs.NewFault(vfs.NewMem())
	format(t, fsys, nil)
	v := boot(t, fsys)
	v.awaitOffset(v.propose(v.epoch(), "a"))
	v.snapshot()
	v.stop()
	v = boot(t, fsys, func(o *Options) { o.RetentionBytes = 1 }) // in the next epoch
	defer v.die()
	epoch := v.epoch()
	v.awaitOffset(v.propose(epoch, "b"))
	fsys.Add(vfs.Rule{Op: vfs.OpRemove, Path: "*.checkpoint", Err: syscall.EIO})
	second := v.snapshot()
	if n := len(v.snapshots(fsys)); n != 2 {
		t.Fatalf("%d snapshots", n)
	}
	v.awaitOffset(v.propose(epoch, "c"))
	if s, end := v.engine.validate(second.EndOffset, second.Epoch); s != nil || end != nil {
		t.Fatalf("it gets the snapshot %v, or is to cut to %v", s, end)
	}
}

func (v *voter) snapshots(fsys vfs.FS) []storage.SnapshotID {
	v.t.Helper()
	ids, err := storage.ListSnapshots(fsys, filepath.Join(testDir, storage.MetadataLogDirName))
	if err != nil {
		v.t.Fatal(err)
	}
	return ids
}

// TestStatsBesideSnapshots: metrics are read while snapshots come and go; the race
// detector is who judges.
func TestStatsBesideSnapshots(t *testing.T) {
	fsys := vfs.NewMem()
	format(t, fsys, nil)
	v := boot(t, fsys)
	epoch := v.epoch()
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				v.engine.Stats()
			}
		}
	}()
	var last storage.SnapshotID
	for range 5 {
		v.awaitOffset(v.propose(epoch, "a"))
		last = v.snapshot()
	}
	close(stop)
	<-done
	if got := v.engine.Stats().Snapshot; got != last {
		t.Errorf("the newest snapshot is %s, not %s", got, last)
	}
	v.stop()
}
