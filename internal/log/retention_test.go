package log

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand"
	"strings"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/vfs"
)

const yearMs = 365 * 24 * 3600 * 1000

// retained is a random life of a log under retention, and what Apache Kafka's rules
// (docs/architecture/retention.md) keep of it.
type retained struct {
	t    *testing.T
	r    *rig
	rng  *rand.Rand
	seed int64
	// step is what the clock that retention goes by is off by.
	step int64
	// times are the timestamps of the records by offset, written when by base offset of
	// their batch.
	times   map[int64]int64
	written map[int64]int64
	start   int64
}

// append writes a batch whose records are of the past, the future, of now or without a
// time.
func (x *retained) append() {
	x.t.Helper()
	now := x.r.clock.Now().UnixMilli()
	b := batch.NewBuilder(0)
	kind := x.rng.Intn(12)
	var list []int64
	for range 1 + x.rng.Intn(3) {
		ts := now + x.step - x.rng.Int63n(5000)
		switch kind {
		case 0:
			ts = now + x.rng.Int63n(2*yearMs)
		case 1:
			ts = max(now-x.rng.Int63n(60*yearMs), 0)
		case 2, 3:
			ts = NoTimestamp
		}
		list = append(list, ts)
		b.Append(ts, nil, bytes.Repeat([]byte("v"), x.rng.Intn(60)), nil)
	}
	data, err := b.Build(nil)
	if err != nil {
		x.t.Fatal(err)
	}
	info, err := x.r.appendRaw(x.r.log(), 3, batch.OriginClient, data)
	if err != nil {
		x.t.Fatal(err)
	}
	for i, ts := range list {
		x.times[info.FirstOffset+int64(i)] = ts
		x.written[info.FirstOffset+int64(i)] = now
	}
}

// largest is the largest timestamp of [base, next), else when it was written last.
func (x *retained) largest(base, next int64) int64 {
	ts, written := NoTimestamp, int64(0)
	for o := base; o < next; o++ {
		ts, written = max(ts, x.times[o]), max(written, x.written[o])
	}
	if ts < 0 {
		return written
	}
	return ts
}

// expected is the log start after retention at nowMs.
func (x *retained) expected(nowMs int64) int64 {
	l, start := x.r.log(), x.r.log().LogStartOffset()
	segs := l.SegmentSizes()
	drop := func(due func(s Segment, last bool) bool) {
		for len(segs) > 0 {
			s := segs[0]
			if s.NextOffset > l.HighWatermark() || s.Active && s.Size == 0 || !due(s, s.Active) {
				return
			}
			start = max(start, s.NextOffset)
			segs = segs[1:]
		}
	}
	cfg := x.r.cfg
	drop(func(s Segment, last bool) bool { return !last && s.NextOffset <= start })
	if !cfg.CleanupDelete {
		return start
	}
	if cfg.RetentionBytes >= 0 {
		size := int64(0)
		for _, s := range segs {
			size += s.Size
		}
		drop(func(s Segment, _ bool) bool {
			if size-s.Size < cfg.RetentionBytes {
				return false
			}
			size -= s.Size
			return true
		})
	}
	if cfg.RetentionMs >= 0 {
		drop(func(s Segment, _ bool) bool { return nowMs-x.largest(s.BaseOffset, s.NextOffset) > cfg.RetentionMs })
	}
	return start
}

// configure draws a cleanup policy and limits.
func (x *retained) configure() {
	c := &x.r.cfg
	c.CleanupDelete, c.CleanupCompact = x.rng.Intn(4) > 0, x.rng.Intn(4) == 0
	c.RetentionBytes, c.RetentionMs = -1, -1
	if x.rng.Intn(3) == 0 {
		c.RetentionBytes = x.rng.Int63n(4000)
	}
	if x.rng.Intn(3) > 0 {
		c.RetentionMs = x.rng.Int63n(7_000_000)
	}
	x.r.log().Reconfigure(*c)
}

func (x *retained) do() string {
	l := x.r.log()
	switch k := x.rng.Intn(30); {
	case k < 14:
		x.append()
	case k < 17:
		l.UpdateHighWatermark(l.HighWatermark() + x.rng.Int63n(l.LogEndOffset()-l.HighWatermark()+1))
	case k < 20:
		x.r.clock.Advance(time.Duration(x.rng.Intn(1000)) * time.Second)
	case k == 20:
		x.configure()
	case k == 21: // the clock steps
		x.step = []int64{0, yearMs, -yearMs}[x.rng.Intn(3)]
	case k == 22:
		if _, err := l.AdvanceStart(l.LogStartOffset() + x.rng.Int63n(l.HighWatermark()-l.LogStartOffset()+1)); err != nil {
			x.t.Fatal(err)
		}
		x.start = l.LogStartOffset()
	case k == 23:
		hw := l.HighWatermark()
		x.r.close()
		x.r.open()
		x.r.log().UpdateHighWatermark(hw)
	default:
		now := x.r.clock.Now().UnixMilli() + x.step
		// Just at a limit, or by one on either side of it.
		s := l.SegmentSizes()[0]
		switch side := x.rng.Int63n(3) - 1; x.rng.Intn(4) {
		case 0:
			now = x.largest(s.BaseOffset, s.NextOffset) + x.r.cfg.RetentionMs + side
		case 1:
			x.r.cfg.RetentionBytes = max(l.Size()-s.Size+side, 0)
			l.Reconfigure(x.r.cfg)
		}
		want := x.expected(now)
		if _, err := l.DeleteOldSegments(now); err != nil {
			x.t.Fatal(err)
		}
		x.start = want
		return fmt.Sprintf("retention at %d", now)
	}
	return "a step"
}

// TestRetentionEqualsTheModel (L9): with clocks that step by a year and timestamps of
// any time, exactly what Kafka's rules say is deleted, and each acknowledged record that
// they keep is there.
func TestRetentionEqualsTheModel(t *testing.T) {
	for seed := range int64(200) {
		mem := vfs.NewMem()
		r := newRig(t, mem)
		r.cfg.SegmentBytes = 300 + int(seed)%500
		r.cfg.SegmentMs = 1_000_000
		r.cfg.SegmentJitterMs = seed % 3 * 300_000
		r.open()
		r.create()
		x := &retained{t: t, r: r, rng: rand.New(rand.NewSource(seed)), seed: seed, times: map[int64]int64{}, written: map[int64]int64{}}
		x.configure()
		for range 150 {
			what := x.do()
			l := r.log()
			if got := l.LogStartOffset(); got != x.start || l.SegmentSizes()[0].BaseOffset > got {
				t.Fatalf("seed %d, %s: the log starts at %d, want %d; segments %+v, %+v", seed, what, got, x.start, l.Segments(), r.cfg)
			}
		}
		l := r.log()
		for i, rec := range records(t, l, l.LogStartOffset(), l.LogEndOffset(), 1<<20) {
			if want := l.LogStartOffset() + int64(i); rec.offset != want || rec.ts != x.times[want] {
				t.Fatalf("seed %d: record %+v, want %d of %d", seed, rec, want, x.times[want])
			}
		}
		r.m.Abort()
	}
}

// TestFutureTimestampIsReported once a segment, since it keeps what follows too.
func TestFutureTimestampIsReported(t *testing.T) {
	var out bytes.Buffer
	r := newRig(t, vfs.NewMem())
	r.cfg.RetentionMs = 1000
	o := r.options()
	o.Logger = slog.New(slog.NewTextHandler(&out, nil))
	r.openWith(o)
	l := r.create()
	now := r.clock.Now().UnixMilli()
	r.mustAppend(l, now+yearMs, "from the future")
	l.UpdateHighWatermark(1)
	for range 3 {
		if _, err := l.DeleteOldSegments(now); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(out.String(), "future"); n != 1 || l.LogStartOffset() != 0 {
		t.Errorf("reported %d times, the log starts at %d\n%s", n, l.LogStartOffset(), &out)
	}
	if _, err := l.DeleteOldSegments(now + yearMs + 1001); err != nil || l.LogStartOffset() != 1 {
		t.Errorf("the log starts at %d, %v", l.LogStartOffset(), err)
	}
}

// TestRollJitter: each segment ends at a time of its own, earlier than segment.ms by no
// more than segment.jitter.ms, so that not all logs roll at once.
func TestRollJitter(t *testing.T) {
	r := newRig(t, vfs.NewMem())
	r.cfg.SegmentMs, r.cfg.SegmentJitterMs = 1000, 400
	r.open()
	l := r.create()
	ends := map[int64]bool{}
	at := int64(1_000_000)
	for range 20 {
		begin := at
		if info := r.mustAppend(l, at, "first"); len(ends) > 0 && !info.Rolled {
			t.Fatalf("%+v", info)
		}
		for at = begin + 580; !r.mustAppend(l, at, "x").Rolled; at += 20 {
		}
		if took := at - begin; took <= 600 || took > 1020 {
			t.Errorf("a segment ended after %d ms", took)
		}
		ends[at-begin] = true
		at += 5000 // begins the next
	}
	if len(ends) < 5 {
		t.Errorf("the ends of 20 segments were %v", ends)
	}
}
