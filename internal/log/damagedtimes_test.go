package log

import (
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/vfs"
)

// damagedBeforeTheNewest is a log, opened after a clean stop, of whose first segment the
// one but last batch has a header that is none, so that nothing can be read behind it.
func damagedBeforeTheNewest(t *testing.T) (*rig, []record) {
	t.Helper()
	r := newRig(t, vfs.NewMem())
	r.cfg.SegmentBytes, r.cfg.IndexIntervalBytes = 1000, 1<<20
	r.open()
	l := r.create()
	want := r.fill(l, 40)
	l.UpdateHighWatermark(l.LogEndOffset())
	if n := len(l.SegmentSizes()); n < 4 {
		t.Fatalf("%d segments", n)
	}
	name := l.path(0, suffixLog)
	r.close()
	data, err := vfs.ReadFile(r.fs, name)
	if err != nil {
		t.Fatal(err)
	}
	infos := mustInfos(t, data)
	const magic = 16
	overwrite(t, r.fs, name, int64(infos[len(infos)-2].Pos+magic), 99)
	r.open()
	return r, want
}

// TestRetentionBesideDamage: a time index entry that cannot be compared with its batch
// counts; bytes that nobody can read must not keep all that lies behind them for ever.
func TestRetentionBesideDamage(t *testing.T) {
	r, want := damagedBeforeTheNewest(t)
	l := r.log()
	cfg := r.cfg
	cfg.RetentionMs = 1000
	l.Reconfigure(cfg)
	if freed, err := l.DeleteOldSegments(want[0].ts); err != nil || freed != 0 {
		t.Fatalf("freed %d bytes that are young, %v", freed, err)
	}
	r.clock.Advance(time.Hour)
	if _, err := l.DeleteOldSegments(r.clock.Now().UnixMilli()); err != nil || l.LogStartOffset() != int64(len(want)) {
		t.Errorf("the log starts at %d of %d, %v", l.LogStartOffset(), len(want), err)
	}
}

// TestSearchByTimeBesideDamage: a time whose record is in another segment is found.
func TestSearchByTimeBesideDamage(t *testing.T) {
	r, want := damagedBeforeTheNewest(t)
	l := r.log()
	next := l.SegmentSizes()[1].BaseOffset
	for _, w := range want[next:] {
		if got, err := l.OffsetForTimestamp(w.ts); err != nil || got.Offset != w.offset {
			t.Fatalf("time %d is at %+v, want %d, %v", w.ts, got, w.offset, err)
		}
	}
	last := want[len(want)-1]
	if got, err := l.OffsetForTimestamp(MaxTimestamp); err != nil || got.Offset != last.offset {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestDamageWithoutATimeIndexEntry: then the file's time is the segment's.
func TestDamageWithoutATimeIndexEntry(t *testing.T) {
	r, want := damagedBeforeTheNewest(t)
	l := r.log()
	overwrite(t, r.fs, l.path(0, suffixLog), 16, 99)
	f, err := r.fs.OpenFile(l.path(0, suffixTimeIndex), openExisting, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(0); err != nil {
		t.Fatal(err)
	}
	f.Close()
	now := r.clock.Now().UnixMilli()
	if ts, err := l.LargestTimestamp(0); err != nil || ts != now {
		t.Errorf("largest timestamp %d, want the file's %d, %v", ts, now, err)
	}
	if got, err := l.OffsetForTimestamp(want[len(want)-1].ts); err != nil || got.Offset != want[len(want)-1].offset {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestTruncationBehindDamage: the timestamps of the segment that is cut are read again as
// far as it can be read, which is no failure of the directory.
func TestTruncationBehindDamage(t *testing.T) {
	r := newRig(t, vfs.NewMem())
	r.cfg.SegmentBytes, r.cfg.IndexIntervalBytes = 1<<20, 1<<20
	r.open()
	l := r.create()
	for i := range 10 {
		r.mustAppend(l, int64(1000+i), valueOf(i))
	}
	name := l.path(0, suffixLog)
	data, err := vfs.ReadFile(r.fs, name)
	if err != nil {
		t.Fatal(err)
	}
	overwrite(t, r.fs, name, int64(mustInfos(t, data)[3].Pos+16), 99)
	if _, err := l.TruncateTo(8); err != nil || l.LogEndOffset() != 8 || len(r.offline) != 0 {
		t.Fatalf("the log ends at %d, offline %v, %v", l.LogEndOffset(), r.offline, err)
	}
	r.mustAppend(l, 2000, "more")
	if got := records(t, l, 8, 9, 1000); len(got) != 1 || got[0].value != "more" {
		t.Errorf("%+v", got)
	}
}
