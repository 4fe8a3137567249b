package log

import (
	"errors"
	"testing"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/vfs"
)

func TestAppendAndRead(t *testing.T) {
	for _, tail := range []int64{-1, 1 << 20} {
		r := newRig(t, vfs.NewMem())
		r.tail = tail
		r.open()
		l := r.create()
		want := r.fill(l, 200)
		if n := len(l.Segments()); n < 3 {
			t.Fatalf("%d segments, the test needs some", n)
		}
		for _, maxBytes := range []int{1, 100, 500, 1 << 20} {
			equalRecords(t, records(t, l, 0, l.LogEndOffset(), maxBytes), want)
		}
		for from := range want {
			equalRecords(t, records(t, l, int64(from), l.LogEndOffset(), 1000), want[from:])
		}
		r.close()
		if n := r.m.env.files.openCount(); n != 0 {
			t.Fatalf("%d files open after close", n)
		}
	}
}

func TestReadBounds(t *testing.T) {
	r := newRig(t, vfs.NewMem()).open()
	l := r.create()
	r.mustAppend(l, 1, "a", "b", "c") // 0..2
	r.mustAppend(l, 2, "d")           // 3
	r.mustAppend(l, 3, "e", "f")      // 4..5
	size := func(offset int64, maxBytes int, upTo int64, minOne bool) (int, int64) {
		t.Helper()
		d, err := l.Read(offset, maxBytes, upTo, minOne)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Release()
		return len(bytesOf(t, &d)), d.NextOffset
	}
	first := len(build(t, 1, "a", "b", "c"))
	one := len(build(t, 2, "d"))
	for _, c := range []struct {
		offset   int64
		maxBytes int
		upTo     int64
		minOne   bool
		size     int
		next     int64
	}{
		{0, 1 << 20, 3, true, first, 3},
		{1, 1 << 20, 3, true, first, 3},
		{0, 1, 6, false, 0, 0},
		{0, 1, 6, true, first, 3},
		{0, 0, 6, true, first, 3},
		{0, first + one - 1, 6, false, first, 3},
		{0, first + one, 6, false, first + one, 4},
		{0, 1 << 20, 5, true, first + one, 5},
		{6, 1 << 20, 6, true, 0, 6},
		{0, 1 << 20, 0, true, 0, 0},
		{3, 1 << 20, 2, true, 0, 3},
	} {
		size, next := size(c.offset, c.maxBytes, c.upTo, c.minOne)
		if size != c.size || next != c.next {
			t.Errorf("%+v: %d bytes, next %d", c, size, next)
		}
	}
	for _, offset := range []int64{-1, 7} {
		if _, err := l.Read(offset, 100, 10, true); !errors.Is(err, kafka.OffsetOutOfRange) {
			t.Errorf("read at %d: %v", offset, err)
		}
	}
}

// TestReadBelowHighWatermark reads up to each offset while the newest batches are
// found through the small sets of recent positions and, for older ones, the index.
func TestReadBelowHighWatermark(t *testing.T) {
	r := newRig(t, vfs.NewMem())
	r.cfg.SegmentBytes = 1 << 20
	r.open()
	l := r.create()
	want := r.fill(l, 100)
	for upTo := range want {
		got := records(t, l, 0, int64(upTo), 2000)
		if len(got) > upTo {
			t.Fatalf("%d records up to %d", len(got), upTo)
		}
		equalRecords(t, got, want[:len(got)])
	}
}

func TestCleanRestartOpensNothing(t *testing.T) {
	mem := vfs.NewMem()
	r := newRig(t, mem).open()
	l := r.create()
	want := r.fill(l, 100)
	l.UpdateHighWatermark(50)
	end := l.LogEndOffset()
	r.close()

	var opened []string
	r.fs = vfs.NewTrace(mem, func(string) {})
	counting := vfs.NewFault(mem)
	counting.Add(vfs.Rule{Op: vfs.OpOpen, Times: -1, Before: func(_ vfs.Op, name string) { opened = append(opened, name) }})
	r.fs = counting
	r.open()
	l = r.log()
	if l.LogEndOffset() != end || l.HighWatermark() != 50 || l.LogStartOffset() != 0 || l.RecoveryPoint() != end {
		t.Fatalf("end %d of %d, watermark %d, start %d, recovery point %d", l.LogEndOffset(), end, l.HighWatermark(), l.LogStartOffset(), l.RecoveryPoint())
	}
	for _, name := range opened {
		if tp, _, err := parseFolder(testTP.String()); err == nil && tp == testTP && len(name) > len(testDir+"/t-0/") && name[:len(testDir+"/t-0/")] == testDir+"/t-0/" {
			t.Errorf("opened %s", name)
		}
	}
	equalRecords(t, records(t, l, 0, end, 3000), want)
	info := r.mustAppend(l, 5, "more")
	if info.FirstOffset != end {
		t.Fatalf("appended at %d, want %d", info.FirstOffset, end)
	}
	id, err := l.TopicID()
	if err != nil || id != (kafka.TopicID{1}) {
		t.Fatalf("topic id %v, %v", id, err)
	}
	r.close()
}

func TestUncleanRestart(t *testing.T) {
	mem := vfs.NewMem()
	r := newRig(t, mem).open()
	l := r.create()
	want := r.fill(l, 120)
	entries := l.EpochEntries()
	r.reopen()
	l = r.log()
	equalRecords(t, records(t, l, 0, l.LogEndOffset(), 3000), want)
	if got := l.EpochEntries(); len(got) != 1 || got[0] != entries[0] {
		t.Fatalf("epochs %v, want %v", got, entries)
	}
	r.mustAppend(l, 5, "more")
	r.close()
}

func TestEveryPartIsAppendedOnceFollowersAgree(t *testing.T) {
	r := newRig(t, vfs.NewMem())
	r.open()
	leader := r.create()
	want := r.fill(leader, 150)
	other := kafka.TopicPartition{Topic: "t", Partition: 1}
	follower, err := r.m.Create(other, kafka.TopicID{1}, kafka.ZeroUUID, r.cfg)
	if err != nil {
		t.Fatal(err)
	}
	for follower.LogEndOffset() < leader.LogEndOffset() {
		d, err := leader.Read(follower.LogEndOffset(), 700, leader.LogEndOffset(), true)
		if err != nil {
			t.Fatal(err)
		}
		data := bytesOf(t, &d)
		d.Release()
		appendVerbatim(t, follower, data)
	}
	equalRecords(t, records(t, follower, 0, follower.LogEndOffset(), 999), want)
	if a, b := follower.EpochEntries(), leader.EpochEntries(); len(a) != 1 || a[0] != b[0] {
		t.Fatalf("epochs %v and %v", a, b)
	}
	// What the follower has already is refused.
	d, err := leader.Read(0, 1, leader.LogEndOffset(), true)
	if err != nil {
		t.Fatal(err)
	}
	data := bytesOf(t, &d)
	d.Release()
	var unexpected *UnexpectedOffsetError
	if _, err := follower.AppendVerbatim(data, mustInfos(t, data), 0); !errors.As(err, &unexpected) {
		t.Fatalf("appended again: %v", err)
	}
}
