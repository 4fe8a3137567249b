package cleaner

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/vfs"
)

var update = flag.Bool("update", false, "write the traces in testdata anew")

// scene is a log of closed segments of which the first three become one, with an
// aborted transaction whose marker stays. The third keeps nothing: what it had is
// superseded by the large fourth.
func scene(r *rig) {
	r.cfg.SegmentBytes = 1000
	r.open()
	r.put(r.l, nil, "a=1", "b=1")
	r.put(r.l, by(1, 0, 0, true), "c=aborted")
	r.roll()
	r.end(r.l, 1, 0, false)
	r.put(r.l, by(1, 0, 1, true), "c=committed")
	r.end(r.l, 1, 0, true)
	r.roll()
	r.put(r.l, nil, "d=1")
	r.put(r.l, nil, "e=1")
	r.roll()
	r.put(r.l, nil, "a=2")
	r.put(r.l, nil, "d=2")
	r.put(r.l, nil, "e="+large)
}

var large = strings.Repeat("e", 700)

// TestTraces compares every operation of one round that changes the disk with
// testdata/traces.txt.
func TestTraces(t *testing.T) {
	var out strings.Builder
	r := newRig(t, vfs.NewTrace(vfs.NewMem(), func(op string) { out.WriteString("  " + op + "\n") }))
	scene(r)
	r.roll()
	r.m.RunTasks()
	out.Reset()
	out.WriteString("the first round\n")
	r.c.RunOnce(context.Background(), 0)
	r.noFailure()
	out.WriteString("after file.delete.delay.ms\n")
	r.clock.Advance(2 * time.Minute)
	r.m.RunTasks()
	out.WriteString("nothing is due\n")
	r.c.RunOnce(context.Background(), 0)
	out.WriteString("a round that changes nothing before the dirty segment\n")
	r.put(r.l, nil, "f=1")
	r.roll()
	r.m.RunTasks()
	r.c.RunOnce(context.Background(), 0)
	r.noFailure()
	compareTrace(t, "traces.txt", out.String())
}

// TestRecoveryTraces compares what a start does with the files that a kill in the middle
// of a swap left: up to the rename of the segment to .swap it is undone, from then on
// it is completed.
func TestRecoveryTraces(t *testing.T) {
	disk := &crashing{mem: vfs.NewMem()}
	r := newRig(t, vfs.NewTrace(disk.mem, func(op string) {
		if disk.on {
			disk.pictures = append(disk.pictures, picture{op, vfs.ProcessKill, disk.mem.Crash(rand.New(rand.NewSource(1)), vfs.ProcessKill)})
		}
	}))
	disk.mem.SetNow(r.clock.Now)
	scene(r)
	r.roll()
	if err := errors.Join(r.l.Flush(), r.m.CheckpointRecoveryPoints()); err != nil {
		t.Fatal(err)
	}
	disk.on = true
	r.c.RunOnce(context.Background(), 0)
	disk.on = false
	var out strings.Builder
	for _, suffix := range []string{"sync *.log.cleaned", "rename *.txnindex.swap", "rename *.log.swap", "rename *.log.deleted", "rename *.log"} {
		verb, name, _ := strings.Cut(suffix, " ")
		i := slices.IndexFunc(disk.pictures, func(p picture) bool {
			return strings.HasPrefix(p.after, verb) && strings.HasSuffix(p.after, strings.TrimPrefix(name, "*"))
		})
		if i < 0 {
			t.Fatalf("no %s among the operations", suffix)
		}
		fmt.Fprintf(&out, "start after a kill after %s\n", suffix)
		x := newRig(t, vfs.NewTrace(disk.pictures[i].mem, func(op string) { out.WriteString("  " + op + "\n") }))
		x.clock, x.cfg = r.clock, r.cfg
		if err := x.tryOpen(); err != nil {
			t.Fatal(err)
		}
		x.m.Abort()
	}
	compareTrace(t, "traces-recovery.txt", out.String())
}

// compareTrace holds a trace against a file of testdata; -update writes the file.
func compareTrace(t *testing.T, file, out string) {
	t.Helper()
	name := filepath.Join("testdata", file)
	if *update {
		if err := os.WriteFile(name, []byte(out), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if out != string(want) {
		t.Errorf("the trace is\n%s", out)
	}
}

// TestCrashAfterEveryOperationOfASwap (L8): a kill and many power losses after every
// change of the disk that a round makes; the restart completes or undoes the swap,
// and itself may be cut anywhere.
func TestCrashAfterEveryOperationOfASwap(t *testing.T) {
	disk := &crashing{mem: vfs.NewMem()}
	r := newRig(t, vfs.NewTrace(disk.mem, func(op string) {
		if disk.on {
			disk.pictures = append(disk.pictures, picture{op, vfs.ProcessKill, disk.mem.Crash(rand.New(rand.NewSource(1)), vfs.ProcessKill)})
		}
	}))
	disk.mem.SetNow(r.clock.Now)
	scene(r)
	r.roll()
	if err := r.l.Flush(); err != nil {
		t.Fatal(err)
	}
	// Otherwise recovery would build the transaction index anew, whatever is left.
	if err := r.m.CheckpointRecoveryPoints(); err != nil {
		t.Fatal(err)
	}
	disk.on = true
	r.c.RunOnce(context.Background(), 0)
	disk.on = false
	r.noFailure()
	if len(disk.pictures) < 20 {
		t.Fatalf("%d operations", len(disk.pictures))
	}
	want := map[string]string{"a": "2", "b": "1", "c": "committed", "d": "2", "e": large}
	for i, p := range disk.pictures {
		tries := 12
		if strings.HasSuffix(p.after, ".log.swap") {
			tries = 40 // the names are about to be believed
		}
		for n := range tries {
			rng := rand.New(rand.NewSource(int64(1000*i + n)))
			mem := p.mem
			if n > 0 {
				mem = mem.Crash(rng, vfs.PowerLoss)
			} else {
				mem = mem.Crash(rng, vfs.ProcessKill)
			}
			label := fmt.Sprintf("operation %d (%s), crash %d", i, p.after, n)
			// A start that is cut off itself.
			again := &crashing{mem: mem, rng: rng}
			first := newRig(t, vfs.NewTrace(mem, func(string) {
				if again.pictures == nil && rng.Intn(6) == 0 {
					again.pictures = []picture{{mem: mem.Crash(rng, vfs.PowerLoss)}}
				}
			}))
			first.clock, first.cfg = r.clock, r.cfg
			if err := first.tryOpen(); err != nil {
				t.Fatalf("%s: %v", label, err)
			}
			first.m.Abort()
			if len(again.pictures) > 0 {
				mem, label = again.pictures[0].mem, label+", and again at the start"
			}
			x := newRig(t, mem)
			x.clock, x.cfg = r.clock, r.cfg
			if err := x.tryOpen(); err != nil || x.l == nil {
				t.Fatalf("%s: %v", label, err)
			}
			h := &history{t: t, r: x, rng: rng}
			x.l.UpdateHighWatermark(x.l.LogEndOffset())
			end := x.l.LogEndOffset()
			if end != r.l.LogEndOffset() {
				t.Fatalf("%s: the log ends at %d", label, end)
			}
			h.check(x.l, want, label)
			if txns, err := x.l.AbortedTxns(0, end); err != nil || len(txns) != 1 || txns[0].LastOffset != 3 {
				t.Fatalf("%s: aborted transactions %v: %v", label, txns, err)
			}
			x.rounds()
			h.check(x.l, want, label+", compacted")
			x.m.Abort()
		}
	}
}

// TestReadersDuringSwaps: readers that run beside compaction see every segment before
// or after its swap, never the bytes of one at the places of the other.
func TestReadersDuringSwaps(t *testing.T) {
	r := newRig(t, vfs.NewMem())
	r.cfg.SegmentBytes = 700
	r.open()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for n := range 3 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for round := 0; ; round++ {
				select {
				case <-stop:
					return
				default:
				}
				x := newReader(r.l)
				if err := x.finish(1 + 150*n); err != nil {
					t.Errorf("reader %d: %v", n, err)
					return
				}
			}
		}()
	}
	for i := range 60 {
		codec := batch.Codec(i % 5)
		for k := range 4 {
			r.put(r.l, func(b *batch.Builder) { b.Codec = codec }, fmt.Sprintf("k%d=%d-%s", k, i, strings.Repeat("v", i)), fmt.Sprintf("u%d=1", i))
			r.put(r.l, by(9, 0, int32(4*i+k), true), fmt.Sprintf("t%d=%d", k, i))
			r.end(r.l, 9, 0, i%2 == 0)
		}
		r.clean()
	}
	close(stop)
	wg.Wait()
	r.noFailure()
	x := newReader(r.l)
	if err := x.finish(1000); err != nil || len(x.state) != 4+60+4 || x.state["k3"][:2] != "59" || x.state["t3"] != "58" {
		t.Errorf("ends with %v: %v", x.state, err)
	}
}
