package cleaner

import (
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/log"
	"github.com/gregorhq/gregor/internal/vfs"
)

// TestCompactionKeepsTheFilesTime: records without a timestamp expire by the time of their
// segment's file, which is that of the last one that it was made of, however often they
// are compacted.
func TestCompactionKeepsTheFilesTime(t *testing.T) {
	r := newRig(t, vfs.NewMem())
	r.cfg.CleanupDelete, r.cfg.RetentionMs = true, 3600_000
	r.open()
	put := func(k, v string) {
		t.Helper()
		b := batch.NewBuilder(0)
		b.Append(log.NoTimestamp, []byte(k), []byte(v), nil)
		r.add(r.l, b, batch.OriginClient)
	}
	put("a", "1")
	put("b", "1")
	r.roll()
	r.clock.Advance(time.Minute)
	put("a", "2")
	written := r.nowMs()
	r.clock.Advance(30 * time.Minute)
	r.clean()
	r.wantDump("1-1[1:b=1] 2-2[2:a=2]")
	// Nor does a restart take it for younger.
	for _, restart := range []func(){func() {}, func() { r.reopen() }} {
		restart()
		if ts, err := r.l.LargestTimestamp(0); err != nil || ts != written {
			t.Errorf("largest timestamp %d, want that of the last write %d, %v", ts, written, err)
		}
	}
	r.l.UpdateHighWatermark(3)
	r.clock.Advance(time.UnixMilli(written + r.cfg.RetentionMs + 1).Sub(r.clock.Now()))
	if _, err := r.l.DeleteOldSegments(r.nowMs()); err != nil || r.l.LogStartOffset() != 3 {
		t.Errorf("the log starts at %d, %v", r.l.LogStartOffset(), err)
	}
}
