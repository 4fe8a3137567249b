package log

import (
	"fmt"
	"math/rand"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/vfs"
)

// powerLossStates is how many states a power loss test looks at: enough for every
// build, and as many as GREGOR_POWER_LOSS_STATES says for a long run.
func powerLossStates(t *testing.T, normal int) int {
	s := os.Getenv("GREGOR_POWER_LOSS_STATES")
	if s == "" {
		return normal
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("GREGOR_POWER_LOSS_STATES: %v", err)
	}
	return n
}

// aborted is a transaction whose marker was appended at last.
type abortedTxn struct{ pid, first, last int64 }

// partitionLife is one partition in a life of several, and what its client knows.
type partitionLife struct {
	tp      kafka.TopicPartition
	dir     int
	l       *Log
	id      kafka.TopicID
	dying   kafka.TopicID // being deleted: it may or may not be there
	all     []record      // every record that was or is being appended, by offset; a marker is an empty one
	acked   int64         // everything below was flushed and acknowledged
	started int64         // the log start that was asked for
	open    int64         // first offset of the open transaction, -1 if there is none
	aborted []abortedTxn
	epochs  []EpochEntry // of the batches in all
	pid     int64
	seq     int32
}

func (p *partitionLife) clone() *partitionLife {
	c := *p
	c.all, c.aborted, c.epochs = slices.Clone(p.all), slices.Clone(p.aborted), slices.Clone(p.epochs)
	return &c
}

// lossyLife is a random life of several partitions in two directories, of which
// pictures are taken in the middle of operations.
type lossyLife struct {
	t     *testing.T
	r     *rig
	rng   *rand.Rand
	label string
	parts []*partitionLife
	n     int
	sync  bool // flush.messages=1: every append is flushed before it is acknowledged
	cut   int  // logs of which an end that was not flushed was missing after a power loss

	mu       sync.Mutex
	mem      *vfs.Mem
	pictures []lossyPicture
	watching bool
}

// lossyPicture is one disk after a power loss, and what clients knew at that moment.
type lossyPicture struct {
	after string
	mem   *vfs.Mem
	parts []*partitionLife
}

func newLossyLife(t *testing.T, seed int64, sync bool) *lossyLife {
	x := &lossyLife{t: t, rng: rand.New(rand.NewSource(seed)), label: fmt.Sprintf("seed %d", seed), sync: sync, mem: vfs.NewMem()}
	x.r = newRig(t, vfs.NewTrace(x.mem, x.picture))
	x.mem.SetNow(x.r.clock.Now)
	x.r.dirs = []string{"/a", "/b"}
	x.r.cfg.SegmentBytes = 500 + x.rng.Intn(3000)
	x.r.cfg.IndexIntervalBytes = 100 + x.rng.Intn(600)
	x.r.cfg.FileDeleteDelayMs = int64(x.rng.Intn(2) * 60000)
	x.r.tail = []int64{-1, 1 << 20}[x.rng.Intn(2)]
	x.r.open()
	for i := range 3 {
		x.parts = append(x.parts, &partitionLife{tp: kafka.TopicPartition{Topic: "t", Partition: int32(i)}, dir: i % 2, open: -1})
	}
	return x
}

// picture cuts the power after one operation in about forty, in several ways.
func (x *lossyLife) picture(op string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.watching || x.rng.Intn(40) > 0 {
		return
	}
	var parts []*partitionLife
	for _, p := range x.parts {
		parts = append(parts, p.clone())
	}
	for range 1 + x.rng.Intn(4) {
		x.pictures = append(x.pictures, lossyPicture{op, x.mem.Crash(x.rng, vfs.PowerLoss), parts})
	}
}

// live does so many things, then may stop cleanly.
func (x *lossyLife) live(steps int) {
	x.watching = true
	for range steps {
		p := x.parts[x.pick(len(x.parts))]
		if err := x.step(p); err != nil {
			x.t.Fatalf("%s: %v", x.label, err)
		}
	}
	if x.pick(3) == 0 {
		x.r.close()
		for _, p := range x.parts {
			if p.l != nil {
				p.acked = int64(len(p.all))
			}
		}
		x.picture("clean close")
	}
	x.watching = false
	x.pictures = append(x.pictures, lossyPicture{"the end", x.mem.Crash(x.rng, vfs.PowerLoss), x.parts})
}

// pick draws a number; pictures draw from the same source.
func (x *lossyLife) pick(n int) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.rng.Intn(n)
}

func (x *lossyLife) step(p *partitionLife) error {
	if p.l == nil {
		return x.create(p)
	}
	switch k := x.pick(48); {
	case k < 24:
		return x.append(p)
	case k < 28:
		return x.transact(p)
	case k < 30:
		return p.l.Roll()
	case k < 31:
		p.l.UpdateHighWatermark(p.acked)
		return x.r.m.CheckpointHighWatermarks()
	case k < 33:
		return x.r.m.CheckpointRecoveryPoints()
	case k < 35:
		x.r.clock.Advance(61e9)
		x.r.m.RunTasks()
		return nil
	case k < 37:
		return x.deleteRecords(p)
	case k < 38:
		return x.truncate(p)
	case k < 40:
		return x.flush(p)
	case k < 41:
		return x.remove(p)
	case k < 43:
		// An election: the epoch may or may not get records.
		x.n += epochLength
		return p.l.AssignEpochStart(x.epoch())
	case k < 45:
		return x.restart()
	default:
		x.r.m.RunTasks()
		return nil
	}
}

func (x *lossyLife) create(p *partitionLife) (err error) {
	x.n++
	p.id, p.all, p.acked, p.started, p.open, p.aborted, p.seq = kafka.TopicID{byte(x.n), byte(x.n >> 8), 7}, nil, 0, 0, -1, nil, 0
	p.pid = int64(100 + x.n)
	p.l, err = x.r.m.Create(p.tp, p.id, x.r.m.Dirs()[p.dir].ID, x.r.cfg)
	return err
}

// epochLength is how many appends are of one epoch, unless elections come before.
const epochLength = 30

func (x *lossyLife) epoch() kafka.LeaderEpoch { return int32(x.n / epochLength) }

// restart stops without a word or cleanly; what was not synced stays unsynced.
func (x *lossyLife) restart() error {
	if x.pick(2) == 0 {
		x.r.close()
		for _, p := range x.parts {
			if p.l != nil {
				p.acked = int64(len(p.all))
			}
		}
	}
	x.r.m.Abort()
	o := x.r.options()
	o.Seed = uint64(2 + x.n) // folders get other names than before
	x.r.openWith(o)
	for _, p := range x.parts {
		if p.l != nil {
			p.l = x.r.m.Get(p.tp)
		}
	}
	return nil
}

func (x *lossyLife) remove(p *partitionLife) error {
	p.dying = p.id
	if err := x.r.m.Delete(p.tp); err != nil {
		return err
	}
	p.l, p.id, p.dying, p.all, p.acked, p.epochs = nil, kafka.TopicID{}, kafka.TopicID{}, nil, 0, nil
	return nil
}

// write appends one batch and, if appends are flushed, flushes it.
func (x *lossyLife) write(p *partitionLife, b *batch.Builder, origin batch.Origin, recs []record) error {
	data, err := b.Build(nil)
	if err != nil {
		return err
	}
	end := p.l.LogEndOffset()
	for i := range recs {
		recs[i].offset = end + int64(i)
	}
	p.all = append(p.all[:end:end], recs...)
	if n := len(p.epochs); n == 0 || p.epochs[n-1].Epoch < x.epoch() {
		p.epochs = append(p.epochs, EpochEntry{x.epoch(), end})
	}
	a := batch.Appended{Data: data, Infos: mustInfos(x.t, data)}
	info, err := p.l.AppendWith(&a, AppendOptions{LeaderEpoch: x.epoch(), Origin: origin, NowMs: x.r.clock.Now().UnixMilli(), TransactionVersion: 1})
	if err != nil {
		return err
	}
	if info.FirstOffset != end {
		return fmt.Errorf("appended at %d, expected %d", info.FirstOffset, end)
	}
	if x.sync {
		return x.flush(p)
	}
	return nil
}

func (x *lossyLife) flush(p *partitionLife) error {
	end := p.l.LogEndOffset()
	if err := p.l.FlushTo(end); err != nil {
		return err
	}
	p.acked = max(p.acked, end)
	return nil
}

// values makes the records of one batch.
func (x *lossyLife) values(b *batch.Builder) (recs []record) {
	x.n++
	for i := range 1 + x.pick(4) {
		ts := 1_699_999_000_000 + int64(x.n*10+i)
		v := fmt.Sprintf("%d/%d/%s", x.n, i, valueOf(x.pick(200)))
		b.Append(ts, nil, []byte(v), nil)
		recs = append(recs, record{0, ts, v})
	}
	return recs
}

func (x *lossyLife) append(p *partitionLife) error {
	b := batch.NewBuilder(0)
	recs := x.values(b)
	if x.pick(3) == 0 {
		b.ProducerID, b.BaseSequence = 1000+p.pid, p.seq
		p.seq += int32(len(recs))
	}
	return x.write(p, b, batch.OriginClient, recs)
}

// transact begins a transaction or ends the one that is open.
func (x *lossyLife) transact(p *partitionLife) error {
	b := batch.NewBuilder(0)
	if p.open < 0 {
		p.pid++
		p.open = p.l.LogEndOffset()
		b.ProducerID, b.BaseSequence, b.IsTransactional = 2_000_000+p.pid, 0, true
		return x.write(p, b, batch.OriginClient, x.values(b))
	}
	commit := x.pick(2) == 0
	end := p.l.LogEndOffset()
	if !commit {
		p.aborted = append(p.aborted, abortedTxn{2_000_000 + p.pid, p.open, end})
	}
	b.ProducerID, b.IsTransactional, b.IsControl = 2_000_000+p.pid, true, true
	key, value := batch.EndTxnMarker(commit, 1)
	ts := x.r.clock.Now().UnixMilli()
	b.Append(ts, key, value, nil)
	p.open = -1
	return x.write(p, b, batch.OriginCoordinator, []record{{0, ts, string(value)}})
}

func (x *lossyLife) deleteRecords(p *partitionLife) error {
	p.l.UpdateHighWatermark(p.acked)
	from := p.l.LogStartOffset()
	if p.acked <= from || p.open >= 0 {
		return nil
	}
	p.started = from + int64(x.pick(int(p.acked-from)+1))
	if _, err := p.l.AdvanceStart(p.started); err != nil {
		return err
	}
	if _, err := p.l.DeleteOldSegments(x.r.clock.Now().UnixMilli()); err != nil {
		return err
	}
	return x.r.m.CheckpointLogStartOffsets()
}

// truncate cuts off what was not acknowledged, as a follower does. The producers of the
// cut part are replaced, as no test here is about sequences.
func (x *lossyLife) truncate(p *partitionLife) error {
	end := p.l.LogEndOffset()
	if end <= p.acked || p.open >= 0 {
		return nil
	}
	if _, err := p.l.TruncateTo(p.acked + int64(x.pick(int(end-p.acked)+1))); err != nil {
		return err
	}
	end = p.l.LogEndOffset()
	p.all = p.all[:end]
	p.aborted = slices.DeleteFunc(p.aborted, func(a abortedTxn) bool { return a.last >= end })
	p.epochs = slices.DeleteFunc(p.epochs, func(e EpochEntry) bool { return e.StartOffset >= end })
	p.pid, p.seq = p.pid+1000, 0
	return nil
}

// check starts on what a power loss left and compares it with what clients knew.
func (x *lossyLife) check(pic lossyPicture) {
	x.t.Helper()
	r := newRig(x.t, pic.mem)
	r.cfg, r.dirs, r.tail = x.r.cfg, x.r.dirs, x.r.tail
	label := fmt.Sprintf("%s, power lost after %q", x.label, pic.after)
	if err := r.tryOpen(); err != nil {
		x.t.Fatalf("%s: %v", label, err)
	}
	if len(r.offline) > 0 {
		x.t.Fatalf("%s: offline %v", label, r.offline)
	}
	var parts []*partitionLife
	for _, p := range pic.parts {
		parts = append(parts, p.clone())
		x.checkPartition(r, parts[len(parts)-1], fmt.Sprintf("%s, %v", label, p.tp))
	}
	// Nor may a kill after the first records of another leader mix up the epochs.
	r.reopen()
	for _, p := range parts {
		if l := r.m.Get(p.tp); l != nil {
			p.checkEpochs(x.t, l, label+", killed again")
		}
	}
	r.m.Abort()
}

// checkEpochs compares the epochs of a log with those of its batches, but for batches that
// were deleted and may be back.
func (p *partitionLife) checkEpochs(t *testing.T, l *Log, label string) {
	t.Helper()
	next := 0
	for offset := int64(0); offset < l.LogEndOffset(); offset++ {
		for next < len(p.epochs) && p.epochs[next].StartOffset <= offset {
			next++
		}
		if got := l.EpochForOffset(offset); offset >= max(l.LogStartOffset(), p.started) && got != p.epochs[next-1].Epoch {
			t.Fatalf("%s, %v: offset %d is of epoch %d, want %d; epochs %v of %v", label, p.tp, offset, got, p.epochs[next-1].Epoch, l.EpochEntries(), p.epochs)
		}
	}
	if end := l.LogEndOffset(); end > max(l.LogStartOffset(), p.started) && l.LatestEpoch() != l.EpochForOffset(end-1) {
		t.Fatalf("%s, %v: the latest epoch is %d; epochs %v of %v", label, p.tp, l.LatestEpoch(), l.EpochEntries(), p.epochs)
	}
}

// lossyEpoch is above those of a life.
const lossyEpoch = 1 << 20

func (x *lossyLife) checkPartition(r *rig, p *partitionLife, label string) {
	t := x.t
	t.Helper()
	l := r.m.Get(p.tp)
	if l == nil {
		if p.acked > 0 && p.dying.IsZero() {
			t.Fatalf("%s: the log with %d acknowledged records is gone", label, p.acked)
		}
		return
	}
	id, err := l.TopicID()
	if err != nil {
		t.Fatalf("%s: %v", label, err)
	}
	if id != p.id && (p.acked > 0 || !id.IsZero()) {
		t.Fatalf("%s: the log has the topic id %v, not %v", label, id, p.id)
	}
	if p.id.IsZero() {
		t.Fatalf("%s: the log was deleted", label)
	}
	if err := l.Load(); err != nil {
		t.Fatalf("%s: %v", label, err)
	}
	start, end := l.LogStartOffset(), l.LogEndOffset()
	if end < p.acked || end > int64(len(p.all)) || start > p.started {
		t.Fatalf("%s: [%d, %d) is left; acknowledged up to %d, written up to %d, start %d", label, start, end, p.acked, len(p.all), p.started)
	}
	if end < int64(len(p.all)) {
		x.cut++
	}
	got, err := tryRecords(t, l, start, end, 1+len(label)*13%2000)
	if err != nil {
		t.Fatalf("%s: %v", label, err)
	}
	if !slices.Equal(got, p.all[start:end]) {
		t.Fatalf("%s: [%d, %d) has the records %v, want %v", label, start, end, got, p.all[start:end])
	}
	if start == 0 {
		compareProducers(t, l, label)
		x.checkAborted(l, p, end, label)
	}
	p.checkEpochs(t, l, label)
	p.epochs = append(slices.DeleteFunc(slices.Clone(p.epochs), func(e EpochEntry) bool { return e.StartOffset >= end }), EpochEntry{lossyEpoch, end})
	if info, err := r.appendRaw(l, lossyEpoch, batch.OriginClient, build(t, 1_700_000_000_000, "after")); err != nil || info.FirstOffset != end {
		t.Fatalf("%s: append at %d: %+v, %v", label, end, info, err)
	}
	if _, err := l.OffsetForTimestamp(1_699_999_000_005); err != nil {
		t.Fatalf("%s: search by time: %v", label, err)
	}
}

// checkAborted compares the transaction index with the transactions that were aborted.
func (x *lossyLife) checkAborted(l *Log, p *partitionLife, end int64, label string) {
	x.t.Helper()
	txns, err := l.AbortedTxns(0, end)
	if err != nil {
		x.t.Fatalf("%s: aborted transactions: %v", label, err)
	}
	var got, want []abortedTxn
	for _, a := range txns {
		got = append(got, abortedTxn{a.ProducerID, a.FirstOffset, a.LastOffset})
	}
	for _, a := range p.aborted {
		if a.last < end {
			want = append(want, a)
		}
	}
	if !slices.Equal(got, want) {
		x.t.Fatalf("%s: aborted transactions %v, want %v", label, got, want)
	}
}

// TestPowerLossStates: the power goes in the middle of the operations of three
// partitions in two directories, and of what was not synced an arbitrary part is left.
// With flush.messages=1 nothing that was acknowledged is lost, with the default nothing
// below the last flush; what is left is a prefix of what was written, with the
// producers, transactions and topic ids that belong to it.
func TestPowerLossStates(t *testing.T) {
	want := powerLossStates(t, 3000)
	acked, states, cut := int64(0), 0, 0
	for seed := int64(0); states < want; seed++ {
		x := newLossyLife(t, seed, seed%3 > 0)
		x.live(10 + x.pick(70))
		for _, pic := range x.pictures {
			x.check(pic)
			states++
			for _, p := range pic.parts {
				acked += p.acked
			}
		}
		x.r.m.Abort()
		cut += x.cut
	}
	t.Logf("%d states, %d acknowledged records in them, 0 lost; %d logs without their unflushed end", states, acked, cut)
	if cut*20 < states {
		t.Errorf("of %d states only %d lost anything at all", states, cut)
	}
}
