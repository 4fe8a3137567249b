package raft

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/gregorhq/gregor/internal/vfs"
)

var update = flag.Bool("update", false, "write testdata/traces.txt anew")

// TestTraces compares every operation that changes the disk of a sole voter with
// testdata/traces.txt: a vote and an entry count only once they are synced, and their
// order is what a crash cuts. Time stands still but where the voter waits, because time
// indexes hold timestamps.
func TestTraces(t *testing.T) { synctest.Test(t, traces) }

func traces(t *testing.T) {
	var mu sync.Mutex
	var out strings.Builder
	say := func(line string) {
		mu.Lock()
		defer mu.Unlock()
		out.WriteString(line + "\n")
	}
	fsys := vfs.NewTrace(vfs.NewMem(), func(op string) { say("  " + strings.ReplaceAll(op, testDir+"/", "")) })
	say("format")
	format(t, fsys, nil)
	say("first start, up to leadership")
	v := boot(t, fsys)
	epoch := v.epoch()
	say("two batches")
	v.awaitOffset(v.propose(epoch, "a", "b"))
	v.awaitOffset(v.propose(epoch, "c"))
	say("snapshot")
	v.snapshot()
	say("clean stop")
	v.stop()
	say("start, up to leadership")
	v = boot(t, fsys)
	v.awaitOffset(v.propose(v.epoch(), "d"))
	say("kill")
	v.die()
	say("start after the kill, up to leadership")
	v = boot(t, fsys)
	epoch = v.epoch()
	say("resignation, up to leadership in a new epoch")
	v.engine.Resign(epoch)
	v.rec.await(t, "a later epoch", func() bool { return v.rec.leader.Leader == 1 && v.rec.leader.Epoch > epoch })
	say("kill")
	v.die()

	mu.Lock()
	defer mu.Unlock()
	got := regexp.MustCompile(`-\d{12,13}\.checkpoint\.part`).ReplaceAllString(out.String(), "-NOW.checkpoint.part")
	name := filepath.Join("testdata", "traces.txt")
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the trace is\n%s", got)
	}
}
