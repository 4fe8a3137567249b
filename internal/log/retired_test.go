package log

import (
	"context"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/vfs"
)

// renameHook calls before ahead of every rename, and fails it with its error.
type renameHook struct {
	vfs.FS
	before func(from, to string) error
}

func (f *renameHook) Rename(from, to string) error {
	if f.before != nil {
		if err := f.before(from, to); err != nil {
			return err
		}
	}
	return f.FS.Rename(from, to)
}

// retiredRig is a log of at least three segments, none of whose files is open.
func retiredRig(t *testing.T) (*rig, *renameHook, *Log) {
	hook := &renameHook{FS: vfs.NewMem()}
	r := newRig(t, hook)
	r.cfg.SegmentBytes, r.cfg.IndexIntervalBytes, r.tail = 900, 150, -1
	l := r.open().create()
	r.fill(l, 24)
	l.UpdateHighWatermark(l.LogEndOffset())
	if len(l.SegmentSizes()) < 3 {
		t.Fatalf("%d segments", len(l.SegmentSizes()))
	}
	return r, hook, l
}

func nothing(int) error { return nil }

// touch opens the files of a segment as a reader does, and gives them back.
func touch(t *testing.T, l *Log, s *segment) {
	t.Helper()
	for _, open := range []func(*segment) (*handle, error){l.openLog, l.openIndex, l.openTimes} {
		h, err := open(s)
		if err != nil {
			t.Fatal(err)
		}
		h.unpin()
	}
}

// TestLateReadersLeaveNoHandleOfADeletedLog: the files of a deleted log stay for
// file.delete.delay.ms, and whoever still looks at them must not leave one open: nobody
// would close it, and its blocks would stay taken.
func TestLateReadersLeaveNoHandleOfADeletedLog(t *testing.T) {
	r, hook, l := retiredRig(t)
	segs := l.view.Load().segs
	c, err := l.BeginCleaning(1 << 12)
	if err != nil {
		t.Fatal(err)
	}
	defer c.End()
	hook.before = func(_, to string) error {
		if strings.HasSuffix(to, "-delete") {
			touch(t, l, segs[0]) // after the files were dropped, before the folder has its name
		}
		return nil
	}
	if err := r.m.Delete(testTP); err != nil {
		t.Fatal(err)
	}
	if n := r.m.env.files.openCount(); n != 0 {
		t.Fatalf("%d files are open after the deletion", n)
	}
	if d, err := l.verify(segs[1].base, nothing); d != nil || err != nil {
		t.Fatalf("verify: %v, %v", d, err)
	}
	_ = c.Scan(1, 0, func([]byte, []batch.Info) error { return nil })
	touch(t, l, segs[1])
	r.clock.Advance(time.Hour)
	r.m.RunTasks()
	if n := r.m.env.files.openCount(); n != 0 {
		t.Fatalf("%d files of a deleted log are open", n)
	}
}

// TestLateReadersLeaveNoHandleOfASegment: the same when retention, a truncation or
// compaction takes a segment away.
func TestLateReadersLeaveNoHandleOfASegment(t *testing.T) {
	_, _, replica := retiredRig(t)
	for what, remove := range map[string]func(l *Log) error{
		"mending": func(l *Log) error {
			seg := l.SegmentSizes()[0]
			flip(t, l.env.fs, l.path(seg.BaseOffset, suffixLog), seg.Size-1)
			d, err := l.verify(seg.BaseOffset, nothing)
			if err != nil {
				return err
			}
			_, err = l.Mend(*d, func(offset int64) ([]byte, error) { return readAll(t, replica, offset, 300), nil })
			return err
		},
		"retention": func(l *Log) error {
			if _, err := l.AdvanceStart(l.view.Load().segs[1].base); err != nil {
				return err
			}
			_, err := l.DeleteOldSegments(0)
			return err
		},
		"truncation": func(l *Log) error { return l.TruncateFullyAndStartAt(1000) },
	} {
		t.Run(what, func(t *testing.T) {
			_, hook, l := retiredRig(t)
			first := l.view.Load().segs[0]
			name := l.path(first.base, suffixLog)
			var late *handle
			hook.before = func(from, _ string) error {
				if from == name {
					var err error
					if late, err = l.openLog(first); err != nil {
						t.Error(err)
					}
				}
				return nil
			}
			if err := remove(l); err != nil {
				t.Fatal(err)
			}
			if late == nil {
				t.Fatal("the segment was not taken away")
			}
			if first.log.cached() != nil {
				t.Fatal("the segment's file stays open")
			}
			b := make([]byte, 1)
			if err := readFull(late, b, 0); err != nil {
				t.Fatalf("the reader that was there before: %v", err)
			}
			late.unpin()
		})
	}
}

// TestLogThatCouldNotBeDeletedKeepsItsFiles: after a failure that passes it serves on, and
// its files stay open between uses as before.
func TestLogThatCouldNotBeDeletedKeepsItsFiles(t *testing.T) {
	r, hook, l := retiredRig(t)
	hook.before = func(_, to string) error {
		if strings.HasSuffix(to, "-delete") {
			return syscall.ENOSPC
		}
		return nil
	}
	if err := r.m.Delete(testTP); err == nil {
		t.Fatal("deleted")
	}
	s := l.view.Load().segs[0]
	touch(t, l, s)
	h := s.log.cached()
	if h == nil {
		t.Fatal("the file was closed after its first use")
	}
	h.unpin()
	if _, err := l.Read(0, 1000, l.LogEndOffset(), true); err != nil {
		t.Fatal(err)
	}
}

// TestDamageOfADeletedLogIsForgotten: nobody can mend it, and nobody will read it.
func TestDamageOfADeletedLogIsForgotten(t *testing.T) {
	for _, cleared := range []bool{false, true} {
		r, l, _, _, out := scrubRig(t)
		seg := l.SegmentSizes()[1]
		flip(t, r.fs, l.path(seg.BaseOffset, suffixLog), seg.Size-1)
		s := r.m.NewScrubber(quick, nil)
		s.round(context.Background(), false)
		if n := len(s.Stats().Damaged); n != 1 {
			t.Fatalf("%d damaged segments", n)
		}
		if err := r.m.Delete(testTP); err != nil {
			t.Fatal(err)
		}
		if cleared {
			r.clock.Advance(time.Hour)
			r.m.RunTasks()
		}
		out.Reset()
		r.clock.Advance(scrubRetry)
		s.again(context.Background())
		if d := s.Stats().Damaged; len(d) != 0 || out.Len() != 0 {
			t.Fatalf("files removed %v: still known are %v\n%s", cleared, d, out)
		}
	}
}

// TestDamageOfALogThatCouldNotBeDeletedStaysKnown: while a deletion is under way nothing
// is said of its segments, and it may fail.
func TestDamageOfALogThatCouldNotBeDeletedStaysKnown(t *testing.T) {
	r, hook, l := retiredRig(t)
	seg := l.SegmentSizes()[1]
	flip(t, r.fs, l.path(seg.BaseOffset, suffixLog), seg.Size-1)
	s := r.m.NewScrubber(quick, nil)
	s.round(context.Background(), false)
	r.clock.Advance(scrubRetry)
	hook.before = func(_, to string) error {
		if strings.HasSuffix(to, "-delete") {
			s.again(context.Background())
			return syscall.ENOSPC
		}
		return nil
	}
	if err := r.m.Delete(testTP); err == nil {
		t.Fatal("deleted")
	}
	if st := s.Stats(); len(st.Damaged) != 1 || st.Found != 1 {
		t.Fatalf("%+v", st)
	}
}
