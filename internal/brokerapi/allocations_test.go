//go:build !race && !gregor_invariants

package brokerapi

import (
	"testing"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/vfs"
)

// The race detector and invariants allocate, so this is for builds without them.

// TestHotPathsAllocateNothing: a produced batch and a fetch within a session cost no
// garbage from the frame to the answer.
func TestHotPathsAllocateNothing(t *testing.T) {
	k := newKitOn(t, vfs.OS(), map[string]string{"log.dirs": t.TempDir()})
	k.topic1("t")
	c := k.client()
	produce := frame(produceReq(12, "t", kafka.TopicID{}, 0, -1, batch16k()), 1, "bench")
	fetch := frame(noWait(fetchReq("t", 0, 0)), 1, "bench")
	buf := make([]byte, 1<<21)
	for name, f := range map[string][]byte{"Produce": produce, "Fetch": fetch} {
		if n := testing.AllocsPerRun(200, func() { c.exchange(t, f, buf) }); n >= 1 {
			t.Errorf("%s: %v allocations a request", name, n)
		}
	}
}
