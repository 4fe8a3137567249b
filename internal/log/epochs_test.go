package log

import (
	"fmt"
	"math/rand"
	"strings"
	"testing"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/vfs"
)

// TestEpochFileBehindTheLog: an entry at the log end that no record confirmed stays in the
// file when the log is loaded. Once records of an earlier epoch lie there it must be gone,
// whatever stops the node.
func TestEpochFileBehindTheLog(t *testing.T) {
	for _, kind := range []vfs.CrashMode{vfs.ProcessKill, vfs.PowerLoss} {
		for _, clean := range []bool{false, true} {
			mem := vfs.NewMem()
			r := newRig(t, mem).open()
			r.create()
			r.mustAppend(r.log(), 1, "a", "b")
			if err := r.log().Flush(); err != nil {
				t.Fatal(err)
			}
			if clean {
				r.close()
			} else {
				r.m.Abort()
			}
			if err := vfs.WriteFileAtomic(mem, r.log().Folder()+"/"+fileLeaderEpochs, []byte("0\n2\n3 0\n6 2\n")); err != nil {
				t.Fatal(err)
			}
			r.open()
			if err := r.log().Load(); err != nil {
				t.Fatal(err)
			}
			r.mustAppend(r.log(), 1, "c", "d") // of epoch 3, as a follower gets it
			for seed := range int64(5) {
				r.m.Abort()
				r = newRig(t, mem.Crash(rand.New(rand.NewSource(seed)), kind)).open()
				if got := fmt.Sprint(r.log().EpochEntries()); got != "[{3 0}]" {
					t.Fatalf("kind %v, clean %v: epochs %s, the log ends at %d", kind, clean, got, r.log().LogEndOffset())
				}
			}
		}
	}
}

// TestTruncatedEpochDoesNotComeBack: a truncation leaves its epoch in the file until the
// next record, which must not be taken for one of that epoch.
func TestTruncatedEpochDoesNotComeBack(t *testing.T) {
	mem := vfs.NewMem()
	r := newRig(t, mem).open()
	l := r.create()
	app := func(epoch int32) {
		if _, err := r.appendRaw(l, epoch, batch.OriginClient, build(t, 1, "x", "y")); err != nil {
			t.Fatal(err)
		}
	}
	app(1)
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	app(5)
	if _, err := l.TruncateTo(2); err != nil {
		t.Fatal(err)
	}
	app(4)
	app(6)
	r.m.Abort()
	for seed := range int64(20) {
		r = newRig(t, mem.Crash(rand.New(rand.NewSource(seed)), vfs.PowerLoss)).open()
		want := []string{"", "[{1 0}]", "[{1 0} {4 2}]", "[{1 0} {4 2} {6 4}]"}[r.log().LogEndOffset()/2]
		if got := fmt.Sprint(r.log().EpochEntries()); got != want {
			t.Fatalf("epochs %s, the log ends at %d", got, r.log().LogEndOffset())
		}
		r.m.Abort()
	}
}

// TestIdlePartitionsCostNoWrites: what is led in a new epoch and gets no record is neither
// written nor synced, at a start or at a stop.
func TestIdlePartitionsCostNoWrites(t *testing.T) {
	var ops []string
	r := newRig(t, vfs.NewTrace(vfs.NewMem(), func(op string) { ops = append(ops, op) })).open()
	r.mustAppend(r.create(), 1, "a")
	for epoch := int32(4); epoch < 7; epoch++ {
		r.close()
		ops = nil
		r.open()
		if err := r.log().AssignEpochStart(epoch); err != nil {
			t.Fatal(err)
		}
		if got := r.log().LatestEpoch(); got != epoch {
			t.Fatalf("the latest epoch is %d, want %d", got, epoch)
		}
	}
	r.close()
	for _, op := range ops {
		if strings.Contains(op, "t-0") {
			t.Errorf("%s", op)
		}
	}
	r.open()
	if got := fmt.Sprint(r.log().EpochEntries()); got != "[{3 0}]" {
		t.Errorf("epochs %s", got)
	}
}
