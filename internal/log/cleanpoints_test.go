package log

import (
	"syscall"
	"testing"

	"github.com/gregorhq/gregor/internal/vfs"
)

// TestCleanPointDoesNotOutliveItsLog: a log of the same name begins without one, whatever
// was written while the old one went away: its first offsets were never compacted.
func TestCleanPointDoesNotOutliveItsLog(t *testing.T) {
	r := newRig(t, vfs.NewMem()).open()
	l := r.create()
	if err := r.m.Delete(testTP); err != nil {
		t.Fatal(err)
	}
	if err := l.dir.setCleanPoint(testTP, 5); err != nil {
		t.Fatal(err)
	}
	if p, ok := r.create().CleanPoint(); ok {
		t.Fatalf("a new log is compacted up to %d", p)
	}
	r.reopen()
	if p, ok := r.log().CleanPoint(); ok {
		t.Fatalf("after a restart the new log is compacted up to %d", p)
	}
}

// TestCleanPointThatCouldNotBeRemoved: while the file has the old log's there is no new
// log, be it after a restart.
func TestCleanPointThatCouldNotBeRemoved(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		testCleanPointThatCouldNotBeRemoved(t, restarted)
	}
}

func testCleanPointThatCouldNotBeRemoved(t *testing.T, restarted bool) {
	t.Helper()
	fault := vfs.NewFault(vfs.NewMem())
	r := newRig(t, fault).open()
	l := r.create()
	if err := l.dir.setCleanPoint(testTP, 5); err != nil {
		t.Fatal(err)
	}
	fault.Add(vfs.Rule{Op: vfs.OpWrite, Path: testDir + "/" + fileCleanPoints + "*", Times: -1, Err: syscall.ENOSPC})
	if err := r.m.Delete(testTP); err != nil {
		t.Fatal(err)
	}
	if restarted {
		r.reopen()
	}
	if _, err := r.m.Create(testTP, l.topicID, l.dir.id, r.cfg); err == nil {
		t.Fatal("a log was made that a restart takes for compacted")
	}
	fault.Clear()
	r.create()
	r.reopen()
	if p, ok := r.log().CleanPoint(); ok {
		t.Fatalf("after a restart the new log is compacted up to %d", p)
	}
}
