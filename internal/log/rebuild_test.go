package log

import (
	"bytes"
	"io/fs"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gregorhq/gregor/internal/vfs"
)

// hooked is a file system that calls opened after a file was opened and before its caller
// has it, and size with every answer of Size, which it may change.
type hooked struct {
	vfs.FS
	opened func(name string)
	size   func(name string, size int64) int64
}

func (h *hooked) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := h.FS.OpenFile(name, flag, perm)
	if h.opened != nil {
		h.opened(name)
	}
	return hookedFile{f, h}, err
}

type hookedFile struct {
	vfs.File
	hooked *hooked
}

func (f hookedFile) Size() (int64, error) {
	n, err := f.File.Size()
	if f.hooked.size != nil {
		n = f.hooked.size(f.Name(), n)
	}
	return n, err
}

// rebuild fills a log, lets disturb rebuild the indexes of its active segment, goes on and
// returns what is in the index files after a clean stop.
func rebuild(t *testing.T, h *hooked, disturb func(l *Log, act *segment)) (offsets, times string) {
	t.Helper()
	r := newRig(t, h)
	r.cfg.SegmentBytes = 1 << 20
	r.open()
	l := r.create()
	r.fill(l, 100)
	disturb(l, l.view.Load().active())
	for i := range 100 {
		r.mustAppend(l, 1_600_000_002_000+int64(i), valueOf(i))
	}
	if n := len(l.SegmentSizes()); n != 1 {
		t.Fatalf("%d segments", n)
	}
	folder := l.path(0, "")
	r.close()
	var files [2]string
	for i, suffix := range []string{suffixIndex, suffixTimeIndex} {
		b, err := vfs.ReadFile(h.FS, folder+suffix)
		if err != nil {
			t.Fatal(err)
		}
		files[i] = string(b)
	}
	return files[0], files[1]
}

// TestIndexesAreRebuiltBesideReaders: a reader that opens an index while it is replaced
// gets the old file. That must not stay open for those who come later, or entries are
// written to a file without a name.
func TestIndexesAreRebuiltBesideReaders(t *testing.T) {
	mustRepair := func(l *Log, act *segment) {
		t.Helper()
		if err := l.repair(act); err != nil {
			t.Fatal(err)
		}
	}
	look := func(l *Log, act *segment) {
		for _, open := range []func(*segment) (*handle, error){l.openIndex, l.openTimes} {
			if h, err := open(act); err != nil {
				t.Error(err)
			} else {
				h.unpin()
			}
		}
	}
	wantOffsets, wantTimes := rebuild(t, &hooked{FS: vfs.NewMem()}, mustRepair)
	check := func(t *testing.T, offsets, times string) {
		t.Helper()
		if offsets != wantOffsets || times != wantTimes {
			t.Errorf("%d and %d bytes in the indexes, want %d and %d", len(offsets), len(times), len(wantOffsets), len(wantTimes))
		}
	}
	t.Run("opened before the rename", func(t *testing.T) {
		fault := vfs.NewFault(vfs.NewMem())
		offsets, times := rebuild(t, &hooked{FS: fault}, func(l *Log, act *segment) {
			for _, name := range []string{"*.index", "*.timeindex"} {
				fault.Add(vfs.Rule{Op: vfs.OpRename, Path: name, Before: func(vfs.Op, string) { look(l, act) }})
			}
			mustRepair(l, act)
			fault.Clear()
		})
		check(t, offsets, times)
	})
	for _, suffix := range []string{suffixIndex, suffixTimeIndex} {
		t.Run("kept after the rename, "+suffix, func(t *testing.T) {
			h := &hooked{FS: vfs.NewMem()}
			offsets, times := rebuild(t, h, func(l *Log, act *segment) {
				l.dropFiles(act)
				opened, goOn, done := make(chan bool), make(chan bool), make(chan bool)
				var once atomic.Bool
				h.opened = func(name string) {
					if strings.HasSuffix(name, suffix) && !once.Swap(true) {
						close(opened)
						<-goOn
					}
				}
				go func() { look(l, act); close(done) }()
				<-opened
				mustRepair(l, act)
				close(goOn)
				<-done
			})
			check(t, offsets, times)
		})
	}
}

// loggingRig is an open rig with large segments, and what it logs.
func loggingRig(t *testing.T, fsys vfs.FS) (*rig, *bytes.Buffer) {
	t.Helper()
	r, out := newRig(t, fsys), new(bytes.Buffer)
	r.logger = slog.New(slog.NewTextHandler(out, nil))
	r.cfg.SegmentBytes = 1 << 20
	return r.open(), out
}

// TestSearchBesideAFlushOfTheTimeIndex: while entries are written the size of the file may
// be that of a part of them. It is no reason to build the indexes anew.
func TestSearchBesideAFlushOfTheTimeIndex(t *testing.T) {
	h := &hooked{FS: vfs.NewMem()}
	r, out := loggingRig(t, h)
	l := r.create()
	want := r.fill(l, 100)
	if _, err := l.OffsetForTimestamp(want[50].ts); err != nil {
		t.Fatal(err)
	}
	torn := false
	h.size = func(name string, size int64) int64 {
		if strings.HasSuffix(name, suffixTimeIndex) && !torn {
			torn = true
			return size/timeEntrySize*timeEntrySize - timeEntrySize + 4
		}
		return size
	}
	if got, err := l.OffsetForTimestamp(want[50].ts); err != nil || got.Offset != want[50].offset {
		t.Errorf("%+v, %v", got, err)
	}
	if strings.Contains(out.String(), "rebuilding") {
		t.Error(out.String())
	}
	r.close()
}

// TestSearchBesideATruncation: entries that are cut off while they are read are no failure
// of the disk and no damage.
func TestSearchBesideATruncation(t *testing.T) {
	fault := vfs.NewFault(vfs.NewMem())
	r, out := loggingRig(t, fault)
	l := r.create()
	want := r.fill(l, 100)
	if _, err := l.OffsetForTimestamp(want[100].ts); err != nil {
		t.Fatal(err)
	}
	fault.Add(vfs.Rule{Op: vfs.OpRead, Path: "*.timeindex", Before: func(vfs.Op, string) {
		if _, err := l.TruncateTo(50); err != nil {
			t.Error(err)
		}
	}})
	if got, err := l.OffsetForTimestamp(want[100].ts); err != nil || got.Offset != NoOffset || l.LogEndOffset() > 50 {
		t.Errorf("%+v in a log that ends at %d, %v", got, l.LogEndOffset(), err)
	}
	if len(r.offline) != 0 || strings.Contains(out.String(), "rebuilding") {
		t.Errorf("offline %v\n%s", r.offline, out.String())
	}
}
