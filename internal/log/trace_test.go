package log

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/vfs"
)

var update = flag.Bool("update", false, "write testdata/traces.txt anew")

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

	file := filepath.Join("testdata", "traces.txt")
	got := maskNames(out.String())
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
