package cleaner

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/vfs"
)

// TestATombstoneAfterACutInsideOfABatch: the batch goes as a whole, so the log ends below
// the offset that was asked for, and what is written from there on is not compacted yet. A
// tombstone there that counted as compacted would expire before the value that it deletes.
func TestATombstoneAfterACutInsideOfABatch(t *testing.T) {
	r := newRig(t, vfs.NewMem()).open()
	ten := func(key string) (kvs []string) {
		for i := range 10 {
			kvs = append(kvs, fmt.Sprintf("%s%d=v", key, i))
		}
		return kvs
	}
	r.put(r.l, nil, append([]string{"a=old"}, ten("k")[1:]...)...)
	r.put(r.l, nil, ten("l")...)
	r.put(r.l, nil, ten("m")...)
	r.clean()
	if p, ok := r.l.CleanPoint(); !ok || p != 30 {
		t.Fatalf("clean up to %d, %v", p, ok)
	}
	if _, err := r.l.TruncateTo(15); err != nil || r.l.LogEndOffset() != 10 {
		t.Fatalf("the log ends at %d, %v", r.l.LogEndOffset(), err)
	}
	if p, _ := r.l.CleanPoint(); p > 10 {
		t.Errorf("clean up to %d", p)
	}
	r.put(r.l, nil, "x=1", "y=1", "a", "z=1")
	r.put(r.l, nil, ten("n")...)
	for range 3 {
		r.clean()
		r.clock.Advance(2 * time.Hour)
		r.put(r.l, nil, "later=1")
	}
	r.clean()
	if got := r.dump(r.l); strings.Contains(got, ":a") {
		t.Errorf("the log is %s", got)
	}
}
