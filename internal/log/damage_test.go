package log

import (
	"math/rand"
	"path"
	"testing"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/vfs"
)

// damageRig is a log of three segments, its files, and where each batch of the last
// segment lies.
func damageRig(t *testing.T, clean bool) (mem *vfs.Mem, cfgSegment int, want []record) {
	t.Helper()
	mem = vfs.NewMem()
	r := newRig(t, mem)
	r.cfg.SegmentBytes, r.cfg.IndexIntervalBytes = 900, 150
	r.open()
	l := r.create()
	want = r.fill(l, 24)
	if clean {
		r.close()
	} else {
		if err := l.Flush(); err != nil {
			t.Fatal(err)
		}
		if err := r.m.CheckpointRecoveryPoints(); err != nil {
			t.Fatal(err)
		}
		r.m.Abort()
	}
	return mem, r.cfg.SegmentBytes, want
}

func openDamaged(t *testing.T, mem *vfs.Mem, segmentBytes int) *Log {
	t.Helper()
	r := newRig(t, mem)
	r.cfg.SegmentBytes, r.cfg.IndexIntervalBytes = segmentBytes, 150
	r.open()
	return r.log()
}

func lastBase(t *testing.T, mem *vfs.Mem) int64 {
	t.Helper()
	entries, err := mem.ReadDir(path.Join(testDir, testTP.String()))
	if err != nil {
		t.Fatal(err)
	}
	last := int64(-1)
	for _, e := range entries {
		if base, suffix, ok := parseOffsetName(e.Name()); ok && suffix == suffixLog {
			last = base
		}
	}
	return last
}

// prefixOf says that got is the beginning of want up to offset end.
func prefixOf(t *testing.T, label string, l *Log, want []record) {
	t.Helper()
	end := l.LogEndOffset()
	got, err := tryRecords(t, l, 0, end, 400)
	if err != nil {
		t.Fatalf("%s: %v", label, err)
	}
	if int64(len(got)) != end || len(got) > len(want) {
		t.Fatalf("%s: %d records below the end %d, %d were written", label, len(got), end, len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("%s: record %+v, want %+v", label, got[i], want[i])
		}
	}
}

// TestEveryTruncationOfTheLastSegment cuts the last segment at each byte (L1): all
// whole batches before the cut stay.
func TestEveryTruncationOfTheLastSegment(t *testing.T) {
	mem, segmentBytes, want := damageRig(t, false)
	base := lastBase(t, mem)
	name := path.Join(testDir, testTP.String(), offsetName(base)+suffixLog)
	data, err := vfs.ReadFile(mem, name)
	if err != nil {
		t.Fatal(err)
	}
	infos := mustInfos(t, data)
	for size := range len(data) {
		m := mem.Crash(nil, vfs.ProcessKill)
		f, err := m.OpenFile(name, openExisting, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Truncate(int64(size)); err != nil {
			t.Fatal(err)
		}
		f.Close()
		next := base
		for i := range infos {
			if infos[i].End() <= size {
				next = infos[i].LastOffset + 1
			}
		}
		l := openDamaged(t, m, segmentBytes)
		prefixOf(t, "cut", l, want)
		if l.LogEndOffset() != next {
			t.Fatalf("cut at %d of %d: the log ends at %d, want %d", size, len(data), l.LogEndOffset(), next)
		}
	}
}

// TestEveryFlippedByteOfTheLastSegment changes each byte of the last segment. The
// log ends before the batch that holds it; only the fields outside of the checksum
// can be changed without notice, as docs/formats/segment.md says.
func TestEveryFlippedByteOfTheLastSegment(t *testing.T) {
	mem, segmentBytes, want := damageRig(t, false)
	base := lastBase(t, mem)
	name := path.Join(testDir, testTP.String(), offsetName(base)+suffixLog)
	data, err := vfs.ReadFile(mem, name)
	if err != nil {
		t.Fatal(err)
	}
	infos := mustInfos(t, data)
	for at := range data {
		m := mem.Crash(nil, vfs.ProcessKill)
		overwrite(t, m, name, int64(at), data[at]^0x41)
		k := 0
		for infos[k].End() <= at {
			k++
		}
		in := at - infos[k].Pos
		l := openDamaged(t, m, segmentBytes)
		if in < 8 || in >= 12 && in < 16 {
			// Base offset or leader epoch: what is before the batch is untouched.
			got, err := tryRecords(t, l, 0, infos[k].BaseOffset, 400)
			if err != nil || int64(len(got)) < infos[k].BaseOffset {
				t.Fatalf("flip at %d: %d records before the batch, %v", at, len(got), err)
			}
			continue
		}
		prefixOf(t, "flip", l, want)
		if l.LogEndOffset() != infos[k].BaseOffset {
			t.Fatalf("flip at %d, byte %d of batch %d: the log ends at %d, want %d", at, in, k, l.LogEndOffset(), infos[k].BaseOffset)
		}
	}
}

// TestAppendsFollowWhatIsLeftAfterADamagedCleanStop loses the end of the last segment, from
// each batch on, although the stop was clean, as a disk does that forgot a write. What is
// appended then has to be where the file ends: behind a hole the next recovery would not
// find it.
func TestAppendsFollowWhatIsLeftAfterADamagedCleanStop(t *testing.T) {
	mem, segmentBytes, want := damageRig(t, true)
	name := path.Join(testDir, testTP.String(), offsetName(lastBase(t, mem))+suffixLog)
	data, err := vfs.ReadFile(mem, name)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range mustInfos(t, data) {
		m := mem.Crash(nil, vfs.ProcessKill)
		for at := b.Pos; at < len(data); at++ {
			overwrite(t, m, name, int64(at), 0)
		}
		r := newRig(t, m)
		r.cfg.SegmentBytes, r.cfg.IndexIntervalBytes = segmentBytes, 150
		l := r.open().log()
		added := r.mustAppend(l, 1_700_000_000_000, "added")
		if added.FirstOffset != b.BaseOffset {
			t.Fatalf("the first record has offset %d, what was lost began at %d", added.FirstOffset, b.BaseOffset)
		}
		whole := append(want[:b.BaseOffset:b.BaseOffset], record{added.FirstOffset, 1_700_000_000_000, "added"})
		prefixOf(t, "at once", l, whole)
		if err := l.Flush(); err != nil {
			t.Fatal(err)
		}
		l = r.reopen().log()
		prefixOf(t, "after a kill", l, whole)
		if l.LogEndOffset() != added.FirstOffset+1 {
			t.Fatalf("after a kill the log ends at %d, what was added lies at %d", l.LogEndOffset(), added.FirstOffset)
		}
		r.close()
		r.open()
		prefixOf(t, "after a clean stop", r.log(), whole)
		r.m.Abort()
	}
}

func overwrite(t *testing.T, fsys vfs.FS, name string, at int64, b byte) {
	t.Helper()
	f, err := fsys.OpenFile(name, openExisting, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{b}, at); err != nil {
		t.Fatal(err)
	}
}

// TestDamagedIndexesAreRebuilt changes and cuts every byte of every index after a
// clean stop, where nothing is checked at start: no read, by offset or by time, may
// notice.
func TestDamagedIndexesAreRebuilt(t *testing.T) {
	mem, segmentBytes, want := damageRig(t, true)
	entries, err := mem.ReadDir(path.Join(testDir, testTP.String()))
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewSource(1))
	tried := 0
	for _, e := range entries {
		_, suffix, ok := parseOffsetName(e.Name())
		if !ok || suffix != suffixIndex && suffix != suffixTimeIndex {
			continue
		}
		name := path.Join(testDir, testTP.String(), e.Name())
		data, err := vfs.ReadFile(mem, name)
		if err != nil {
			t.Fatal(err)
		}
		for at := -1; at < 2*len(data); at++ {
			m := mem.Crash(nil, vfs.ProcessKill)
			switch {
			case at < 0:
				err = m.Remove(name)
			case at < len(data):
				overwrite(t, m, name, int64(at), data[at]^byte(1+rng.Intn(255)))
			default:
				f, openErr := m.OpenFile(name, openExisting, 0o644)
				if openErr != nil {
					t.Fatal(openErr)
				}
				err = f.Truncate(int64(at - len(data)))
				f.Close()
			}
			if err != nil {
				t.Fatal(err)
			}
			tried++
			l := openDamaged(t, m, segmentBytes)
			for range 4 {
				i := rng.Intn(len(want))
				got, err := tryRecords(t, l, want[i].offset, want[i].offset+1, 1)
				for len(got) == 0 && err == nil {
					// The record is inside of a batch that ends at or above the bound.
					got, err = tryRecords(t, l, want[i].offset, l.LogEndOffset(), 1)
				}
				if err != nil || got[0] != want[i] {
					t.Fatalf("%s byte %d: read at %d: %+v, %v", e.Name(), at, want[i].offset, got, err)
				}
				if suffix == suffixTimeIndex && at >= len(data) {
					continue // entries that are missing at the end of a closed segment's time index hide its last records
				}
				r, err := l.OffsetForTimestamp(want[i].ts)
				if err != nil || r.Offset != want[i].offset {
					t.Fatalf("%s byte %d: time %d is at %+v, want %d, %v", e.Name(), at, want[i].ts, r, want[i].offset, err)
				}
			}
			prefixOf(t, e.Name(), l, want)
		}
	}
	if tried < 300 {
		t.Fatalf("only %d cases", tried)
	}
}

// TestKafkasPreallocatedIndexes opens indexes with the zero tail that Apache Kafka
// leaves behind when it is killed, and a preallocated segment.
func TestKafkasPreallocatedIndexes(t *testing.T) {
	for _, clean := range []bool{true, false} {
		mem, segmentBytes, want := damageRig(t, clean)
		entries, err := mem.ReadDir(path.Join(testDir, testTP.String()))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			_, suffix, _ := parseOffsetName(e.Name())
			grow := suffix == suffixIndex || suffix == suffixTimeIndex || suffix == suffixLog && !clean && e.Name() == offsetName(lastBase(t, mem))+suffixLog
			if !grow {
				continue
			}
			f, err := mem.OpenFile(path.Join(testDir, testTP.String(), e.Name()), openExisting, 0o644)
			if err != nil {
				t.Fatal(err)
			}
			size, _ := f.Size()
			if err := f.Truncate(size/24*24 + 2400*10); err != nil {
				t.Fatal(err)
			}
			if suffix != suffixLog {
				if err := f.Truncate((size + 24000) / 24 * 24); err != nil {
					t.Fatal(err)
				}
			}
			f.Close()
		}
		l := openDamaged(t, mem, segmentBytes)
		prefixOf(t, "preallocated", l, want)
		if l.LogEndOffset() != int64(len(want)) {
			t.Fatalf("clean=%v: the log ends at %d, want %d", clean, l.LogEndOffset(), len(want))
		}
		for _, w := range want {
			if r, err := l.OffsetForTimestamp(w.ts); err != nil || r.Offset != w.offset {
				t.Fatalf("clean=%v: time %d is at %+v, want %d, %v", clean, w.ts, r, w.offset, err)
			}
		}
		info := appendVerbatim(t, l, relocate(t, build(t, 1_700_000_000_000, "x"), l.LogEndOffset()))
		if info.FirstOffset != int64(len(want)) {
			t.Fatal(info)
		}
	}
}

// relocate gives a batch its base offset.
func relocate(t testing.TB, data []byte, base int64) []byte {
	t.Helper()
	a := batch.Appended{Data: data, Infos: mustInfos(t, data)}
	batch.Assign(&a, base, 3, -1)
	return a.Data
}

// TestBatchesOutOfOrderEndTheLog puts a batch a second time at the end: its checksum
// is right, its offsets are not.
func TestBatchesOutOfOrderEndTheLog(t *testing.T) {
	mem, segmentBytes, want := damageRig(t, false)
	base := lastBase(t, mem)
	name := path.Join(testDir, testTP.String(), offsetName(base)+suffixLog)
	data, err := vfs.ReadFile(mem, name)
	if err != nil {
		t.Fatal(err)
	}
	infos := mustInfos(t, data)
	if err := writeInPlace(mem, name, append(data, data[:infos[1].End()]...)); err != nil {
		t.Fatal(err)
	}
	l := openDamaged(t, mem, segmentBytes)
	prefixOf(t, "repeated", l, want)
	if l.LogEndOffset() != int64(len(want)) || l.view.Load().active().size() != int64(len(data)) {
		t.Fatalf("the log ends at %d with %d bytes", l.LogEndOffset(), l.view.Load().active().size())
	}
}

// TestUnusableSnapshots damages, empties and invents producer snapshots: the state
// comes from the batches all the same.
func TestUnusableSnapshots(t *testing.T) {
	mem := vfs.NewMem()
	r := newRig(t, mem)
	r.cfg.SegmentBytes = 500
	r.open()
	l := r.create()
	now := r.clock.Now().UnixMilli()
	for i := range 20 {
		if _, err := r.appendRaw(l, 1, batch.OriginClient, produce(t, 1, int32(i), false, now, "x")); err != nil {
			t.Fatal(err)
		}
	}
	r.close()
	folder := path.Join(testDir, testTP.String())
	entries, err := mem.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if _, suffix, ok := parseOffsetName(e.Name()); ok && suffix == suffixSnapshot {
			names = append(names, path.Join(folder, e.Name()))
		}
	}
	if len(names) < 3 {
		t.Fatalf("snapshots %v", names)
	}
	good, err := vfs.ReadFile(mem, names[len(names)-1])
	if err != nil {
		t.Fatal(err)
	}
	for k, damage := range []func(m *vfs.Mem) error{
		func(m *vfs.Mem) error { return m.Remove(names[len(names)-1]) },
		func(m *vfs.Mem) error { return writeInPlace(m, names[len(names)-1], nil) },
		func(m *vfs.Mem) error { return writeInPlace(m, names[len(names)-1], good[:20]) },
		func(m *vfs.Mem) error {
			bad := append([]byte(nil), good...)
			bad[20] ^= 1
			return writeInPlace(m, names[len(names)-1], bad)
		},
		func(m *vfs.Mem) error { return writeInPlace(m, path.Join(folder, offsetName(21)+suffixSnapshot), nil) },
		func(m *vfs.Mem) error {
			return writeInPlace(m, path.Join(folder, offsetName(5000)+suffixSnapshot), good[:10])
		},
		func(m *vfs.Mem) error {
			for _, name := range names {
				if err := m.Remove(name); err != nil {
					return err
				}
			}
			return nil
		},
	} {
		m := mem.Crash(nil, vfs.ProcessKill)
		if err := damage(m); err != nil {
			t.Fatal(err)
		}
		r := newRig(t, m)
		r.cfg.SegmentBytes = 500
		r.open()
		l := r.log()
		if err := l.Load(); err != nil {
			t.Fatal(err)
		}
		compareProducers(t, l, "damage")
		if info, err := r.appendRaw(l, 1, batch.OriginClient, produce(t, 1, 20, false, now, "x")); err != nil || info.FirstOffset != 20 {
			t.Errorf("damage %d: %+v, %v", k, info, err)
		}
		for _, offset := range l.snapshots {
			if offset > 20 {
				t.Errorf("damage %d: snapshot %d is kept", k, offset)
			}
		}
	}
}
