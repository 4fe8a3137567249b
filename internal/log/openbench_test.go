package log

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/vfs"
)

// lax is a file system that syncs nothing, to make many partitions quickly.
type lax struct{ vfs.FS }

func (f lax) SyncDir(string) error { return nil }

func (f lax) OpenFile(name string, flag int, perm os.FileMode) (vfs.File, error) {
	file, err := f.FS.OpenFile(name, flag, perm)
	return laxFile{file}, err
}

type laxFile struct{ vfs.File }

func (laxFile) Sync() error { return nil }

// manyPartitions fills a directory with n partitions of one batch each.
func manyPartitions(b testing.TB, n int, clean bool) *rig {
	r := diskRig(b)
	r.tail = -1
	r.fs = lax{vfs.OS()}
	r.open()
	data := batchOf(b, 1000)
	for i := range n {
		l, err := r.m.Create(kafka.TopicPartition{Topic: fmt.Sprintf("topic-%d", i/100), Partition: int32(i % 100)}, kafka.TopicID{1, byte(i / 100)}, kafka.ZeroUUID, r.cfg)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := r.appendRaw(l, 0, 0, append([]byte(nil), data...)); err != nil {
			b.Fatal(err)
		}
		if !clean {
			if err := l.FlushTo(l.LogEndOffset()); err != nil {
				b.Fatal(err)
			}
		}
	}
	if clean {
		r.close()
	} else {
		if err := r.m.CheckpointRecoveryPoints(); err != nil {
			b.Fatal(err)
		}
		r.m.Abort()
	}
	r.fs = vfs.OS()
	return r
}

// benchOpen opens a directory of n partitions again and again. B/partition is what a
// partition holds of the heap that nobody has used yet.
func benchOpen(b *testing.B, n int, clean bool) {
	r := manyPartitions(b, n, clean)
	var before, after runtime.MemStats
	b.ResetTimer()
	for i := 0; i < b.N; i++ {
		b.StopTimer()
		r.m = nil
		runtime.GC()
		runtime.ReadMemStats(&before)
		b.StartTimer()
		r.open()
		b.StopTimer()
		runtime.GC()
		runtime.ReadMemStats(&after)
		if clean {
			r.close()
		} else {
			r.m.Abort()
		}
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(n), "B/partition")
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/open")
}

// BenchmarkOpen is rows 11a and 11b: GREGOR_PARTITIONS says how many, 1,000 without it.
func BenchmarkOpen(b *testing.B) {
	n, err := strconv.Atoi(os.Getenv("GREGOR_PARTITIONS"))
	if err != nil {
		n = 1000
	}
	b.Run("clean", func(b *testing.B) { benchOpen(b, n, true) })
	b.Run("unclean", func(b *testing.B) { benchOpen(b, n, false) })
}
