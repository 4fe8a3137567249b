package log

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/vfs"
)

// TestReadersBesideAppends runs readers, flushes, watermark updates and retention
// beside one appender, with so little memory and so few files that both are taken
// back all the time.
func TestReadersBesideAppends(t *testing.T) {
	r := newRig(t, vfs.NewMem())
	r.cfg.SegmentBytes, r.cfg.IndexIntervalBytes = 8000, 200
	r.tail = 3 * tailChunk
	r.open()
	r.m.env.files.max = 2
	l := r.create()
	const batches = 600
	var wg sync.WaitGroup
	var done atomic.Bool
	errs := make(chan error, 16)
	run := func(f func() error) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				last := done.Load()
				if err := f(); err != nil {
					errs <- err
					return
				}
				if last {
					return
				}
			}
		}()
	}
	for k := range 3 {
		offset := int64(0)
		run(func() error {
			for {
				upTo := []int64{l.LogEndOffset(), l.HighWatermark(), l.LastStableOffset()}[k]
				list, err := tryRecords(t, l, offset, upTo, 50+500*k)
				if errors.Is(err, kafka.OffsetOutOfRange) {
					offset = l.LogStartOffset()
					return nil
				}
				if err != nil {
					return err
				}
				for _, rec := range list {
					if rec.offset != offset || rec.value != fmt.Sprint("record ", offset) {
						return fmt.Errorf("reader %d at %d got %+v", k, offset, rec)
					}
					offset++
				}
				if len(list) == 0 {
					return nil
				}
			}
		})
	}
	run(func() error { return l.FlushTo(l.LogEndOffset()) })
	run(func() error { return l.FlushTo(l.LogEndOffset()) })
	run(func() error {
		l.UpdateHighWatermark(l.LogEndOffset())
		_, err := l.OffsetForTimestamp(1_000_000)
		return errors.Join(err, r.m.CheckpointRecoveryPoints(), r.m.CheckpointHighWatermarks())
	})
	run(func() error {
		if end := l.HighWatermark(); end > 400 {
			if _, err := l.AdvanceStart(end - 400); err != nil {
				return err
			}
		}
		_, err := l.DeleteOldSegments(0)
		return err
	})
	next := 0
	for range batches {
		values := make([]string, 1+next%3)
		for i := range values {
			values[i] = fmt.Sprint("record ", next)
			next++
		}
		r.mustAppend(l, int64(next), values...)
	}
	done.Store(true)
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	r.close()
}

// TestReadersBesideTruncation reads while the end of the log is cut off and written
// anew: what a reader gets below the watermark is never torn or foreign.
func TestReadersBesideTruncation(t *testing.T) {
	r := newRig(t, vfs.NewMem())
	r.cfg.SegmentBytes, r.cfg.IndexIntervalBytes = 2000, 200
	r.open()
	l := r.create()
	want := r.fill(l, 40)
	stable := l.LogEndOffset()
	l.UpdateHighWatermark(stable)
	var wg sync.WaitGroup
	var done atomic.Bool
	for k := range 2 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for !done.Load() {
				upTo := []int64{stable, l.LogEndOffset()}[k]
				got, err := tryRecords(t, l, 0, upTo, 300)
				if err != nil && !(k == 1 && errors.Is(err, kafka.OffsetOutOfRange)) {
					t.Error(err)
					return
				}
				for i := range got {
					if i < len(want) && got[i] != want[i] {
						t.Errorf("got %+v, want %+v", got[i], want[i])
						return
					}
				}
			}
		}()
	}
	for i := range 60 {
		for range 5 + i%20 {
			r.mustAppend(l, int64(2_000_000_000_000+i), valueOf(i), valueOf(i))
		}
		if _, err := l.TruncateTo(stable); err != nil {
			t.Fatal(err)
		}
	}
	done.Store(true)
	wg.Wait()
}

// TestDataOutlivesItsSource keeps a Data while the log is truncated, deleted and its
// memory given to others.
func TestDataOutlivesItsSource(t *testing.T) {
	for _, tail := range []int64{-1, 2 * tailChunk} {
		r := newRig(t, vfs.NewMem())
		r.tail = tail
		r.cfg.SegmentBytes = 1 << 20
		r.open()
		l := r.create()
		r.mustAppend(l, 1, "precious", "words")
		d, err := l.Read(0, 1000, 2, true)
		if err != nil {
			t.Fatal(err)
		}
		want := bytesOf(t, &d)
		if (d.Spans[0].B != nil) != (tail > 0) {
			t.Fatalf("tail %d: span in memory: %v", tail, d.Spans[0].B != nil)
		}
		if err := r.m.Delete(testTP); err != nil {
			t.Fatal(err)
		}
		l = r.create()
		for i := range 300 {
			r.mustAppend(l, 2, fmt.Sprint(i, string(make([]byte, 2000))))
		}
		if got := bytesOf(t, &d); string(got) != string(want) {
			t.Fatalf("tail %d: the bytes changed", tail)
		}
		d.Release()
		r.close()
	}
}

// TestMemoryOfAnotherLogIsNotRead gives the one piece of memory from log to log.
func TestMemoryOfAnotherLogIsNotRead(t *testing.T) {
	r := newRig(t, vfs.NewMem())
	r.tail = tailChunk
	r.open()
	var logs []*Log
	for i := range 3 {
		l, err := r.m.Create(kafka.TopicPartition{Topic: "t", Partition: int32(i)}, kafka.TopicID{1}, kafka.ZeroUUID, r.cfg)
		if err != nil {
			t.Fatal(err)
		}
		logs = append(logs, l)
	}
	for round := range 5 {
		for i, l := range logs {
			r.mustAppend(l, 1, fmt.Sprint("log ", i, " record ", round))
			for j, other := range logs {
				for offset := range other.LogEndOffset() {
					got := records(t, other, offset, offset+1, 1)
					if len(got) != 1 || got[0].value != fmt.Sprint("log ", j, " record ", offset) {
						t.Fatalf("log %d at %d: %+v", j, offset, got)
					}
				}
			}
		}
	}
	r.close()
}

// TestStableOffsetComesWithTheWatermark (T12): whoever sees the high watermark of a log
// that was just loaded sees the last stable offset that belongs to it.
func TestStableOffsetComesWithTheWatermark(t *testing.T) {
	r := newRig(t, vfs.NewMem()).open()
	l := r.create()
	for i := range 20 {
		if _, err := r.appendRaw(l, 3, batch.OriginClient, produce(t, 5, int32(i), true, r.clock.Now().UnixMilli(), "a")); err != nil {
			t.Fatal(err)
		}
		r.marker(l, 5, true)
	}
	end := l.LogEndOffset()
	r.reopen()
	l = r.log()
	if err := l.Load(); err != nil {
		t.Fatal(err)
	}
	if l.LastStableOffset() == end {
		t.Fatal("the transactions do not wait for their markers to be replicated")
	}
	check := func() (done bool) {
		if l.HighWatermark() < end {
			return false
		}
		if got := l.LastStableOffset(); got != end {
			t.Errorf("the high watermark is %d, the last stable offset %d", end, got)
		}
		return true
	}
	// With the log's lock held the update stops half way, if it has two halves.
	l.mu.Lock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.UpdateHighWatermark(end)
	}()
	for i := 0; i < 100_000 && !check(); i++ {
		runtime.Gosched()
	}
	l.mu.Unlock()
	<-done
	if !check() {
		t.Error("the high watermark did not rise")
	}
}
