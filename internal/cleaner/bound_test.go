package cleaner

import (
	"strings"
	"testing"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/vfs"
)

// TestABoundThatWasLoweredDoesNotStopCompaction: what may be produced from now on is
// bounded; what is in the log was admitted once and is compacted all the same.
func TestABoundThatWasLoweredDoesNotStopCompaction(t *testing.T) {
	r := newRig(t, vfs.NewMem()).open()
	gzip := func(b *batch.Builder) { b.Codec = batch.CodecGzip }
	r.put(r.l, gzip, "a="+strings.Repeat("old ", 1000), "b=1")
	r.put(r.l, gzip, "a="+strings.Repeat("new ", 1000))
	r.cfg.MaxDecompressedMessageBytes = 100
	r.l.Reconfigure(r.cfg)
	r.clean()
	data, _, err := batches(r.l, 0, r.l.LogEndOffset(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(data); n == 0 || r.c.Stats().Uncleanable[testDir].Partitions != nil {
		t.Errorf("%d bytes, %+v", n, r.c.Stats())
	}
}
