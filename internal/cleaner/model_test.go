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
	// open are the first offsets of the transactions under way by producer, seqs and
	// epochs the next sequence number and the epoch of each producer.
	open   map[int64]int64
	seqs   map[int64]int32
	epochs map[int64]int16
	// all is what was written, without aborted transactions; times is when every record
	// was, also of those, by its own time.
	all   []write
	times map[int64]int64
	n     int
	// old says that messages of formats before v2 come too, as from a leader that was
	// upgraded.
	old bool
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
	h := &history{t: t, rng: rng, seed: seed, disk: disk, open: map[int64]int64{}, seqs: map[int64]int32{}, epochs: map[int64]int16{}, times: map[int64]int64{}}
	h.r = newRig(t, vfs.NewTrace(disk.mem, disk.note))
	disk.mem.SetNow(h.r.clock.Now)
	h.r.cfg.SegmentBytes = 600 + rng.Intn(3000)
	h.r.cfg.IndexIntervalBytes = 50 + rng.Intn(400)
	h.r.conf.IOBufferSize = 2 * (4096 + rng.Intn(4096))
	if rng.Intn(3) == 0 {
		h.r.conf.DedupeBufferSize = int64(slotSize * (3 + rng.Intn(20)))
	}
	if rng.Intn(4) == 0 {
		h.r.cfg.MinCompactionLagMs = 1 + rng.Int63n(2000_000)
	}
	if rng.Intn(4) == 0 {
		h.r.cfg.MinCleanableDirtyRatio = rng.Float64()
		h.r.cfg.MaxCompactionLagMs = 1 + rng.Int63n(4000_000)
	}
	if rng.Intn(3) == 0 { // cleanup.policy=compact,delete
		h.r.cfg.CleanupDelete = true
		if rng.Intn(2) == 0 {
			h.r.cfg.RetentionBytes = 2000 + rng.Int63n(20_000)
		} else {
			h.r.cfg.RetentionMs = 1 + rng.Int63n(12_000_000)
		}
	}
	h.old = rng.Intn(5) == 0
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
	switch k := h.rng.Intn(44); {
	case k < 14:
		h.write(h.builder(), 0)
	case k < 18:
		b := h.builder()
		by(1, 0, h.seqs[1], false)(b)
		h.seqs[1] += int32(h.write(b, 0))
	case k < 26:
		pid := 10 + int64(h.rng.Intn(3))
		b := h.builder()
		by(pid, h.epochs[pid], h.seqs[pid], true)(b)
		if _, ok := h.open[pid]; !ok {
			h.open[pid] = h.r.l.LogEndOffset()
		}
		h.seqs[pid] += int32(h.write(b, pid))
	case k < 32:
		if len(h.open) > 0 {
			pids := slices.Sorted(maps.Keys(h.open))
			h.finish(pids[h.rng.Intn(len(pids))], h.rng.Intn(2) == 0)
		}
	case k < 34:
		h.r.roll()
	case k < 36:
		h.r.clock.Advance(time.Duration(h.rng.Intn(3000)) * time.Second)
	case k < 38:
		h.r.m.RunTasks()
	case k < 40:
		h.flush()
	case k == 40:
		h.truncated()
	case k == 42 && h.old:
		h.oldFormat()
	case k == 41:
		if h.r.cfg.CleanupDelete && h.rng.Intn(3) == 0 { // DeleteRecords
			start := h.r.l.LogStartOffset()
			if _, err := h.r.l.AdvanceStart(start + h.rng.Int63n(h.r.l.HighWatermark()-start+1)); err != nil {
				h.t.Fatal(err)
			}
		}
	default:
		h.r.m.DeleteOldSegments()
	}
}

func (h *history) flush() {
	if err := h.r.l.Flush(); err != nil {
		h.t.Fatal(err)
	}
}

func (h *history) write(b *batch.Builder, pid int64) int {
	list := h.records(b)
	info := h.r.add(h.r.l, b, batch.OriginClient)
	for i, x := range list {
		h.all = append(h.all, write{info.FirstOffset + int64(i), x, pid})
		h.times[info.FirstOffset+int64(i)] = h.r.nowMs() - 1000
	}
	return len(list)
}

// oldFormat appends messages of format v0 or v1.
func (h *history) oldFormat() {
	end := h.r.l.LogEndOffset()
	b := batch.NewBuilder(end)
	b.Codec = batch.Codec(h.rng.Intn(4)) // zstd is younger
	list := h.records(b)
	v2, err := b.Build(nil)
	if err != nil {
		h.t.Fatal(err)
	}
	data, err := batch.DownConvert(v2, int8(h.rng.Intn(2)), 0, 0)
	if err != nil {
		h.t.Fatal(err)
	}
	infos, err := batch.Infos(data)
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := h.r.l.AppendVerbatim(data, infos, h.r.nowMs()); err != nil {
		h.t.Fatal(err)
	}
	h.r.l.UpdateHighWatermark(h.r.l.LogEndOffset())
	for i, x := range list {
		h.all = append(h.all, write{end + int64(i), x, 0})
		h.times[end+int64(i)] = h.r.nowMs() - 1000
	}
}

// truncated is a leader that loses records which no follower had, perhaps after a
// round that saw them.
func (h *history) truncated() {
	l, end := h.r.l, h.r.l.LogEndOffset()
	for range 1 + h.rng.Intn(3) {
		b := h.builder()
		h.records(b)
		data, err := b.Build(nil)
		if err != nil {
			h.t.Fatal(err)
		}
		infos, err := batch.Infos(data)
		if err != nil {
			h.t.Fatal(err)
		}
		if _, err := l.Append(&batch.Appended{Data: data, Infos: infos}, 3, batch.OriginClient, h.r.nowMs()); err != nil {
			h.t.Fatal(err)
		}
		if h.rng.Intn(2) == 0 {
			h.r.roll()
		}
	}
	if h.rng.Intn(2) == 0 {
		h.r.c.RunOnce(context.Background(), 0)
		h.r.noFailure()
	}
	if _, err := l.TruncateTo(end); err != nil {
		h.t.Fatal(err)
	}
}

// finish ends a transaction; every other time as transactions of version 2 do, whose
// marker carries the producer's next epoch.
func (h *history) finish(pid int64, commit bool) {
	if h.rng.Intn(2) == 0 {
		h.epochs[pid]++
		h.seqs[pid] = 0
	}
	h.r.end(h.r.l, pid, h.epochs[pid], commit)
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

// want is the state below the last stable offset of a log which begins at from.
func (h *history) want(from, upTo int64) map[string]string {
	state := map[string]string{}
	for _, w := range h.all {
		if w.offset >= from && w.offset < upTo && w.pid == 0 {
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

// poll reads on once, at most maxBytes. What lies before the log's start is lost to it,
// as to a consumer with auto.offset.reset=earliest, so that it begins anew.
func (x *reader) poll(maxBytes int) error {
	if start := x.l.LogStartOffset(); x.at < start {
		x.at = start
		clear(x.state)
	}
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

// producersOf is what DescribeProducers shows and compaction must not change, of
// producers that wrote at from or later: retention may take others.
func (h *history) producersOf(l *log.Log, from int64) map[int64]producer.Entry {
	list, err := l.ActiveProducers()
	if err != nil {
		h.t.Fatal(err)
	}
	m := map[int64]producer.Entry{}
	for _, e := range list {
		if from > 0 && e.LastOffset < from {
			continue
		}
		e.CoordinatorEpoch, e.Timestamp = 0, 0 // a marker that is gone takes them with it
		m[e.ProducerID] = e
	}
	return m
}

// untouched are the records that the next round must leave alone: those at or above
// the last stable offset, and those younger than min.compaction.lag.ms.
func (h *history) untouched(l *log.Log) []int64 {
	var list []int64
	start, stable, young := l.LogStartOffset(), l.LastStableOffset(), h.r.nowMs()-h.r.cfg.MinCompactionLagMs
	for offset, ts := range h.times {
		if offset >= start && (offset >= stable || h.r.cfg.MinCompactionLagMs > 0 && ts > young) {
			list = append(list, offset)
		}
	}
	return list
}

// offsets are those of all records that are there, committed or not.
func (h *history) offsets(l *log.Log) map[int64]bool {
	h.t.Helper()
	data, _, err := batches(l, l.LogStartOffset(), l.LogEndOffset(), 1<<20)
	if err != nil {
		h.t.Fatalf("seed %d: %v", h.seed, err)
	}
	infos, err := batch.Infos(data)
	if err != nil {
		h.t.Fatal(err)
	}
	there := map[int64]bool{}
	var it batch.Iter
	defer it.Close()
	for i := range infos {
		if err := it.Reset(data[infos[i].Pos:infos[i].End()], 0); err != nil {
			h.t.Fatal(err)
		}
		var r batch.Record
		for it.Next(&r) {
			there[r.Offset] = true
		}
	}
	return there
}

// compact runs rounds and retention with readers that began before, and crashes after
// every change of the disk that they make.
func (h *history) compact() {
	if h.rng.Intn(2) == 0 {
		h.r.roll()
	}
	h.flush()
	l := h.r.l
	var readers []*reader
	for range 3 {
		x := newReader(l)
		for range h.rng.Intn(8) {
			if err := x.poll(1 + h.rng.Intn(500)); err != nil {
				h.t.Fatalf("seed %d: %v", h.seed, err)
			}
		}
		readers = append(readers, x)
	}
	stable, untouched := l.LastStableOffset(), h.untouched(l)
	for range 1 + h.rng.Intn(2) {
		h.disk.on = true
		worked := h.r.c.RunOnce(context.Background(), 0)
		if h.rng.Intn(3) == 0 {
			h.r.m.DeleteOldSegments()
		}
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
	there := h.offsets(l)
	for _, offset := range untouched {
		if offset >= l.LogStartOffset() && !there[offset] {
			h.t.Fatalf("seed %d: a round removed the record at %d, of a last stable offset %d and written at %d, at %d\n%s", h.seed, offset, stable, h.times[offset], h.r.nowMs(), h.r.dump(l))
		}
	}
	h.check(l, h.want(l.LogStartOffset(), l.LastStableOffset()), "after a round")
	for i, x := range readers {
		if err := x.finish(1 + h.rng.Intn(500)); err != nil {
			h.t.Fatalf("seed %d: reader %d: %v", h.seed, i, err)
		}
		// A reader that was before the start keeps what it read of records that are gone.
		if want := h.want(l.LogStartOffset(), l.LastStableOffset()); !h.r.cfg.CleanupDelete && !maps.Equal(x.state, want) {
			h.t.Fatalf("seed %d: reader %d, which began before the round, ends with\n %v, want\n %v", h.seed, i, x.state, want)
		}
	}
	pictures := h.disk.pictures
	h.disk.pictures = nil
	for _, i := range h.rng.Perm(len(pictures))[:min(len(pictures), 12)] {
		h.crashed(pictures[i])
	}
}

// crashed opens what a crash left: nothing is lost, and compaction goes on.
func (h *history) crashed(p picture) {
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
	if got, want := r.l.LastStableOffset(), old.l.LastStableOffset(); got != want && !r.cfg.CleanupDelete {
		h.t.Fatalf("seed %d, %s: the last stable offset is %d, was %d", h.seed, label, got, want)
	}
	if got, want := r.l.LogStartOffset(), old.l.LogStartOffset(); got > want {
		h.t.Fatalf("seed %d, %s: the log starts at %d, did at %d", h.seed, label, got, want)
	}
	// The start of a log may go back to that of its first segment.
	want := h.want(r.l.LogStartOffset(), r.l.LastStableOffset())
	h.check(r.l, want, label)
	from := int64(0)
	if r.cfg.CleanupDelete {
		from = old.l.LogStartOffset()
	}
	got, were := h.producersOf(r.l, from), h.producersOf(old.l, from)
	for pid, e := range were {
		if e.CurrentTxnFirstOffset >= 0 && e.CurrentTxnFirstOffset < from {
			e.CurrentTxnFirstOffset = got[pid].CurrentTxnFirstOffset // its first batches are gone
			were[pid] = e
		}
	}
	if !maps.Equal(got, were) {
		h.t.Fatalf("seed %d, %s: producers are\n %v, were\n %v\n%s", h.seed, label, got, were, r.dump(r.l))
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

// foundHistories are seeds that showed a bug: 219 a tombstone that went with the delete
// horizon of a batch that the key map had only in part.
var foundHistories = []int64{219}

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
	list := slices.Clone(foundHistories)
	for seed := first; seed < first+int64(seeds); seed++ {
		list = append(list, seed)
	}
	for _, seed := range list {
		h := newHistory(t, seed)
		for range 6 {
			for range 10 + h.rng.Intn(60) {
				h.step()
				h.stable("after a step")
			}
			h.compact()
			h.stable("after compaction")
			if h.rng.Intn(4) == 0 {
				h.r.clock.Advance(time.Hour)
			}
			if h.rng.Intn(4) == 0 {
				h.r.reopen()
				h.r.l.UpdateHighWatermark(h.r.l.LogEndOffset())
				h.stable("after a kill")
			}
		}
		for _, pid := range slices.Sorted(maps.Keys(h.open)) {
			h.finish(pid, true)
		}
		h.end()
		h.r.m.Abort()
	}
}

// stable checks the last stable offset.
func (h *history) stable(label string) {
	h.t.Helper()
	want := h.r.l.HighWatermark()
	for _, first := range h.open {
		want = min(want, max(first, h.r.l.LogStartOffset()))
	}
	if got := h.r.l.LastStableOffset(); got != want {
		list, _ := h.r.l.ActiveProducers()
		h.t.Fatalf("seed %d, %s: the last stable offset is %d, want %d; log start %d, open %v, producers %+v", h.seed, label, got, want, h.r.l.LogStartOffset(), h.open, list)
	}
}

// end compacts until nothing more may go, and looks whether it is gone.
func (h *history) end() {
	h.t.Helper()
	h.r.cfg.MinCleanableDirtyRatio, h.r.cfg.MinCompactionLagMs = 0, 0
	h.r.l.Reconfigure(h.r.cfg)
	for range 3 { // the first sets the horizons, one is for markers that got theirs later
		h.r.clock.Advance(3 * time.Hour)
		h.write(h.builder(), 0)
		h.r.clean()
	}
	h.check(h.r.l, h.want(h.r.l.LogStartOffset(), h.r.l.LastStableOffset()), "at the end")
	l := h.r.l
	committed := map[int64]kv{}
	for _, w := range h.all {
		committed[w.offset] = w.kv
	}
	seen := map[string]int64{}
	active := l.SegmentSizes()
	for offset := range h.offsets(l) {
		w, ok := committed[offset]
		if _, data := h.times[offset]; !data || offset >= active[len(active)-1].BaseOffset {
			continue // a marker
		}
		before, twice := seen[w.k]
		seen[w.k] = offset
		// The records of the last round are younger than its horizon.
		if old := h.times[offset] < h.r.nowMs()-h.r.cfg.DeleteRetentionMs; !ok || twice || w.v == "" && old {
			p, _ := l.CleanPoint()
			h.t.Fatalf("seed %d: %d:%s=%s should have gone: aborted %v, also at %d; compacted up to %d of %d\n%s", h.seed, offset, w.k, w.v, !ok, before, p, l.LastStableOffset(), h.r.dump(l))
		}
	}
}
