package cleaner

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log"
	"github.com/gregorhq/gregor/internal/vfs"
)

func TestLastRecordOfEachKeyStays(t *testing.T) {
	for _, codec := range []batch.Codec{batch.CodecNone, batch.CodecGzip, batch.CodecSnappy, batch.CodecLZ4, batch.CodecZstd} {
		r := newRig(t, vfs.NewMem()).open()
		with := func(b *batch.Builder) { b.Codec = codec }
		r.put(r.l, with, "a=1", "b=1", "c=1")
		r.put(r.l, with, "b=2", "d=1")
		r.put(r.l, with, "a=2", "e=1")
		r.clean()
		r.wantDump("0-2[2:c=1] 3-4[3:b=2 4:d=1] 5-6[5:a=2 6:e=1]")
		data, _, _ := batches(r.l, 0, 7, 1<<20)
		infos, _ := batch.Infos(data)
		for i := range infos {
			if infos[i].Codec != codec || infos[i].LeaderEpoch != 3 || infos[i].TimestampType != batch.CreateTime {
				t.Errorf("%s: batch %d has codec %s and epoch %d", codec, i, infos[i].Codec, infos[i].LeaderEpoch)
			}
		}
		r.reopen()
		r.wantDump("0-2[2:c=1] 3-4[3:b=2 4:d=1] 5-6[5:a=2 6:e=1]")
	}
}

// TestTombstonesGoAfterTheirHorizon (L7): the first round sets the horizon in the
// batch, and only a round after it removes the tombstone.
func TestTombstonesGoAfterTheirHorizon(t *testing.T) {
	r := newRig(t, vfs.NewMem()).open()
	r.put(r.l, nil, "a=1", "b=1")
	r.put(r.l, nil, "a")
	r.put(r.l, nil, "c=1")
	r.clean()
	r.wantDump("0-1[1:b=1] 2-2h[2:a] 3-3[3:c=1]")
	r.clock.Advance(59 * time.Minute)
	r.put(r.l, nil, "c=2")
	r.clean()
	r.wantDump("0-1[1:b=1] 2-2h[2:a] 4-4[4:c=2]")
	r.clock.Advance(time.Minute + time.Millisecond)
	r.put(r.l, nil, "c=3")
	r.clean()
	r.wantDump("0-1[1:b=1] 5-5[5:c=3]")
}

// TestMarkersGoAfterTheirTransaction (L7): records of an aborted transaction go at
// once, its marker and that of a transaction whose records were superseded two
// rounds and a horizon later; the transaction index follows.
func TestMarkersGoAfterTheirTransaction(t *testing.T) {
	r := newRig(t, vfs.NewMem()).open()
	r.put(r.l, by(1, 0, 0, true), "a=aborted")
	r.end(r.l, 1, 0, false)
	r.put(r.l, by(2, 0, 0, true), "a=committed")
	r.end(r.l, 2, 0, true)
	r.put(r.l, by(1, 0, 1, true), "z=1")
	r.put(r.l, by(2, 0, 1, true), "z=2")
	r.end(r.l, 1, 0, true)
	r.end(r.l, 2, 0, true)
	r.put(r.l, nil, "a=2")
	r.clean()
	r.wantDump("1-1![1] 3-3![3] 4-4[] 5-5[5:z=2] 6-6![6] 7-7![7] 8-8[8:a=2]")
	if txns, err := r.l.AbortedTxns(0, 8); err != nil || len(txns) != 1 || txns[0].ProducerID != 1 {
		t.Errorf("aborted transactions while the marker is not alone: %v %v", txns, err)
	}
	r.put(r.l, nil, "a=3")
	r.clean()
	r.wantDump("1-1h![1] 3-3h![3] 4-4[] 5-5[5:z=2] 6-6![6] 7-7![7] 9-9[9:a=3]")
	if txns, err := r.l.AbortedTxns(0, 8); err != nil || len(txns) != 0 {
		t.Errorf("aborted transactions without records: %v %v", txns, err)
	}
	r.put(r.l, nil, "a=4")
	r.clean()
	r.wantDump("1-1h![1] 3-3h![3] 4-4[] 5-5[5:z=2] 6-6![6] 7-7![7] 10-10[10:a=4]")
	r.clock.Advance(time.Hour)
	r.put(r.l, nil, "a=5")
	r.clean()
	r.wantDump("4-4[] 5-5[5:z=2] 6-6![6] 7-7![7] 11-11[11:a=5]")
}

// TestRemovedMarkerLeavesNoTransactionOpen (L7, T7): a producer snapshot from between a
// transaction's records and its marker goes before the marker does. A restart that began
// with it, because newer ones are lost, would find the transaction open, for ever.
func TestRemovedMarkerLeavesNoTransactionOpen(t *testing.T) {
	for name, begin := range map[string]func(r *rig) error{
		"the recovery point is below the marker": func(r *rig) error { return r.m.CheckpointRecoveryPoints() },
		"the log begins below the marker": func(r *rig) error {
			_, err := r.l.AdvanceStart(1)
			r.m.DeleteOldSegments()
			return err
		},
	} {
		r := newRig(t, vfs.NewMem()).open()
		r.put(r.l, by(1, 0, 0, true), "a="+strings.Repeat("a", r.cfg.SegmentBytes-100))
		r.roll()
		if err := r.l.Flush(); err != nil {
			t.Fatal(err)
		}
		if err := begin(r); err != nil {
			t.Fatal(err)
		}
		r.end(r.l, 1, 0, true)
		r.put(r.l, by(1, 0, 1, false), "b="+strings.Repeat("b", r.cfg.SegmentBytes-200))
		for i := range 4 {
			r.put(r.l, nil, fmt.Sprintf("a=%d", i))
			r.clean()
			r.clock.Advance(2 * time.Hour)
		}
		if got := r.dump(r.l); strings.Contains(got, "1-1") {
			t.Fatalf("%s: the marker is there: %s", name, got)
		}
		r.dropSnapshotsAbove(1)
		r.reopen()
		r.l.UpdateHighWatermark(r.l.LogEndOffset())
		if got := r.l.LastStableOffset(); got != r.l.LogEndOffset() {
			t.Errorf("%s: the last stable offset is %d of %d", name, got, r.l.LogEndOffset())
		}
	}
}

// TestOpenTransactionIsNotCompacted: nothing at or above the last stable offset is.
func TestOpenTransactionIsNotCompacted(t *testing.T) {
	r := newRig(t, vfs.NewMem()).open()
	r.put(r.l, nil, "a=1")
	r.put(r.l, nil, "a=2")
	r.roll()
	r.put(r.l, by(1, 0, 0, true), "a=open")
	r.put(r.l, nil, "b=1")
	r.roll()
	r.put(r.l, nil, "b=2")
	r.clean()
	r.wantDump("1-1[1:a=2] 2-2[2:a=open] 3-3[3:b=1] 4-4[4:b=2]")
	r.end(r.l, 1, 0, false)
	r.clean()
	r.wantDump("1-1[1:a=2] 2-2[] 4-4[4:b=2] 5-5![5]")
}

// TestHighWatermarkBoundsCompaction: a record that may be lost must not remove one
// that is safe.
func TestHighWatermarkBoundsCompaction(t *testing.T) {
	r := newRig(t, vfs.NewMem()).open()
	r.put(r.l, nil, "a=1")
	r.roll()
	b := batch.NewBuilder(0)
	b.Append(1, []byte("a"), []byte("2"), nil)
	data, _ := b.Build(nil)
	infos, _ := batch.Infos(data)
	if _, err := r.l.Append(&batch.Appended{Data: data, Infos: infos}, 3, batch.OriginClient, 1); err != nil {
		t.Fatal(err)
	}
	r.clean()
	r.wantDump("0-0[0:a=1] 1-1[1:a=2]")
}

// TestProducersGoOnAfterCompaction (L7, T1): the last batch of a producer stays as a
// header, so that a restart without snapshots knows its sequence number.
func TestProducersGoOnAfterCompaction(t *testing.T) {
	r := newRig(t, vfs.NewMem()).open()
	r.put(r.l, by(7, 2, 0, false), "a=1", "b=1")
	r.put(r.l, by(7, 2, 2, false), "a=2", "b=2")
	r.put(r.l, nil, "a=3", "b=3")
	r.clean()
	r.wantDump("2-3[] 4-5[4:a=3 5:b=3]")
	before, _ := r.l.ActiveProducers()
	r.dropSnapshots()
	r.reopen()
	after, err := r.l.ActiveProducers()
	if err != nil || len(after) != 1 || after[0] != before[0] || after[0].LastSequence != 3 {
		t.Errorf("producers are %v, were %v: %v", after, before, err)
	}
	r.put(r.l, by(7, 2, 4, false), "a=4")
	r.put(r.l, nil, "a=5")
	r.clean()
	r.wantDump("4-5[5:b=3] 6-6[] 7-7[7:a=5]")
}

// dropSnapshots makes the next start read everything.
func (r *rig) dropSnapshots() { r.dropSnapshotsAbove(-1) }

func (r *rig) dropSnapshotsAbove(offset int64) {
	r.t.Helper()
	entries, err := r.fs.ReadDir(r.l.Folder())
	if err != nil {
		r.t.Fatal(err)
	}
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".snapshot"); ok && name > fmt.Sprintf("%020d", offset) {
			if err := r.fs.Remove(r.l.Folder() + "/" + e.Name()); err != nil {
				r.t.Fatal(err)
			}
		}
	}
	if err := r.fs.Remove(testDir + "/recovery-point-offset-checkpoint"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.t.Fatal(err)
	}
}

// TestReaderReachesTheEndOfACompactedLog (L7): the last batch of a round stays as a
// header, so that a reader below the last stable offset always gets something that
// takes it there, also when that is a marker.
func TestReaderReachesTheEndOfACompactedLog(t *testing.T) {
	reaches := func(r *rig, when string) {
		t.Helper()
		for from := int64(0); from < r.l.LogEndOffset(); from++ {
			if _, next, err := batches(r.l, from, r.l.LastStableOffset(), 1); err != nil || next != r.l.LogEndOffset() {
				t.Fatalf("%s: a reader at %d comes to %d of %d: %v; %s", when, from, next, r.l.LogEndOffset(), err, r.dump(r.l))
			}
		}
	}
	r := newRig(t, vfs.NewMem()).open()
	r.put(r.l, nil, "a=1")
	r.put(r.l, by(1, 0, 0, true), "a=2")
	r.end(r.l, 1, 0, false)
	for i := range 4 {
		r.clean()
		r.clock.Advance(2 * time.Hour)
		reaches(r, fmt.Sprintf("round %d", i))
		r.l.Reconfigure(r.cfg)
		if i == 1 {
			r.put(r.l, nil, "b=1")
			r.roll()
			r.put(r.l, nil, "b")
		}
	}
	// Nothing of the last batch may stay, and no other segment is joined with its own.
	r = newRig(t, vfs.NewMem()).open()
	r.put(r.l, nil, "a=1")
	b := batch.NewBuilder(0)
	b.Append(1, nil, []byte("no key"), nil)
	r.add(r.l, b, batch.OriginClient)
	r.clean()
	reaches(r, "a record without a key")
}

// TestLastBatchOfARoundStays (L7) also when a round comes over it again, because the
// clean point was lost, or when nothing in it may stay.
func TestLastBatchOfARoundStays(t *testing.T) {
	r := newRig(t, vfs.NewMem()).open()
	r.put(r.l, nil, "a=1")
	r.put(r.l, nil, "b")
	r.clean()
	r.wantDump("0-0[0:a=1] 1-1h[1:b]")
	r.clock.Advance(2 * time.Hour)
	r.m.Abort()
	if err := r.fs.Remove(testDir + "/cleaner-offset-checkpoint"); err != nil {
		t.Fatal(err)
	}
	r.open()
	r.l.UpdateHighWatermark(2)
	r.rounds()
	r.wantDump("0-0[0:a=1] 1-1[]")
	b := batch.NewBuilder(0)
	b.Append(1, nil, []byte("no key"), nil)
	r.add(r.l, b, batch.OriginClient)
	r.clean()
	r.wantDump("0-0[0:a=1] 2-2[]")
	if x := newReader(r.l); x.finish(1) != nil || x.at != 3 {
		t.Errorf("a reader comes to %d of 3", x.at)
	}
}

// TestMarkerOfABumpedEpochStays: the state has no batch of that epoch, so the marker
// is what a restart knows it by.
func TestMarkerOfABumpedEpochStays(t *testing.T) {
	r := newRig(t, vfs.NewMem()).open()
	r.put(r.l, by(1, 0, 0, true), "a=1")
	r.end(r.l, 1, 1, false)
	for i := range 3 {
		r.put(r.l, nil, fmt.Sprintf("b=%d", i))
		r.clean()
		r.clock.Advance(2 * time.Hour)
	}
	r.wantDump("1-1h![1] 4-4[4:b=2]")
	before, _ := r.l.ActiveProducers()
	r.dropSnapshots()
	r.reopen()
	if after, err := r.l.ActiveProducers(); err != nil || len(after) != 1 || after[0] != before[0] || after[0].Epoch != 1 {
		t.Errorf("producers are %v, were %v: %v", after, before, err)
	}
}

// TestFullMapCleansInParts: a map of two keys still brings a log of many to its end.
func TestFullMapCleansInParts(t *testing.T) {
	r := newRig(t, vfs.NewMem())
	r.conf.DedupeBufferSize = 3 * slotSize
	r.conf.LoadFactor = 0.7
	r.open()
	for _, v := range []string{"1", "2"} {
		for _, k := range []string{"a", "b", "c", "d", "e"} {
			r.put(r.l, nil, k+"="+v, k+"="+v+v)
		}
	}
	r.roll()
	if n := r.rounds(); n < 4 {
		t.Errorf("%d rounds for ten keys with a map of two", n)
	}
	r.wantDump("10-11[11:a=22] 12-13[13:b=22] 14-15[15:c=22] 16-17[17:d=22] 18-19[19:e=22]")
}

// TestSmallSegmentsBecomeOne, no larger than segment.bytes.
func TestSmallSegmentsBecomeOne(t *testing.T) {
	r := newRig(t, vfs.NewMem()).open()
	for i := range 10 {
		r.put(r.l, nil, string(rune('a'+i))+"="+strings.Repeat("x", 300))
		r.roll()
	}
	r.rounds()
	segs := r.l.SegmentSizes()
	if len(segs) != 3 || segs[0].Size > int64(r.cfg.SegmentBytes) || segs[2].BaseOffset != 10 {
		t.Errorf("segments %+v", segs)
	}
	if data, next, err := batches(r.l, 0, 10, 100); err != nil || next != 10 || len(data) < 3000 {
		t.Errorf("read %d bytes up to %d: %v", len(data), next, err)
	}
}

func TestWhatIsDue(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(*rig)
		want int
	}{
		{"dirty", func(*rig) {}, 1},
		{"not compacted", func(r *rig) { r.cfg.CleanupCompact = false }, 0},
		{"ratio not reached", func(r *rig) { r.cfg.MinCleanableDirtyRatio = 1 }, 0},
		{"younger than min.compaction.lag.ms", func(r *rig) { r.cfg.MinCompactionLagMs = 120_000 }, 0},
		{"older than min.compaction.lag.ms", func(r *rig) { r.cfg.MinCompactionLagMs = 50_000 }, 1},
		{"older than max.compaction.lag.ms", func(r *rig) { r.cfg.MinCleanableDirtyRatio, r.cfg.MaxCompactionLagMs = 1, 50_000 }, 1},
		{"younger than max.compaction.lag.ms", func(r *rig) { r.cfg.MinCleanableDirtyRatio, r.cfg.MaxCompactionLagMs = 1, 70_000 }, 0},
	} {
		r := newRig(t, vfs.NewMem()).open()
		r.put(r.l, nil, "a=1")
		r.put(r.l, nil, "a=2")
		r.roll()
		r.clock.Advance(time.Minute)
		c.set(r)
		r.l.Reconfigure(r.cfg)
		if n := r.rounds(); n != c.want {
			t.Errorf("%s: %d rounds, want %d", c.name, n, c.want)
		}
	}
}

// TestDirtiestLogComesFirst, and an idle log is not loaded to find out that it is
// idle.
func TestDirtiestLogComesFirst(t *testing.T) {
	r := newRig(t, vfs.NewMem()).open()
	other := r.create(kafka.TopicPartition{Topic: "u", Partition: 1})
	for _, l := range []*log.Log{r.l, other} {
		r.put(l, nil, "a=1", "b=1", "c=1")
		if err := l.Roll(); err != nil {
			t.Fatal(err)
		}
	}
	r.rounds()
	r.put(r.l, nil, "b=2")
	r.roll()
	r.put(other, nil, "b=2", "c=2", "d=2", "e=2")
	if err := other.Roll(); err != nil {
		t.Fatal(err)
	}
	todo, ok := r.c.grab(0)
	if !ok || todo.log != other {
		t.Errorf("grabbed %v", todo.log)
	}
	if again, ok := r.c.grab(0); !ok || again.log != r.l {
		t.Errorf("the second goroutine grabbed %v", again.log)
	}
}

// TestUncleanablePartitionDoesNotStopOthers (L8): a damaged log is reported, others
// are compacted, and it is taken up again without a restart once it is whole.
func TestUncleanablePartitionDoesNotStopOthers(t *testing.T) {
	r := newRig(t, vfs.NewMem()).open()
	other := r.create(kafka.TopicPartition{Topic: "u", Partition: 1})
	r.put(r.l, nil, "a=1")
	r.put(r.l, nil, "a=2")
	r.roll()
	name := r.l.Folder() + "/00000000000000000000.log"
	r.flip(name, 70)
	r.put(other, nil, "a=1")
	r.put(other, nil, "a=2")
	if err := other.Roll(); err != nil {
		t.Fatal(err)
	}
	for r.c.RunOnce(context.Background(), 0) {
	}
	if got := r.dump(other); got != "1-1[1:a=2]" {
		t.Errorf("the other log is %s", got)
	}
	u := r.c.Stats().Uncleanable[testDir]
	if err := u.Partitions[testTP]; !errors.Is(err, kafka.CorruptMessage) || u.Bytes == 0 || !strings.Contains(err.Error(), name) {
		t.Errorf("uncleanable: %+v", u)
	}
	if len(r.offline) != 0 {
		t.Errorf("offline: %v", r.offline)
	}
	r.flip(name, 70)
	r.clock.Advance(2 * time.Minute)
	r.rounds()
	r.wantDump("1-1[1:a=2]")
	if len(r.c.Stats().Uncleanable) != 0 {
		t.Errorf("still uncleanable: %+v", r.c.Stats())
	}
}

// flip changes one byte of a file, and the next time changes it back.
func (r *rig) flip(name string, at int64) {
	r.t.Helper()
	f, err := r.fs.OpenFile(name, 2, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		r.t.Fatal(err)
	}
	b[0] ^= 0x55
	if _, err := f.WriteAt(b, at); err != nil {
		r.t.Fatal(err)
	}
}

// TestFullDiskPassesAndFailedDiskDoesNot (L6, L5): without space the log stays as it
// was and is compacted later; a read or a sync that fails takes the directory
// offline.
func TestFullDiskPassesAndFailedDiskDoesNot(t *testing.T) {
	for _, c := range []struct {
		rule    vfs.Rule
		offline bool
	}{
		{vfs.Rule{Op: vfs.OpWrite, Path: "*.cleaned", Err: syscall.ENOSPC, Short: 7}, false},
		{vfs.Rule{Op: vfs.OpCreate, Path: "*.cleaned", Err: syscall.ENOSPC}, false},
		{vfs.Rule{Op: vfs.OpCreate, Path: "*.timeindex.cleaned", Err: syscall.EMFILE}, false},
		{vfs.Rule{Op: vfs.OpWrite, Path: "cleaner-offset-checkpoint.tmp", Err: syscall.ENOSPC}, false},
		{vfs.Rule{Op: vfs.OpWrite, Path: "*.cleaned", Err: syscall.EIO}, true},
		{vfs.Rule{Op: vfs.OpRead, Path: "*.log", Err: syscall.EIO}, true},
		{vfs.Rule{Op: vfs.OpSync, Path: "*.cleaned", Err: syscall.ENOSPC}, true},
		{vfs.Rule{Op: vfs.OpRename, Path: "*.swap", Err: syscall.EIO}, true},
		{vfs.Rule{Op: vfs.OpRename, Path: "*.deleted", Err: syscall.EIO}, true},
	} {
		mem := vfs.NewMem()
		fault := vfs.NewFault(mem)
		r := newRig(t, fault).open()
		r.put(r.l, nil, "a=1")
		r.put(r.l, nil, "a=2")
		r.roll()
		if err := r.l.Flush(); err != nil {
			t.Fatal(err)
		}
		fault.Add(c.rule)
		r.c.RunOnce(context.Background(), 0)
		if (len(r.offline) > 0) != c.offline {
			t.Errorf("%v of %s: offline %v", c.rule.Err, c.rule.Path, r.offline)
		}
		if u := r.c.Stats().Uncleanable; len(u) != 0 {
			t.Errorf("%v of %s counts as damage of the log: %+v", c.rule.Err, c.rule.Path, u)
		}
		if c.offline {
			fault.Clear()
			r.reopen()
		}
		r.clock.Advance(time.Hour)
		r.l.UpdateHighWatermark(r.l.LogEndOffset())
		r.rounds()
		r.wantDump("1-1[1:a=2]")
		entries, err := mem.ReadDir(r.l.Folder())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ".cleaned") || strings.HasSuffix(e.Name(), ".swap") {
				t.Errorf("%v of %s: %s is left", c.rule.Err, c.rule.Path, e.Name())
			}
		}
	}
}

// TestCleanPointFollowsTheLog: a truncation lowers it durably, a deletion removes it,
// so that a later log of that name is compacted from its start.
func TestCleanPointFollowsTheLog(t *testing.T) {
	r := newRig(t, vfs.NewMem()).open()
	r.put(r.l, nil, "a=1")
	r.put(r.l, nil, "a=2")
	r.put(r.l, nil, "b=1")
	r.clean()
	point := func() string {
		data, err := vfs.ReadFile(r.fs, testDir+"/cleaner-offset-checkpoint")
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	if got := point(); got != "0\n1\nt 0 3\n" {
		t.Errorf("after a round %q", got)
	}
	r.reopen()
	if p, ok := r.l.CleanPoint(); !ok || p != 3 {
		t.Errorf("after a restart %d %v", p, ok)
	}
	if _, err := r.l.TruncateTo(2); err != nil {
		t.Fatal(err)
	}
	if got := point(); got != "0\n1\nt 0 2\n" {
		t.Errorf("after a truncation %q", got)
	}
	if err := r.l.TruncateFullyAndStartAt(1); err != nil {
		t.Fatal(err)
	}
	if got := point(); got != "0\n1\nt 0 1\n" {
		t.Errorf("after it began again %q", got)
	}
	if err := r.m.Delete(testTP); err != nil {
		t.Fatal(err)
	}
	if got := point(); got != "0\n0\n" {
		t.Errorf("after a deletion %q", got)
	}
}

// TestCleanPointOfALostFolderIsForgotten at the next start.
func TestCleanPointOfALostFolderIsForgotten(t *testing.T) {
	r := newRig(t, vfs.NewMem()).open()
	r.m.Abort()
	if err := vfs.WriteFileAtomic(r.fs, testDir+"/cleaner-offset-checkpoint", []byte("0\n2\nt 0 0\nu 1 5\n")); err != nil {
		t.Fatal(err)
	}
	r.open()
	if p, ok := r.l.CleanPoint(); !ok || p != 0 {
		t.Errorf("the log that is there has %d %v", p, ok)
	}
	if p, ok := r.create(kafka.TopicPartition{Topic: "u", Partition: 1}).CleanPoint(); ok {
		t.Errorf("the new log has %d", p)
	}
}

// TestRefilledSegmentIsNotReplaced: a segment that was cut and written again under a
// round has the same place in the list, but other records.
func TestRefilledSegmentIsNotReplaced(t *testing.T) {
	fault := vfs.NewFault(vfs.NewMem())
	r := newRig(t, fault)
	r.cfg.SegmentBytes = 150
	r.open()
	r.put(r.l, nil, "a=1")
	r.put(r.l, nil, "a=2")
	r.roll()
	fault.Add(vfs.Rule{Op: vfs.OpSync, Path: "*.log.cleaned", Before: func(vfs.Op, string) {
		if _, err := r.l.TruncateTo(1); err != nil {
			t.Error(err)
		}
		r.put(r.l, nil, "z=1")
		r.roll()
	}})
	r.c.RunOnce(context.Background(), 0)
	r.wantDump("0-0[0:a=1] 1-1[1:z=1]")
}

// TestTransactionIndexIsReadOfOneState: a segment that is replaced between a look at
// the list and the opening of its index has its entries in another file.
func TestTransactionIndexIsReadOfOneState(t *testing.T) {
	fault := vfs.NewFault(vfs.NewMem())
	r := newRig(t, fault).open()
	r.put(r.l, by(1, 0, 0, true), "a=1")
	r.roll()
	r.end(r.l, 1, 0, false)
	r.roll()
	busy := false
	fault.Add(vfs.Rule{Op: vfs.OpOpen, Path: "*1.txnindex", Before: func(vfs.Op, string) {
		if !busy {
			busy = true
			r.rounds()
		}
	}})
	if txns, err := r.l.AbortedTxns(0, 2); err != nil || len(txns) != 1 || !busy {
		t.Errorf("aborted transactions %v: %v", txns, err)
	}
}

// TestSegmentIsRolledForItsCompaction: a record may not wait in the active segment
// for longer than max.compaction.lag.ms.
func TestSegmentIsRolledForItsCompaction(t *testing.T) {
	r := newRig(t, vfs.NewMem())
	r.cfg.MaxCompactionLagMs = 50_000
	r.open()
	r.put(r.l, nil, "a=1")
	r.put(r.l, nil, "a=2")
	r.clock.Advance(time.Minute)
	r.put(r.l, nil, "a=3")
	if r.rounds() != 1 {
		t.Errorf("segments %+v", r.l.SegmentSizes())
	}
}

// TestEmptySegmentDoesNotHoldUpRetention: compaction writes files that are young,
// but nothing in them is.
func TestEmptySegmentDoesNotHoldUpRetention(t *testing.T) {
	r := newRig(t, vfs.NewMem())
	r.cfg.SegmentBytes, r.cfg.CleanupDelete, r.cfg.RetentionMs = 150, true, 3600_000
	r.open()
	for _, kv := range []string{"a=1", "b=1", "a=2", "b=2", "c=1"} {
		r.put(r.l, nil, kv)
	}
	r.clock.Advance(2 * time.Hour)
	r.clean()
	if segs := r.l.SegmentSizes(); segs[0].Size != 0 {
		t.Fatalf("segments %+v", segs)
	}
	r.m.DeleteOldSegments()
	if got := r.l.LogStartOffset(); got != 5 {
		t.Errorf("the log starts at %d", got)
	}
}

// TestForeignLeftoversGo: a restart takes a .swap above a .cleaned for unfinished, so
// none may be left when a swap begins.
func TestForeignLeftoversGo(t *testing.T) {
	r := newRig(t, vfs.NewMem()).open()
	name := r.l.Folder() + "/00000000000000000001.log.cleaned"
	if err := vfs.WriteFileAtomic(r.fs, name, []byte("x")); err != nil {
		t.Fatal(err)
	}
	r.put(r.l, nil, "a=1")
	r.put(r.l, nil, "a=2")
	r.clean()
	if there, err := vfs.Exists(r.fs, name); err != nil || there {
		t.Errorf("%s is there: %v %v", name, there, err)
	}
}

// TestStartIsDurableBeforeARound: what lies below the log start is not compacted, and
// must not come back as if it was: its tombstones would go without the values before.
func TestStartIsDurableBeforeARound(t *testing.T) {
	for _, mode := range []vfs.CrashMode{vfs.ProcessKill, vfs.PowerLoss} {
		for seed := range int64(10) {
			mem := vfs.NewMem()
			r := newRig(t, mem)
			r.cfg.CleanupDelete = true
			r.open()
			for _, kv := range []string{"a=1", "b=1", "c=1", "a", "d=1"} {
				r.put(r.l, nil, kv)
				if kv == "b=1" {
					r.roll()
				}
			}
			if _, err := r.l.AdvanceStart(4); err != nil {
				t.Fatal(err)
			}
			if mode == vfs.PowerLoss {
				r.m.DeleteOldSegments()
			}
			r.clean()
			x := newRig(t, mem.Crash(rand.New(rand.NewSource(seed)), mode))
			x.cfg = r.cfg
			x.open()
			segs := x.l.SegmentSizes()
			if start := x.l.LogStartOffset(); start != 4 || mode == vfs.PowerLoss && segs[0].BaseOffset != 2 {
				t.Errorf("crash %d, seed %d: the log starts at %d, its segments are %+v", mode, seed, start, segs)
			}
			x.m.Abort()
		}
	}
}

// TestMovedLogIsCompactedAnew: a copy in another directory may hold what compaction
// removed from the original after it was copied.
func TestMovedLogIsCompactedAnew(t *testing.T) {
	r := newRig(t, vfs.NewMem())
	r.dirs = []string{testDir, "/other"}
	r.open()
	r.put(r.l, nil, "a=1")
	copied, _, err := batches(r.l, 0, 1, 1000)
	if err != nil {
		t.Fatal(err)
	}
	r.put(r.l, nil, "a")
	r.clean()
	path, _ := r.l.Dir()
	to := r.m.Dirs()[0]
	if to.Path == path {
		to = r.m.Dirs()[1]
	}
	future, err := r.m.CreateFuture(testTP, to.ID)
	if err != nil {
		t.Fatal(err)
	}
	rest, _, err := batches(r.l, 1, 2, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, data := range [][]byte{copied, rest} {
		infos, _ := batch.Infos(data)
		if _, err := future.AppendVerbatim(data, infos, 0); err != nil {
			t.Fatal(err)
		}
	}
	if r.l, err = r.m.SwapFuture(testTP); err != nil {
		t.Fatal(err)
	}
	if p, ok := r.l.CleanPoint(); ok {
		t.Errorf("the moved log has the clean point %d", p)
	}
	r.clock.Advance(2 * time.Hour)
	r.put(r.l, nil, "b=1")
	r.clean()
	r.wantDump("2-2[2:b=1]")
}

// TestTruncationVoidsARound: what is left of a log is compacted by the next one.
func TestTruncationVoidsARound(t *testing.T) {
	for name, disturb := range map[string]func(r *rig) error{
		"truncate":   func(r *rig) error { _, err := r.l.TruncateTo(3); return err },
		"restart":    func(r *rig) error { return r.l.TruncateFullyAndStartAt(9) },
		"delete":     func(r *rig) error { return r.m.Delete(testTP) },
		"policy":     func(r *rig) error { c := r.cfg; c.CleanupCompact = false; r.l.Reconfigure(c); return nil },
		"log start":  func(r *rig) error { _, err := r.l.AdvanceStart(3); r.m.DeleteOldSegments(); return err },
		"new append": func(r *rig) error { r.put(r.l, nil, "c=1"); return nil },
	} {
		mem := vfs.NewMem()
		fault := vfs.NewFault(mem)
		r := newRig(t, fault).open()
		r.put(r.l, nil, "a=1")
		r.put(r.l, nil, "a=2")
		r.roll()
		r.put(r.l, nil, "b=1")
		r.put(r.l, nil, "b=2")
		r.roll()
		var failed error
		fault.Add(vfs.Rule{Op: vfs.OpSync, Path: "*.log.cleaned", Before: func(vfs.Op, string) { failed = disturb(r) }})
		r.c.RunOnce(context.Background(), 0)
		if failed != nil {
			t.Fatalf("%s: %v", name, failed)
		}
		f := r.c.failed[r.l]
		if ok := name == "new append"; ok != (f == nil) || !ok && name != "delete" && !errors.Is(f.err, log.ErrCleaningAborted) {
			t.Errorf("%s: the round ended with %+v", name, f)
		}
		if len(r.offline) > 0 {
			t.Errorf("%s: offline", name)
		}
		if name == "truncate" {
			r.wantDump("0-0[0:a=1] 1-1[1:a=2] 2-2[2:b=1]")
		}
	}
}
