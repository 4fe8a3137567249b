package log

import (
	"testing"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/vfs"
)

// overtaken is a log of 44 records, each a batch, in which a reader has just ended that
// began when there were 10 of another size, and stalled while all but 4 were cut off.
func overtaken(t *testing.T) (*rig, *Log) {
	t.Helper()
	fault := vfs.NewFault(vfs.NewMem())
	r := newRig(t, fault)
	r.tail, r.cfg.SegmentBytes = -1, 1<<20
	r.open()
	l := r.create()
	for i := range 10 {
		r.mustAppend(l, int64(i), "short")
	}
	l.dropFiles(l.view.Load().active())
	stalled, goOn, done := make(chan bool), make(chan bool), make(chan error)
	fault.Add(vfs.Rule{Op: vfs.OpOpen, Path: "*.log", Before: func(vfs.Op, string) { close(stalled); <-goOn }})
	go func() {
		d, err := l.Read(9, 1<<20, 10, true)
		d.Release()
		done <- err
	}()
	<-stalled
	if _, err := l.TruncateTo(4); err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		r.mustAppend(l, int64(100+i), valueOf(36))
	}
	close(goOn)
	if err := <-done; err != nil {
		t.Error(err)
	}
	return r, l
}

// TestReaderThatATruncationOvertook leaves nothing behind: where its data ended another
// batch may lie by now.
func TestReaderThatATruncationOvertook(t *testing.T) {
	_, l := overtaken(t)
	got, err := tryRecords(t, l, 10, l.LogEndOffset(), 1<<20)
	if err != nil || len(got) != 34 || got[0].offset != 10 {
		t.Errorf("from offset 10 on: %+v, %v", got, err)
	}
}

// TestTruncationAfterAnOvertakenReader cuts between two batches.
func TestTruncationAfterAnOvertakenReader(t *testing.T) {
	r, l := overtaken(t)
	if _, err := l.TruncateTo(10); err != nil {
		t.Fatal(err)
	}
	data, err := vfs.ReadFile(r.fs, l.path(0, suffixLog))
	if err != nil {
		t.Fatal(err)
	}
	infos, err := batch.Infos(data)
	if err != nil || len(infos) != 10 || infos[9].End() != len(data) || l.LogEndOffset() != 10 {
		t.Errorf("%d batches in %d bytes, the log ends at %d, %v", len(infos), len(data), l.LogEndOffset(), err)
	}
}

// TestTruncationInsideABatchThatAReaderStoppedAt: what a reader below the watermark left
// behind says where a batch begins, not with which offset. The batch goes as a whole, and
// the log ends where it began.
func TestTruncationInsideABatchThatAReaderStoppedAt(t *testing.T) {
	r := newRig(t, vfs.NewMem())
	r.tail, r.cfg.SegmentBytes = -1, 1<<20
	r.open()
	l := r.create()
	r.mustAppend(l, 1, "a", "b")
	r.mustAppend(l, 2, "c", "d", "e")
	d, err := l.Read(0, 1<<20, 4, true)
	if err != nil {
		t.Fatal(err)
	}
	d.Release()
	for i := range 40 {
		r.mustAppend(l, int64(3+i), "later")
	}
	if _, err := l.TruncateTo(4); err != nil || l.LogEndOffset() != 2 {
		t.Errorf("the log ends at %d, want 2, %v", l.LogEndOffset(), err)
	}
}
