package log

import (
	"errors"
	"testing"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/vfs"
)

// TestTruncationIntoDamage cuts a log behind bytes that are no batch, which nobody can
// look past after a restart: what lies between them and the cut cannot be found either, so
// it goes too, and the follower fetches it again. The directory has not failed.
func TestTruncationIntoDamage(t *testing.T) {
	for _, interval := range []int{1 << 20, 150} {
		r, want := damagedBeforeTheNewest(t)
		r.cfg.IndexIntervalBytes = interval
		l := r.log()
		l.Reconfigure(r.cfg)
		if interval == 150 {
			// Its entries end before the damage.
			if err := l.repair(l.view.Load().segs[0]); err != nil {
				t.Fatal(err)
			}
		}
		data, err := vfs.ReadFile(r.fs, l.path(0, suffixLog))
		if err != nil {
			t.Fatal(err)
		}
		end := l.SegmentSizes()[0].NextOffset
		if cut, err := l.TruncateTo(end - 1); err != nil || !cut || len(r.offline) != 0 {
			t.Fatalf("cut %v, offline %v, %v", cut, r.offline, err)
		}
		left := l.LogEndOffset()
		if left >= end-1 || left < end-6 {
			t.Fatalf("the log ends at %d of %d", left, end)
		}
		prefixOf(t, "cut", l, want)
		if size := l.SegmentSizes()[0].Size; data[size+16] != 99 {
			t.Errorf("%d bytes are left, the damage is not behind them", size)
		}
		r.mustAppend(l, 2000, "more")
		whole := append(want[:left:left], record{left, 2000, "more"})
		prefixOf(t, "appended", l, whole)
		r.reopen()
		if l = r.log(); l.LogEndOffset() != left+1 {
			t.Errorf("after a kill the log ends at %d, want %d", l.LogEndOffset(), left+1)
		}
		prefixOf(t, "killed", l, whole)
	}
}

// TestTruncationIntoDamageAtTheBeginning leaves an empty segment behind the others.
func TestTruncationIntoDamageAtTheBeginning(t *testing.T) {
	r, want := damagedBeforeTheNewest(t)
	l := r.log()
	s := l.SegmentSizes()[1]
	overwrite(t, r.fs, l.path(s.BaseOffset, suffixLog), 16, 99)
	if cut, err := l.TruncateTo(s.NextOffset - 1); err != nil || !cut || len(r.offline) != 0 || l.LogEndOffset() != s.BaseOffset {
		t.Fatalf("cut %v to %d, want %d, offline %v, %v", cut, l.LogEndOffset(), s.BaseOffset, r.offline, err)
	}
	for i, w := range want[s.BaseOffset:] {
		if info := r.mustAppend(l, w.ts, w.value); info.FirstOffset != s.BaseOffset+int64(i) {
			t.Fatalf("offset %d, want %d", info.FirstOffset, s.BaseOffset+int64(i))
		}
	}
	equalRecords(t, records(t, l, s.BaseOffset, int64(len(want)), 1000), want[s.BaseOffset:])
}

// TestTruncationThatCannotLook: no descriptor is left to find out where to cut. Nothing
// is changed, and the next try succeeds.
func TestTruncationThatCannotLook(t *testing.T) {
	fault := vfs.NewFault(vfs.NewMem())
	r := newRig(t, fault)
	r.cfg.SegmentBytes = 1000
	r.open()
	l := r.create()
	want := r.fill(l, 40)
	r.close()
	l = r.open().log()
	if err := l.Load(); err != nil {
		t.Fatal(err)
	}
	fault.Add(vfs.Rule{Op: vfs.OpOpen, Path: offsetName(0) + suffixLog, Err: errEMFILE, Times: -1})
	if _, err := l.TruncateTo(5); !errors.Is(err, kafka.KafkaStorageError) || len(r.offline) != 0 {
		t.Fatalf("offline %v, %v", r.offline, err)
	}
	fault.Clear()
	prefixOf(t, "not cut", l, want)
	if l.LogEndOffset() != int64(len(want)) {
		t.Fatalf("the log ends at %d", l.LogEndOffset())
	}
	if _, err := l.TruncateTo(5); err != nil || l.LogEndOffset() > 5 {
		t.Fatalf("the log ends at %d, %v", l.LogEndOffset(), err)
	}
	prefixOf(t, "cut", l, want)
}

// TestTruncationOfTheMetadataLogIntoDamage: a voter must not lose what it has
// acknowledged, so that nothing is cut and the damage is told.
func TestTruncationOfTheMetadataLogIntoDamage(t *testing.T) {
	r := newRig(t, vfs.NewMem())
	r.cfg.SegmentBytes, r.cfg.IndexIntervalBytes = 1000, 1<<20
	l := r.openMetadata()
	want := r.fill(l, 40)
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	r.m.Abort()
	l = r.openMetadata()
	name := l.path(0, suffixLog)
	data, err := vfs.ReadFile(r.fs, name)
	if err != nil {
		t.Fatal(err)
	}
	infos := mustInfos(t, data)
	overwrite(t, r.fs, name, int64(infos[len(infos)-2].Pos+16), 99)
	if _, err := l.TruncateTo(infos[len(infos)-1].LastOffset); !errors.Is(err, kafka.CorruptMessage) || len(r.offline) != 0 || l.LogEndOffset() != int64(len(want)) {
		t.Errorf("the log ends at %d, offline %v, %v", l.LogEndOffset(), r.offline, err)
	}
	r.m.Abort()
}
