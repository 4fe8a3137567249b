package raft

import (
	"errors"
	"syscall"
	"testing"

	"github.com/gregorhq/gregor/internal/vfs"
)

// TestFullDiskOnlyDelaysTheMetadataLog (L6): a vote and a record for which there is no
// room are written when there is; nothing stops.
func TestFullDiskOnlyDelaysTheMetadataLog(t *testing.T) {
	fault := vfs.NewFault(vfs.NewMem())
	format(t, fault, nil)
	fault.Add(vfs.Rule{Op: vfs.OpWrite, Path: "quorum-state.tmp", Times: 1, Err: syscall.ENOSPC})
	v := boot(t, fault)
	epoch := v.epoch()
	fault.Add(vfs.Rule{Op: vfs.OpWrite, Path: "*.log", Times: 2, Err: syscall.ENOSPC, Short: 7})
	v.awaitOffset(v.propose(epoch, "a", "b"))
	v.awaitOffset(v.propose(epoch, "c"))
	if err := v.engine.Err(); err != nil {
		t.Fatal(err)
	}
	v.stop()
	v = boot(t, fault)
	v.epoch()
	if len(v.rec.names) != 3 {
		t.Errorf("after a restart there is %q", v.rec.names)
	}
	v.stop()
}

// TestCloseDoesNotWaitForRoom: a node on a full disk can be stopped.
func TestCloseDoesNotWaitForRoom(t *testing.T) {
	fault := vfs.NewFault(vfs.NewMem())
	format(t, fault, nil)
	v := boot(t, fault)
	epoch := v.epoch()
	tried := make(chan struct{}, 1)
	fault.Add(vfs.Rule{Op: vfs.OpWrite, Path: "*.log", Times: -1, Err: syscall.ENOSPC, Before: func(vfs.Op, string) {
		select {
		case tried <- struct{}{}:
		default:
		}
	}})
	v.propose(epoch, "a")
	<-tried
	if err := v.engine.Abort(); err != nil && !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	v.logs.Abort()
}
