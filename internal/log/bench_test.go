package log

import (
	"path/filepath"
	"testing"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/vfs"
)

// diskRig is a rig on a real directory with default sizes.
func diskRig(b testing.TB) *rig {
	r := newRig(b, vfs.OS())
	r.dirs = []string{filepath.Join(b.TempDir(), "data")}
	r.cfg.SegmentBytes, r.cfg.IndexIntervalBytes = 1<<30, 4096
	r.tail = 0
	r.clock = clock.NewVirtual(r.clock.Now())
	return r
}

// batchOf makes a batch of about n bytes.
func batchOf(b testing.TB, n int) []byte {
	builder := batch.NewBuilder(0)
	value := make([]byte, 100)
	for builder.Size() < n-120 {
		builder.Append(1_700_000_000_000, nil, value, nil)
	}
	data, err := builder.Build(nil)
	if err != nil {
		b.Fatal(err)
	}
	return data
}

func benchAppend(b *testing.B, size int, flush bool) {
	r := diskRig(b).open()
	l := r.create()
	data := batchOf(b, size)
	infos := mustInfos(b, data)
	a := batch.Appended{Data: data, Infos: append([]batch.Info(nil), infos...)}
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i++ {
		copy(a.Infos, infos)
		info, err := l.Append(&a, 1, batch.OriginClient, 1_700_000_000_000)
		if err != nil {
			b.Fatal(err)
		}
		if flush {
			if err := l.FlushTo(info.LastOffset + 1); err != nil {
				b.Fatal(err)
			}
		}
		if i%20000 == 19999 {
			b.StopTimer()
			if err := l.TruncateFullyAndStartAt(l.LogEndOffset()); err != nil {
				b.Fatal(err)
			}
			r.clock.Advance(61 * 1e9)
			r.m.RunTasks()
			b.StartTimer()
		}
	}
	b.StopTimer()
	r.m.Abort()
}

func BenchmarkAppend1KiB(b *testing.B)      { benchAppend(b, 1<<10, false) }
func BenchmarkAppend16KiB(b *testing.B)     { benchAppend(b, 16<<10, false) }
func BenchmarkAppend1MiB(b *testing.B)      { benchAppend(b, 1<<20, false) }
func BenchmarkAppendFlush1KiB(b *testing.B) { benchAppend(b, 1<<10, true) }

func benchRead(b *testing.B, maxBytes int, hot bool) {
	r := diskRig(b)
	if !hot {
		r.tail = -1
	}
	r.open()
	l := r.create()
	data := batchOf(b, 16<<10)
	for range 400 {
		appendVerbatimTail(b, l, relocate(b, append([]byte(nil), data...), l.LogEndOffset()))
	}
	end := l.LogEndOffset()
	from := int64(0)
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i++ {
		d, err := l.Read(from, maxBytes, end, true)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(d.Size))
		if from = d.NextOffset; from >= end {
			from = 0
		}
		d.Release()
	}
	b.StopTimer()
	r.m.Abort()
}

func appendVerbatimTail(b testing.TB, l *Log, data []byte) {
	a := batch.Appended{Data: data, Infos: mustInfos(b, data)}
	if _, err := l.Append(&a, 1, batch.OriginClient, 1_700_000_000_000); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkReadHot16KiB(b *testing.B)  { benchRead(b, 16<<10, true) }
func BenchmarkReadHot1MiB(b *testing.B)   { benchRead(b, 1<<20, true) }
func BenchmarkReadFile16KiB(b *testing.B) { benchRead(b, 16<<10, false) }
func BenchmarkReadFile1MiB(b *testing.B)  { benchRead(b, 1<<20, false) }

// BenchmarkOpenPartitions is a restart after a clean stop.
func BenchmarkOpenPartitions(b *testing.B) {
	const n = 1000
	r := diskRig(b).open()
	for i := range n {
		tp := kafka.TopicPartition{Topic: "topic", Partition: int32(i)}
		l, err := r.m.Create(tp, kafka.TopicID{1}, kafka.ZeroUUID, r.cfg)
		if err != nil {
			b.Fatal(err)
		}
		r.mustAppend(l, 1, "a")
	}
	r.close()
	b.ResetTimer()
	for range b.N {
		r.open()
		b.StopTimer()
		if len(r.m.Logs()) != n {
			b.Fatal("partitions are missing")
		}
		r.close()
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/n, "us/partition")
}
