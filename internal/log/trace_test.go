package log

import (
	"errors"
	"flag"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/vfs"
)

var update = flag.Bool("update", false, "write the traces in testdata anew")

// TestTraces compares every operation that changes the disk with
// testdata/traces.txt: order matters, since it is what a crash cuts.
func TestTraces(t *testing.T) {
	var out strings.Builder
	mem := vfs.NewMem()
	r := newRig(t, vfs.NewTrace(mem, func(op string) { out.WriteString("  " + op + "\n") }))
	r.cfg.SegmentBytes, r.cfg.IndexIntervalBytes = 300, 60
	section := func(name string) { out.WriteString(name + "\n") }

	section("open an empty directory")
	r.open()
	section("create a partition")
	l := r.create()
	section("append")
	r.mustAppend(l, 1000, "a")
	section("append again")
	r.mustAppend(l, 1001, "b", "c")
	section("flush to the end")
	if err := l.FlushTo(l.LogEndOffset()); err != nil {
		t.Fatal(err)
	}
	section("flush to the end again")
	if err := l.FlushTo(l.LogEndOffset()); err != nil {
		t.Fatal(err)
	}
	section("append with roll, everything flushed")
	r.mustAppend(l, 1002, "d", valueOf(30), valueOf(30))
	section("append with roll, not flushed")
	r.mustAppend(l, 1003, "e", valueOf(30), valueOf(30))
	section("the sync of the rolled segment")
	r.m.RunTasks()
	section("flush.messages=1: append in a new epoch and flush")
	if _, err := r.appendRaw(l, 9, 0, build(t, 1004, "f")); err != nil {
		t.Fatal(err)
	}
	if err := l.FlushTo(l.LogEndOffset()); err != nil {
		t.Fatal(err)
	}
	section("checkpoint")
	l.UpdateHighWatermark(l.LogEndOffset())
	if err := r.m.CheckpointRecoveryPoints(); err != nil {
		t.Fatal(err)
	}
	if err := r.m.CheckpointHighWatermarks(); err != nil {
		t.Fatal(err)
	}
	section("checkpoint, nothing changed")
	if err := r.m.CheckpointRecoveryPoints(); err != nil {
		t.Fatal(err)
	}
	section("delete records and the segments below")
	if _, err := l.AdvanceStart(6); err != nil {
		t.Fatal(err)
	}
	if _, err := l.DeleteOldSegments(r.clock.Now().UnixMilli()); err != nil {
		t.Fatal(err)
	}
	if err := r.m.CheckpointLogStartOffsets(); err != nil {
		t.Fatal(err)
	}
	section("after file.delete.delay.ms")
	r.clock.Advance(2 * time.Minute)
	r.m.RunTasks()
	section("truncate")
	if _, err := l.TruncateTo(l.LogEndOffset() - 1); err != nil {
		t.Fatal(err)
	}
	section("truncate fully and start at 1000")
	if err := l.TruncateFullyAndStartAt(1000); err != nil {
		t.Fatal(err)
	}
	section("append after truncation")
	r.mustAppend(l, 1010, "g")
	section("clean close")
	r.close()
	section("open after a clean close")
	r.open()
	section("first use")
	l = r.log()
	if err := l.Load(); err != nil {
		t.Fatal(err)
	}
	section("delete the partition")
	if err := r.m.Delete(testTP); err != nil {
		t.Fatal(err)
	}
	section("after file.delete.delay.ms")
	r.clock.Advance(2 * time.Minute)
	r.m.RunTasks()
	section("close without partitions")
	r.close()

	compareTrace(t, "traces.txt", out.String())
}

// TestRecoveryTraces is about starts after a kill: what they write of a torn end, of
// indexes and snapshots that are missing, of a checkpoint that was being replaced.
func TestRecoveryTraces(t *testing.T) {
	var out strings.Builder
	mem := vfs.NewMem()
	r := newRig(t, vfs.NewTrace(mem, func(op string) { out.WriteString("  " + op + "\n") }))
	r.cfg.SegmentBytes, r.cfg.IndexIntervalBytes = 300, 60
	r.open()
	l := r.create()
	folder := l.Folder()
	for i := range 7 {
		if _, err := r.appendRaw(l, 3, batch.OriginClient, produce(t, 5, int32(2*i), true, 1000+int64(i), "a", valueOf(30))); err != nil {
			t.Fatal(err)
		}
		r.marker(l, 5, i%2 == 0)
	}
	r.m.RunTasks()
	// Only what is behind the recovery point is read at a start.
	if err := errors.Join(l.FlushTo(15), r.m.CheckpointRecoveryPoints()); err != nil {
		t.Fatal(err)
	}
	out.Reset()
	section := func(name string, damage ...func() error) {
		t.Helper()
		for _, f := range damage {
			if err := f(); err != nil {
				t.Fatal(err)
			}
		}
		out.WriteString(name + "\n")
	}
	use := func() {
		t.Helper()
		if err := r.log().Load(); err != nil {
			t.Fatal(err)
		}
	}
	removed := func(suffix string) func() error {
		return func() error { return mem.Remove(path.Join(folder, offsetName(lastBase(t, mem))+suffix)) }
	}
	kill := func() error { r.m.Abort(); return nil }

	section("start after a kill", kill)
	r.open()
	section("first use: the segments behind the recovery point are read")
	use()
	section("checkpoint")
	if err := r.m.CheckpointRecoveryPoints(); err != nil {
		t.Fatal(err)
	}
	section("start after a kill, half a batch at the end", func() error {
		data := build(t, 1, "torn")
		end, err := vfs.ReadFile(mem, path.Join(folder, offsetName(lastBase(t, mem))+suffixLog))
		if err != nil {
			return err
		}
		return writeInPlace(mem, path.Join(folder, offsetName(lastBase(t, mem))+suffixLog), append(end, data[:len(data)/2]...))
	}, kill)
	r.open()
	section("first use: it is cut off")
	use()
	section("start after a kill, indexes are missing", kill, removed(suffixIndex), removed(suffixTimeIndex))
	r.open()
	section("first use: they are built anew")
	use()
	section("start after a kill while a checkpoint and the epochs were written", kill, func() error {
		return errors.Join(writeInPlace(mem, path.Join(testDir, fileRecoveryPoints+".tmp"), []byte("0\n")),
			writeInPlace(mem, path.Join(folder, fileLeaderEpochs+".tmp"), []byte("0\n")))
	})
	r.open()
	use()
	section("delete the partition")
	if err := r.m.Delete(testTP); err != nil {
		t.Fatal(err)
	}
	section("start after a kill with a deleted partition", kill)
	r.open()
	section("after file.delete.delay.ms")
	r.clock.Advance(2 * time.Minute)
	r.m.RunTasks()
	r.m.Abort()
	compareTrace(t, "traces-recovery.txt", out.String())
}

// compareTrace holds a trace against a file of testdata, line by line; -update writes
// the file.
func compareTrace(t *testing.T, name, out string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	got := maskNames(out)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		gl, wl := strings.Split(got, "\n"), strings.Split(string(want), "\n")
		for i := range gl {
			if i >= len(wl) || gl[i] != wl[i] {
				t.Fatalf("line %d is %q, want %q", i+1, gl[i], append(wl, "nothing")[min(i, len(wl))])
			}
		}
		t.Fatal("operations are missing")
	}
}

// maskNames shortens the names and hides the random part of marked folders.
func maskNames(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		words := strings.Fields(line)
		for _, w := range words {
			if j := strings.Index(w, "t-0."); j >= 0 && strings.HasSuffix(w, "-delete") {
				line = strings.ReplaceAll(line, w, w[:j]+"t-0.X-delete")
			}
		}
		line = strings.ReplaceAll(line, testDir+"/", "")
		line = strings.ReplaceAll(line, "0000000000000000", "")
		lines[i] = line
	}
	return strings.Join(lines, "\n")
}
