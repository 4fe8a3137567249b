package log

import (
	"testing"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/producer"
	"github.com/gregorhq/gregor/internal/vfs"
)

// TestGuardsAreNeverUsedTwice (KIP-890): a Produce that was stalled since before must not
// pass with the guard of a later transaction, whatever became of the log in between.
func TestGuardsAreNeverUsedTwice(t *testing.T) {
	r := newRig(t, vfs.NewMem()).open()
	l := r.create()
	seen := map[producer.Guard]string{}
	verify := func(after string) {
		t.Helper()
		i := batch.Info{ProducerID: 7, ProducerEpoch: 1}
		g, err := l.BeginVerification(&i, true, r.clock.Now().UnixMilli())
		if err != nil || g == producer.NoGuard {
			t.Fatalf("after %s: guard %d, %v", after, g, err)
		}
		if was, ok := seen[g]; ok {
			t.Errorf("the guard of after %s is that of after %s", after, was)
		}
		seen[g] = after
	}
	r.fill(l, 10)
	verify("creation")
	if cut, err := l.TruncateTo(5); err != nil || !cut {
		t.Fatal(cut, err)
	}
	verify("a truncation")
	l.ClearVerifications()
	verify("a change of leaders")
	l.ClearVerifications()
	if err := l.TruncateFullyAndStartAt(5); err != nil {
		t.Fatal(err)
	}
	verify("a truncation of all")
	if err := r.m.Delete(testTP); err != nil {
		t.Fatal(err)
	}
	l = r.create()
	verify("a deletion")
}
