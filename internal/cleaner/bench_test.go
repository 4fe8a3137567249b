package cleaner

import (
	"context"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/vfs"
)

// BenchmarkRound compacts a log of 256 MB of which a tenth lives: MB/s of input.
func BenchmarkRound(b *testing.B) {
	for _, size := range []int{100, 1000} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			const total = 256 << 20
			keys := total / size / 10
			value := make([]byte, size-20)
			for range b.N {
				b.StopTimer()
				r := newRig(b, vfs.OS())
				r.dirs = []string{b.TempDir()}
				r.cfg.SegmentBytes, r.cfg.IndexIntervalBytes = 32<<20, 4096
				r.conf.DedupeBufferSize, r.conf.IOBufferSize = 128<<20, 512<<10
				r.open()
				key := make([]byte, 8)
				for n := 0; n < total/size; {
					x := batch.NewBuilder(0)
					for x.Size() < 16<<10 {
						binary.BigEndian.PutUint64(key, uint64(n%keys))
						x.Append(r.nowMs(), key, value, nil)
						n++
					}
					r.add(r.l, x, batch.OriginClient)
				}
				r.roll()
				if err := r.l.Flush(); err != nil {
					b.Fatal(err)
				}
				b.SetBytes(total)
				b.StartTimer()
				if !r.c.RunOnce(context.Background(), 0) {
					b.Fatal("nothing was due")
				}
				b.StopTimer()
				r.noFailure()
				r.m.Abort()
			}
		})
	}
}
