package cleaner

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log"
	"github.com/gregorhq/gregor/internal/vfs"
)

// compactedLife is one compacted partition, and what its client knows.
type compactedLife struct {
	tp      kafka.TopicPartition
	l       *log.Log
	acked   int64 // everything below was flushed and acknowledged
	written int64 // the end of what was or is being appended
	writes  []committedWrite
	pid     int64
}

// committedWrite is one record that a reader of committed records sees in a log that
// ends at or behind visible.
type committedWrite struct {
	visible int64
	kv
}

// lossyLife is a life of several compacted partitions in two directories with
// flush.messages=1, of which pictures are taken in the middle of operations, those of
// the cleaner too.
type lossyLife struct {
	t        *testing.T
	r        *rig
	parts    []*compactedLife
	n        int
	mu       sync.Mutex
	rng      *rand.Rand
	mem      *vfs.Mem
	watching bool
	pictures []lossyPicture
}

type lossyPicture struct {
	after string
	mem   *vfs.Mem
	parts []compactedLife
}

func newLossyLife(t *testing.T, seed int64) *lossyLife {
	x := &lossyLife{t: t, rng: rand.New(rand.NewSource(seed)), mem: vfs.NewMem()}
	x.r = newRig(t, vfs.NewTrace(x.mem, x.picture))
	x.mem.SetNow(x.r.clock.Now)
	x.r.dirs = []string{"/a", "/b"}
	x.r.cfg.SegmentBytes = 500 + x.rng.Intn(1500)
	if err := x.r.tryOpen(); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		p := &compactedLife{tp: kafka.TopicPartition{Topic: "t", Partition: int32(i)}, pid: int64(10 * (i + 1))}
		var err error
		if p.l, err = x.r.m.Create(p.tp, kafka.TopicID{1}, x.r.m.Dirs()[i%2].ID, x.r.cfg); err != nil {
			t.Fatal(err)
		}
		x.parts = append(x.parts, p)
	}
	return x
}

// picture cuts the power after one operation in about thirty, in several ways.
func (x *lossyLife) picture(op string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.watching || x.rng.Intn(30) > 0 {
		return
	}
	var parts []compactedLife
	for _, p := range x.parts {
		c := *p
		c.writes = slices.Clone(p.writes)
		parts = append(parts, c)
	}
	for range 1 + x.rng.Intn(4) {
		x.pictures = append(x.pictures, lossyPicture{op, x.mem.Crash(x.rng, vfs.PowerLoss), parts})
	}
}

func (x *lossyLife) pick(n int) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.rng.Intn(n)
}

func (x *lossyLife) live(steps int) {
	x.watching = true
	for range steps {
		p := x.parts[x.pick(len(x.parts))]
		switch k := x.pick(20); {
		case k < 11:
			x.put(p, nil)
		case k < 14:
			x.transact(p)
		case k < 16:
			if err := p.l.Roll(); err != nil {
				x.t.Fatal(err)
			}
		case k < 17:
			x.r.clock.Advance([]time.Duration{time.Second, time.Minute + time.Second, time.Hour + time.Second}[x.pick(3)])
			x.r.m.RunTasks()
		case k < 18:
			if err := errors.Join(x.r.m.CheckpointRecoveryPoints(), x.r.m.CheckpointHighWatermarks()); err != nil {
				x.t.Fatal(err)
			}
		default:
			x.r.c.RunOnce(context.Background(), 0)
			x.r.noFailure()
		}
	}
	x.watching = false
}

// put writes one batch and flushes it, which is its acknowledgement.
func (x *lossyLife) put(p *compactedLife, change func(*batch.Builder)) []kv {
	b := batch.NewBuilder(0)
	b.Codec = batch.Codec(x.pick(5))
	if change != nil {
		change(b)
	}
	var list []kv
	for range 1 + x.pick(3) {
		x.n++
		w := kv{k: fmt.Sprintf("k%d", x.pick(9))}
		var value []byte
		if x.pick(4) > 0 {
			w.v = fmt.Sprintf("%d-%s", x.n, strings.Repeat("v", x.pick(80)))
			value = []byte(w.v)
		}
		b.Append(x.r.nowMs(), []byte(w.k), value, nil)
		list = append(list, w)
	}
	end := p.l.LogEndOffset() + int64(len(list))
	if change == nil {
		for _, w := range list {
			p.writes = append(p.writes, committedWrite{end, w})
		}
	}
	p.written = end
	x.r.add(p.l, b, batch.OriginClient)
	x.ack(p)
	return list
}

func (x *lossyLife) ack(p *compactedLife) {
	if err := p.l.FlushTo(p.l.LogEndOffset()); err != nil {
		x.t.Fatal(err)
	}
	p.acked = p.l.LogEndOffset()
}

// transact writes a batch in a transaction and ends it.
func (x *lossyLife) transact(p *compactedLife) {
	p.pid++
	pid := p.pid
	list := x.put(p, by(pid, 0, 0, true))
	commit := x.pick(3) > 0
	p.written = p.l.LogEndOffset() + 1
	if commit {
		for _, w := range list {
			p.writes = append(p.writes, committedWrite{p.written, w})
		}
	}
	x.r.end(p.l, pid, 0, commit)
	x.ack(p)
}

// check starts on what a power loss left: every log has what was acknowledged, and its
// reader ends with the state that belongs to its end; so again after more compaction.
func (x *lossyLife) check(pic lossyPicture, label string) {
	x.t.Helper()
	label = fmt.Sprintf("%s, power lost after %q", label, pic.after)
	r := newRig(x.t, pic.mem)
	r.clock, r.cfg, r.dirs = x.r.clock, x.r.cfg, x.r.dirs
	if err := r.tryOpen(); err != nil || len(r.offline) > 0 {
		x.t.Fatalf("%s: %v, offline %v", label, err, r.offline)
	}
	defer r.m.Abort()
	states := map[kafka.TopicPartition]map[string]string{}
	for _, compacted := range []bool{false, true} {
		for i := range pic.parts {
			p := &pic.parts[i]
			l := r.m.Get(p.tp)
			if l == nil {
				if p.acked > 0 {
					x.t.Fatalf("%s: %v is gone", label, p.tp)
				}
				continue
			}
			if err := l.Load(); err != nil {
				x.t.Fatal(err)
			}
			end := l.LogEndOffset()
			if end < p.acked || end > p.written {
				x.t.Fatalf("%s: %v ends at %d, acknowledged %d, written %d", label, p.tp, end, p.acked, p.written)
			}
			if states[p.tp] == nil {
				states[p.tp] = map[string]string{}
				for _, w := range p.writes {
					if w.visible > end {
						continue
					}
					if states[p.tp][w.k] = w.v; w.v == "" {
						delete(states[p.tp], w.k)
					}
				}
			}
			l.UpdateHighWatermark(end)
			reader := newReader(l)
			if err := reader.finish(1 + len(label)*17%1500); err != nil {
				x.t.Fatalf("%s: %v: %v", label, p.tp, err)
			}
			if !maps.Equal(reader.state, states[p.tp]) {
				x.t.Fatalf("%s: %v, compacted again: %v: a reader ends with\n %v, want\n %v", label, p.tp, compacted, reader.state, states[p.tp])
			}
		}
		r.rounds()
	}
}

// TestPowerLossStates: the power goes in the middle of the operations of three compacted
// partitions in two directories, those of the cleaner too. Nothing that was
// acknowledged is lost, no old value and no aborted one comes back. As in internal/log,
// GREGOR_POWER_LOSS_STATES sets how many states are looked at.
func TestPowerLossStates(t *testing.T) {
	want := 1000
	if s := os.Getenv("GREGOR_POWER_LOSS_STATES"); s != "" {
		var err error
		if want, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	states, cleaning, acked := 0, 0, int64(0)
	for seed := int64(0); states < want; seed++ {
		x := newLossyLife(t, seed)
		x.live(20 + x.pick(60))
		for _, pic := range x.pictures {
			x.check(pic, fmt.Sprintf("seed %d", seed))
			states++
			if strings.Contains(pic.after, ".cleaned") || strings.Contains(pic.after, ".swap") {
				cleaning++
			}
			for i := range pic.parts {
				acked += pic.parts[i].acked
			}
		}
		x.r.m.Abort()
	}
	t.Logf("%d states, %d of them in the middle of a compaction, %d acknowledged offsets in them, 0 lost", states, cleaning, acked)
	if cleaning*10 < states {
		t.Errorf("only %d of %d states are in the middle of a compaction", cleaning, states)
	}
}
