package log

import (
	"errors"
	"testing"

	"github.com/gregorhq/gregor/internal/vfs"
)

// TestTruncationBelowTheStartOutlivesAKill: what is appended after a truncation below the
// log start is acknowledged, so that no checkpoint may say that the log begins behind it.
// The same goes for the high watermark.
func TestTruncationBelowTheStartOutlivesAKill(t *testing.T) {
	for name, c := range map[string]struct {
		start    int64 // of the log before, with the segments below
		truncate func(l *Log) error
	}{
		"to an offset":                     {8, func(l *Log) error { _, err := l.TruncateTo(4); return err }},
		"fully":                            {8, func(l *Log) error { return l.TruncateFullyAndStartAt(4) }},
		"to an offset before all segments": {10, func(l *Log) error { _, err := l.TruncateTo(4); return err }},
	} {
		t.Run(name, func(t *testing.T) {
			mem := vfs.NewMem()
			r := newRig(t, mem).open()
			l := r.create()
			for i := range 10 {
				r.mustAppend(l, int64(i), valueOf(i))
			}
			l.UpdateHighWatermark(10)
			if _, err := l.AdvanceStart(c.start); err != nil {
				t.Fatal(err)
			}
			if c.start == 10 {
				if err := l.Roll(); err != nil {
					t.Fatal(err)
				}
				r.mustAppend(l, 10, "more")
				if _, err := l.DeleteOldSegments(r.clock.Now().UnixMilli()); err != nil {
					t.Fatal(err)
				}
			}
			if err := errors.Join(r.m.CheckpointLogStartOffsets(), r.m.CheckpointHighWatermarks(), c.truncate(l)); err != nil {
				t.Fatal(err)
			}
			// The log start is never behind the end, or the log would begin there.
			if l := newRig(t, mem.Crash(nil, vfs.ProcessKill)).open().log(); l.LogStartOffset() != 4 || l.LogEndOffset() != 4 {
				t.Errorf("after a kill at once the log has [%d, %d)", l.LogStartOffset(), l.LogEndOffset())
			}
			for i := range 3 {
				r.mustAppend(l, int64(20+i), "new")
			}
			if err := errors.Join(l.FlushTo(7), r.m.CheckpointHighWatermarks()); err != nil {
				t.Fatal(err)
			}
			l = r.reopen().log()
			if l.LogStartOffset() != 4 || l.LogEndOffset() != 7 || l.HighWatermark() != 4 {
				t.Fatalf("the log has [%d, %d), high watermark %d", l.LogStartOffset(), l.LogEndOffset(), l.HighWatermark())
			}
			for i, rec := range records(t, l, 4, 7, 1000) {
				if rec.offset != int64(4+i) || rec.value != "new" {
					t.Errorf("record %+v", rec)
				}
			}
		})
	}
}
