package cleaner

import (
	"context"
	"fmt"
	"math/rand"
	"runtime"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/log"
	"github.com/gregorhq/gregor/internal/vfs"
)

// TestHashIsSipHash compares with the vectors of the reference implementation: key
// 00..0f, input 00..(n-1).
func TestHashIsSipHash(t *testing.T) {
	h := hasher{0x0706050403020100, 0x0f0e0d0c0b0a0908}
	want := []string{"a3817f04ba25a8e66df67214c7550293", "da87c1d86b99af44347659119b22fc45"}
	var in []byte
	for n, w := range want {
		hi, lo := h.sum(in)
		got := ""
		for _, v := range []uint64{hi, lo} {
			for i := range 8 {
				got += fmt.Sprintf("%02x", byte(v>>(8*i)))
			}
		}
		if got != w {
			t.Errorf("%d bytes hash to %s, want %s", n, got, w)
		}
		in = append(in, byte(n))
	}
	seen := map[[2]uint64]int{}
	for n := range 64 {
		hi, lo := h.sum(make([]byte, n))
		if other, dup := seen[[2]uint64{hi, lo}]; dup {
			t.Errorf("%d and %d zeros have the same hash", other, n)
		}
		seen[[2]uint64{hi, lo}] = n
	}
}

// TestOffsetMapEqualsAMap, through growth and up to the bound.
func TestOffsetMapEqualsAMap(t *testing.T) {
	rng := rand.New(rand.NewSource(1))
	m := newOffsetMap(hasher{3, 4}, 10_000*slotSize, 0.9)
	want := map[string]int64{}
	full := false
	for offset := int64(0); !full; offset++ {
		key := fmt.Sprint(rng.Intn(12_000))
		_, known := want[key]
		full = !m.put([]byte(key), offset)
		if full != (!known && len(want) == 9000) {
			t.Fatalf("full is %v with %d keys", full, len(want))
		}
		if !full {
			want[key] = offset
			if m.latest != offset {
				t.Fatalf("latest is %d after %d", m.latest, offset)
			}
		}
	}
	if len(m.slots) != 10_000 {
		t.Errorf("%d slots", len(m.slots))
	}
	for i := range 12_000 {
		key := fmt.Sprint(i)
		w, ok := want[key]
		if !ok {
			w = log.NoOffset
		}
		if got := m.get([]byte(key)); got != w {
			t.Fatalf("%s is at %d, want %d", key, got, w)
		}
	}
}

// TestSupersededEqualsASet, with offsets that lie close and far apart, until it takes more
// memory than it may.
func TestSupersededEqualsASet(t *testing.T) {
	for _, c := range []struct {
		spread int64
		n      int
		full   bool
	}{{100_000, 50_000, false}, {1 << 40, 1, true}, {40_000_000, 3000, true}, {2_000_000, 100, false}} {
		rng := rand.New(rand.NewSource(c.spread))
		s := newSuperseded(1000, 64<<10)
		want := map[int64]bool{}
		for range c.n {
			offset := 1000 + rng.Int63n(c.spread)
			s.add(offset)
			want[offset] = true
			if s.bytes > s.limit && !s.full {
				t.Fatalf("%d bytes of %d", s.bytes, s.limit)
			}
		}
		if s.full != c.full {
			t.Errorf("spread %d: full is %v", c.spread, s.full)
		}
		for offset := int64(1000); !s.full && offset < 1000+c.spread+5; offset++ {
			if s.has(offset) != want[offset] {
				t.Fatalf("spread %d: has %d is %v", c.spread, offset, s.has(offset))
			}
		}
	}
}

func TestThrottleHoldsTheRate(t *testing.T) {
	c := clock.NewVirtual(time.Unix(1000, 0))
	th := &throttle{clock: c}
	th.setRate(1000)
	began := c.Now()
	done := make(chan error, 1)
	go func() {
		for range 50 {
			if err := th.take(context.Background(), 100); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	// What was not used before counts for the first three.
	for range 47 {
		c.AwaitPending(1)
		next, _ := c.Next()
		c.AdvanceTo(next)
	}
	if err := <-done; err != nil || c.Since(began) != 4700*time.Millisecond {
		t.Errorf("5000 bytes at 1000 a second took %s: %v", c.Since(began), err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errStopped)
	if err := th.take(ctx, 1); err != errStopped {
		t.Errorf("after the end: %v", err)
	}
}

func TestGroups(t *testing.T) {
	seg := func(base, next, size int64) log.Segment {
		return log.Segment{BaseOffset: base, NextOffset: next, Size: size}
	}
	for _, c := range []struct {
		segs []log.Segment
		want string
	}{
		{[]log.Segment{seg(0, 10, 50), seg(10, 20, 50), seg(20, 30, 1)}, "[{0 2} {2 1}]"},
		{[]log.Segment{seg(0, 10, 500), seg(10, 20, 50)}, "[{0 1} {1 1}]"},
		{[]log.Segment{seg(0, 1<<31, 1), seg(1<<31, 1<<31+5, 1), seg(1<<31+5, 1<<31+9, 1)}, "[{0 1} {1 2}]"},
		{[]log.Segment{seg(0, 10, 50), seg(10, 20, 0), seg(20, 30, 0)}, "[{0 1}]"},
		{[]log.Segment{seg(0, 10, 0), seg(10, 20, 0), seg(20, 30, 7), seg(30, 40, 0)}, "[{0 3}]"},
	} {
		if got := fmt.Sprint(group(c.segs, 100)); got != c.want {
			t.Errorf("%v: groups %s, want %s", c.segs, got, c.want)
		}
	}
}

// TestOldFormatsAreCompacted: they become format v2, and their tombstones go by the
// age of the last segment that was compacted before.
func TestOldFormatsAreCompacted(t *testing.T) {
	r := newRig(t, vfs.NewMem()).open()
	v2 := batch.NewBuilder(0)
	v2.Append(1, []byte("a"), []byte("1"), nil)
	v2.Append(2, []byte("b"), []byte("1"), nil)
	data, err := v2.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	old, err := batch.DownConvert(data, batch.MagicV1, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	infos, err := batch.Infos(old)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.l.AppendVerbatim(old, infos, 0); err != nil {
		t.Fatal(err)
	}
	r.put(r.l, nil, "a=2")
	r.clean()
	r.wantDump("1-1[1:b=1] 2-2[2:a=2]")
}

// TestCleanerRunsInTheBackground: it begins with Start, takes a new configuration
// without losing its place, and ends with Close.
func TestCleanerRunsInTheBackground(t *testing.T) {
	r := newRig(t, vfs.NewMem()).open()
	r.put(r.l, nil, "a=1")
	r.put(r.l, nil, "a=2")
	r.roll()
	r.conf.Threads = 2
	r.c.Reconfigure(r.conf)
	r.c.Start()
	wait := func(offset int64, threads int) {
		t.Helper()
		r.clock.AwaitPending(threads) // all rest: nothing is due
		if p, ok := r.l.CleanPoint(); !ok || p != offset {
			t.Fatalf("compacted up to %d, want %d", p, offset)
		}
	}
	wait(2, 2)
	r.put(r.l, nil, "a=3")
	r.roll()
	r.clock.Advance(15 * time.Second)
	wait(3, 2)
	r.conf.Threads, r.conf.DedupeBufferSize = 1, 1<<21
	r.put(r.l, nil, "a=4")
	r.roll()
	r.c.Reconfigure(r.conf)
	wait(4, 1)
	if s := r.c.Stats(); s.DeadThreadCount != 0 {
		t.Errorf("%+v", s)
	}
	r.c.Close()
	r.c.Start()
	r.wantDump("3-3[3:a=4]")
	if s := r.c.Stats(); len(s.Uncleanable) > 0 || s.CleanerRecopyPercent != 50 || s.DeadThreadCount != 0 {
		t.Errorf("%+v", s)
	}
}

// TestDeadThreadIsCounted (L8), until the next configuration starts others.
func TestDeadThreadIsCounted(t *testing.T) {
	r := newRig(t, vfs.NewMem()).open()
	logs, ended := r.c.o.Logs, make(chan struct{})
	r.c.o.Logs = func() []*log.Log {
		defer close(ended)
		runtime.Goexit()
		return nil
	}
	r.c.Start()
	<-ended
	r.c.running.Wait()
	if s := r.c.Stats(); s.DeadThreadCount != 1 {
		t.Errorf("%+v", s)
	}
	r.c.o.Logs = logs
	r.conf.DedupeBufferSize++
	r.c.Reconfigure(r.conf)
	r.clock.AwaitPending(1)
	if s := r.c.Stats(); s.DeadThreadCount != 0 {
		t.Errorf("%+v", s)
	}
	r.c.Close()
}
