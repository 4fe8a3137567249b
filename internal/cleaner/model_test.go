package cleaner

import (
	"context"
	"fmt"
	"maps"
	"math/rand"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/log"
	"github.com/gregorhq/gregor/internal/producer"
	"github.com/gregorhq/gregor/internal/vfs"
)

// history is a random life of one log, and the map that its readers must end with.
type history struct {
	t    *testing.T
	r    *rig
	rng  *rand.Rand
	seed int64
	disk *crashing
	// open are the producers with a transaction under way, seqs the next sequence
	// number of each producer.
	open map[int64]bool
	seqs map[int64]int32
	// all is what was written, without aborted transactions.
	all []write
	n   int
}

type kv struct{ k, v string }

// write is one record by its offset. Aborted ones are dropped.
type write struct {
	offset int64
	kv
	pid int64 // of an open transaction, else 0
}

// crashing is a memory disk that takes a picture after every change while it is
// told to.
type crashing struct {
	mem      *vfs.Mem
	rng      *rand.Rand
	on       bool
	pictures []picture
}

type picture struct {
	after string
	mode  vfs.CrashMode
	mem   *vfs.Mem
}

func (c *crashing) note(op string) {
	if !c.on {
		return
	}
	mode := vfs.CrashMode(c.rng.Intn(2))
	c.pictures = append(c.pictures, picture{op, mode, c.mem.Crash(c.rng, mode)})
}

func newHistory(t *testing.T, seed int64) *history {
	rng := rand.New(rand.NewSource(seed))
	disk := &crashing{mem: vfs.NewMem(), rng: rand.New(rand.NewSource(seed + 1))}
	h := &history{t: t, rng: rng, seed: seed, disk: disk, open: map[int64]bool{}, seqs: map[int64]int32{}}
	h.r = newRig(t, vfs.NewTrace(disk.mem, disk.note))
	disk.mem.SetNow(h.r.clock.Now)
	h.r.cfg.SegmentBytes = 600 + rng.Intn(3000)
	h.r.cfg.IndexIntervalBytes = 50 + rng.Intn(400)
	h.r.conf.IOBufferSize = 2 * (4096 + rng.Intn(4096))
	if rng.Intn(3) == 0 {
		h.r.conf.DedupeBufferSize = int64(slotSize * (3 + rng.Intn(20)))
	}
	h.r.open()
	return h
}

// builder makes an empty batch of a random codec.
func (h *history) builder() *batch.Builder {
	b := batch.NewBuilder(0)
	b.Codec = batch.Codec(h.rng.Intn(5))
	if h.rng.Intn(4) == 0 {
		b.TimestampType, b.LogAppendTimeMs = batch.LogAppendTime, h.r.nowMs()
	}
	return b
}

func (h *history) records(b *batch.Builder) []kv {
	var list []kv
	for range 1 + h.rng.Intn(4) {
		h.n++
		x := kv{k: fmt.Sprintf("k%d", h.rng.Intn(12))}
		var v []byte
		if h.rng.Intn(4) > 0 {
			x.v = fmt.Sprintf("%d-%s", h.n, strings.Repeat("v", h.rng.Intn(60)))
			v = []byte(x.v)
		}
		var headers []batch.RecordHeader
		if h.rng.Intn(3) == 0 {
			headers = []batch.RecordHeader{{Key: "h", Value: []byte(x.v)}}
		}
		b.Append(h.r.nowMs()-int64(h.rng.Intn(1000)), []byte(x.k), v, headers)
		list = append(list, x)
	}
	return list
}

// step does one random thing.
func (h *history) step() {
	l := h.r.l
	switch k := h.rng.Intn(20); {
	case k < 7:
		b := h.builder()
		h.write(b, 0)
	case k < 9:
		b := h.builder()
		by(1, 0, h.seqs[1], false)(b)
		h.seqs[1] += int32(h.write(b, 0))
	case k < 13:
		pid := 10 + int64(h.rng.Intn(3))
		b := h.builder()
		by(pid, 0, h.seqs[pid], true)(b)
		h.seqs[pid] += int32(h.write(b, pid))
		h.open[pid] = true
	case k < 16:
		if len(h.open) > 0 {
			pids := slices.Sorted(maps.Keys(h.open))
			h.finish(pids[h.rng.Intn(len(pids))], h.rng.Intn(2) == 0)
		}
	case k == 16:
		h.r.roll()
	case k == 17:
		h.r.clock.Advance(time.Duration(h.rng.Intn(3000)) * time.Second)
	case k == 18:
		h.r.m.RunTasks()
	default:
		if err := l.Flush(); err != nil {
			h.t.Fatal(err)
		}
	}
}

func (h *history) write(b *batch.Builder, pid int64) int {
	list := h.records(b)
	info := h.r.add(h.r.l, b, batch.OriginClient)
	for i, x := range list {
		h.all = append(h.all, write{info.FirstOffset + int64(i), x, pid})
	}
	return len(list)
}

// finish ends a transaction.
func (h *history) finish(pid int64, commit bool) {
	h.r.end(h.r.l, pid, 0, commit)
	delete(h.open, pid)
	keep := h.all[:0]
	for _, w := range h.all {
		if w.pid == pid {
			if !commit {
				continue
			}
			w.pid = 0
		}
		keep = append(keep, w)
	}
	h.all = keep
}

// want is the state below the last stable offset.
func (h *history) want(upTo int64) map[string]string {
	state := map[string]string{}
	for _, w := range h.all {
		if w.offset < upTo && w.pid == 0 {
			state[w.k] = w.v
			if w.v == "" {
				delete(state, w.k)
			}
		}
	}
	return state
}

// reader is a read-committed consumer.
type reader struct {
	l     *log.Log
	at    int64
	state map[string]string
}

func newReader(l *log.Log) *reader { return &reader{l: l, state: map[string]string{}} }

// poll reads on once, at most maxBytes.
func (x *reader) poll(maxBytes int) error {
	d, err := x.l.Read(x.at, maxBytes, x.l.LastStableOffset(), true)
	if err != nil {
		return err
	}
	aborted, err := x.l.AbortedTxns(x.at, d.NextOffset)
	if err != nil {
		return err
	}
	var data []byte
	for _, s := range d.Spans {
		b := s.B
		if b == nil {
			b = make([]byte, s.Len)
			if _, err := s.File.ReadAt(b, s.Off); err != nil {
				return err
			}
		}
		data = append(data, b...)
	}
	d.Release()
	infos, err := batch.Infos(data)
	if err != nil {
		return err
	}
	slices.SortFunc(aborted, func(a, b log.AbortedTxn) int { return int(a.FirstOffset - b.FirstOffset) })
	dropping := map[int64]bool{}
	for i := range infos {
		b := &infos[i]
		if b.LastOffset < x.at {
			return fmt.Errorf("batch %d-%d below %d", b.BaseOffset, b.LastOffset, x.at)
		}
		for len(aborted) > 0 && aborted[0].FirstOffset <= b.LastOffset {
			dropping[aborted[0].ProducerID] = true
			aborted = aborted[1:]
		}
		if b.IsControl {
			if b.Control.Valid && b.Control.Type == batch.ControlAbort {
				delete(dropping, b.ProducerID)
			}
		} else if !b.IsTransactional || !dropping[b.ProducerID] {
			if err := x.apply(data[b.Pos:b.End()]); err != nil {
				return err
			}
		}
		x.at = b.LastOffset + 1
	}
	return nil
}

func (x *reader) apply(b []byte) error {
	var it batch.Iter
	defer it.Close()
	if err := it.Reset(b, 0); err != nil {
		return err
	}
	var r batch.Record
	for it.Next(&r) {
		if r.Offset < x.at {
			continue
		}
		if r.Value == nil {
			delete(x.state, string(r.Key))
		} else {
			x.state[string(r.Key)] = string(r.Value)
		}
	}
	return it.Err()
}

// finish reads to the last stable offset, which it must reach. What lay below an
// older one may be gone by the time it is read: then the offset has moved on.
func (x *reader) finish(maxBytes int) error {
	for end := x.l.LastStableOffset(); x.at < end; {
		before, stable := x.at, x.l.LastStableOffset()
		if err := x.poll(maxBytes); err != nil {
			return err
		}
		if x.at == before && stable == x.l.LastStableOffset() {
			return fmt.Errorf("a reader waits at %d below the last stable offset %d", x.at, end)
		}
	}
	return nil
}

// check compares a fresh reader of the log with the map.
func (h *history) check(l *log.Log, want map[string]string, label string) {
	h.t.Helper()
	x := newReader(l)
	err := x.finish(1 + h.rng.Intn(2000))
	if err == nil {
		err = wholeFiles(l, h.r.fs)
	}
	if err == nil && !maps.Equal(x.state, want) {
		err = fmt.Errorf("a reader ends with\n %v, want\n %v", x.state, want)
	}
	if err != nil {
		h.t.Fatalf("seed %d, %s: %v\n%s", h.seed, label, err, h.r.dump(l))
	}
}

// wholeFiles checks the files of the log: every segment is whole batches whose
// offsets grow and lie below the next segment's base.
func wholeFiles(l *log.Log, fsys vfs.FS) error {
	last := int64(-1)
	for _, s := range l.SegmentSizes() {
		name := fmt.Sprintf("%s/%020d.log", l.Folder(), s.BaseOffset)
		data, err := vfs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		infos, err := batch.Infos(data)
		if err != nil {
			return err
		}
		if s.BaseOffset <= last {
			return fmt.Errorf("%s begins after offset %d", name, last)
		}
		end := 0
		for i := range infos {
			if infos[i].BaseOffset <= last || infos[i].BaseOffset < s.BaseOffset || infos[i].LastOffset >= s.NextOffset {
				return fmt.Errorf("%s, which ends at %d, has a batch %d-%d after %d", name, s.NextOffset, infos[i].BaseOffset, infos[i].LastOffset, last)
			}
			last, end = infos[i].LastOffset, infos[i].End()
		}
		if end != len(data) {
			return fmt.Errorf("%s has %d bytes, %d of them whole batches", name, len(data), end)
		}
	}
	return nil
}

// producersOf is what DescribeProducers shows and compaction must not change.
func (h *history) producersOf(l *log.Log) map[int64]producer.Entry {
	list, err := l.ActiveProducers()
	if err != nil {
		h.t.Fatal(err)
	}
	m := map[int64]producer.Entry{}
	for _, e := range list {
		e.CoordinatorEpoch, e.Timestamp = 0, 0 // a marker that is gone takes them with it
		m[e.ProducerID] = e
	}
	return m
}

// compact runs rounds with readers that began before, and crashes after every change
// of the disk that they make.
func (h *history) compact() {
	if h.rng.Intn(2) == 0 {
		h.r.roll()
	}
	if err := h.r.l.Flush(); err != nil {
		h.t.Fatal(err)
	}
	var readers []*reader
	for range 3 {
		x := newReader(h.r.l)
		for range h.rng.Intn(8) {
			if err := x.poll(1 + h.rng.Intn(500)); err != nil {
				h.t.Fatalf("seed %d: %v", h.seed, err)
			}
		}
		readers = append(readers, x)
	}
	want := h.want(h.r.l.LastStableOffset())
	producers := h.producersOf(h.r.l)
	for range 1 + h.rng.Intn(2) {
		h.disk.on = true
		worked := h.r.c.RunOnce(context.Background(), 0)
		h.disk.on = false
		h.r.noFailure()
		for _, x := range readers {
			if err := x.poll(1 + h.rng.Intn(300)); err != nil {
				h.t.Fatalf("seed %d: %v", h.seed, err)
			}
		}
		if !worked {
			break
		}
	}
	h.check(h.r.l, want, "after a round")
	for i, x := range readers {
		if err := x.finish(1 + h.rng.Intn(500)); err != nil || !maps.Equal(x.state, want) {
			h.t.Fatalf("seed %d: reader %d, which began before the round, ends with\n %v, want\n %v: %v", h.seed, i, x.state, want, err)
		}
	}
	pictures := h.disk.pictures
	h.disk.pictures = nil
	for _, i := range h.rng.Perm(len(pictures))[:min(len(pictures), 12)] {
		h.crashed(pictures[i], want, producers)
	}
}

// crashed opens what a crash left: nothing is lost, and compaction goes on.
func (h *history) crashed(p picture, want map[string]string, producers map[int64]producer.Entry) {
	h.t.Helper()
	label := fmt.Sprintf("crash %d after %q", p.mode, p.after)
	r := newRig(h.t, p.mem)
	r.clock = h.r.clock
	p.mem.SetNow(r.clock.Now)
	r.cfg, r.conf = h.r.cfg, h.r.conf
	if h.rng.Intn(2) == 0 {
		folder := testDir + "/" + testTP.String()
		entries, err := p.mem.ReadDir(folder)
		if err != nil {
			h.t.Fatalf("seed %d, %s: %v", h.seed, label, err)
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ".snapshot") {
				_ = p.mem.Remove(folder + "/" + e.Name()) // then everything is read
			}
		}
	}
	if err := r.tryOpen(); err != nil || r.l == nil {
		h.t.Fatalf("seed %d, %s: %v", h.seed, label, err)
	}
	defer r.m.Abort()
	old := h.r
	h.r = r
	defer func() { h.r = old }()
	r.l.UpdateHighWatermark(r.l.LogEndOffset())
	if got, wantEnd := r.l.LogEndOffset(), old.l.LogEndOffset(); got != wantEnd {
		h.t.Fatalf("seed %d, %s: the log ends at %d, want %d", h.seed, label, got, wantEnd)
	}
	h.check(r.l, want, label)
	if got := h.producersOf(r.l); !maps.Equal(got, producers) {
		h.t.Fatalf("seed %d, %s: producers are\n %v, were\n %v\n%s", h.seed, label, got, producers, r.dump(r.l))
	}
	r.rounds()
	h.check(r.l, want, label+" and compacted")
	entries, err := p.mem.ReadDir(r.l.Folder())
	if err != nil {
		h.t.Fatal(err)
	}
	for _, e := range entries {
		if n := e.Name(); strings.HasSuffix(n, ".cleaned") || strings.HasSuffix(n, ".swap") {
			h.t.Fatalf("seed %d, %s: %s is left", h.seed, label, n)
		}
	}
}

// TestCompactionEqualsTheModel (L7, L8, T13): whatever happens, a read-committed
// reader from offset 0 ends with the last committed value of every key, and producers
// go on. GREGOR_CLEAN_SEEDS says how many histories are tried.
func TestCompactionEqualsTheModel(t *testing.T) {
	seeds := 5
	if n, err := strconv.Atoi(os.Getenv("GREGOR_CLEAN_SEEDS")); err == nil {
		seeds = n
	}
	first := int64(0)
	if n, err := strconv.ParseInt(os.Getenv("GREGOR_CLEAN_FIRST_SEED"), 10, 64); err == nil {
		first = n
	}
	for seed := first; seed < first+int64(seeds); seed++ {
		h := newHistory(t, seed)
		for range 6 {
			for range 10 + h.rng.Intn(60) {
				h.step()
			}
			h.compact()
			if h.rng.Intn(4) == 0 {
				h.r.clock.Advance(time.Hour)
			}
			if h.rng.Intn(4) == 0 {
				h.r.reopen()
				h.r.l.UpdateHighWatermark(h.r.l.LogEndOffset())
			}
		}
		for pid := range h.open {
			h.finish(pid, true)
		}
		h.r.clean()
		h.check(h.r.l, h.want(h.r.l.LogEndOffset()), "at the end")
		h.r.m.Abort()
	}
}
