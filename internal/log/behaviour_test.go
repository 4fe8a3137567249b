package log

import (
	"errors"
	"fmt"
	"math/rand"
	"sync"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/vfs"
)

// produce makes a batch of an idempotent or transactional producer.
func produce(t testing.TB, pid int64, seq int32, txn bool, ts int64, values ...string) []byte {
	t.Helper()
	b := batch.NewBuilder(0)
	b.ProducerID, b.ProducerEpoch, b.BaseSequence, b.IsTransactional = pid, 0, seq, txn
	for _, v := range values {
		b.Append(ts, nil, []byte(v), nil)
	}
	data, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// markerOf makes the batch that ends a transaction.
func markerOf(t testing.TB, pid int64, commit bool) []byte {
	t.Helper()
	b := batch.NewBuilder(0)
	b.ProducerID, b.ProducerEpoch, b.IsTransactional, b.IsControl = pid, 0, true, true
	key, value := batch.EndTxnMarker(commit, 1)
	b.Append(1, key, value, nil)
	data, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// marker ends a transaction.
func (r *rig) marker(l *Log, pid int64, commit bool) AppendInfo {
	r.t.Helper()
	data := markerOf(r.t, pid, commit)
	a := batch.Appended{Data: data, Infos: mustInfos(r.t, data)}
	info, err := l.AppendWith(&a, AppendOptions{LeaderEpoch: 3, Origin: batch.OriginCoordinator, NowMs: 1, TransactionVersion: 1})
	if err != nil {
		r.t.Fatal(err)
	}
	return info
}

func TestDuplicatesAndSequences(t *testing.T) {
	// The timestamps are of now: a snapshot forgets producers that are idle for long.
	r := newRig(t, vfs.NewMem()).open()
	l := r.create()
	var sent [][]byte
	for i := range 7 {
		sent = append(sent, produce(t, 5, int32(2*i), false, r.clock.Now().UnixMilli(), "a", "b"))
	}
	for i, data := range sent {
		info, err := r.appendRaw(l, 3, batch.OriginClient, append([]byte(nil), data...))
		if err != nil || info.FirstOffset != int64(2*i) || info.Duplicate {
			t.Fatalf("batch %d: %+v, %v", i, info, err)
		}
	}
	again := func(where string) {
		t.Helper()
		l := r.log()
		end := l.LogEndOffset()
		for i, data := range sent {
			info, err := r.appendRaw(l, 4, batch.OriginClient, append([]byte(nil), data...))
			if i < 2 {
				if !errors.Is(err, kafka.OutOfOrderSequenceNumber) && !errors.Is(err, kafka.DuplicateSequenceNumber) {
					t.Errorf("%s: old batch %d: %+v, %v", where, i, info, err)
				}
				continue
			}
			if err != nil || !info.Duplicate || info.FirstOffset != int64(2*i) || info.LastOffset != int64(2*i+1) {
				t.Errorf("%s: repeated batch %d: %+v, %v", where, i, info, err)
			}
		}
		if l.LogEndOffset() != end {
			t.Errorf("%s: the log grew", where)
		}
		if _, err := r.appendRaw(l, 4, batch.OriginClient, produce(t, 5, 100, false, 1, "x")); !errors.Is(err, kafka.OutOfOrderSequenceNumber) {
			t.Errorf("%s: gap in the sequence: %v", where, err)
		}
	}
	again("in memory")
	r.reopen()
	again("after a kill")
	r.close()
	r.open()
	again("after a clean stop")
}

func TestTransactions(t *testing.T) {
	r := newRig(t, vfs.NewMem())
	r.cfg.SegmentBytes = 400
	r.open()
	l := r.create()
	r.mustAppend(l, 1, "plain") // 0
	seqs := map[int64]int32{}
	txn := func(pid int64, value string) int64 {
		info, err := r.appendRaw(l, 3, batch.OriginClient, produce(t, pid, seqs[pid], true, 1, value))
		if err != nil {
			t.Fatal(err)
		}
		seqs[pid]++
		return info.FirstOffset
	}
	expect := func(where string, hw, lso int64, aborted string) {
		t.Helper()
		l := r.log()
		l.UpdateHighWatermark(hw)
		if got := l.LastStableOffset(); got != lso {
			t.Errorf("%s: last stable offset %d, want %d", where, got, lso)
		}
		list, err := l.AbortedTxns(0, l.LogEndOffset())
		if err != nil || fmt.Sprint(list) != aborted {
			t.Errorf("%s: aborted %v, want %s, %v", where, list, aborted, err)
		}
	}
	expect("no transaction", 1, 1, "[]")
	txn(1, "a") // 1
	txn(2, "b") // 2
	expect("two open", 3, 1, "[]")
	r.marker(l, 1, false) // 3: aborts 1
	expect("the marker is not replicated", 3, 1, "[{1 1 3 2}]")
	expect("the marker is replicated", 4, 2, "[{1 1 3 2}]")
	r.marker(l, 2, true) // 4
	expect("all ended", 5, 5, "[{1 1 3 2}]")
	for i := range 10 {
		txn(1, valueOf(i+30))
		r.marker(l, 1, i%2 == 0)
	}
	open := txn(2, "open")
	all := "[{1 1 3 2} {1 7 8 9} {1 11 12 13} {1 15 16 17} {1 19 20 21} {1 23 24 25}]"
	end := l.LogEndOffset()
	expect("in memory", end, open, all)
	r.reopen()
	expect("after a kill", end, open, all)
	r.close()
	r.open()
	expect("after a clean stop", end, open, all)
	l = r.log()
	if list, err := l.AbortedTxns(12, 16); err != nil || fmt.Sprint(list) != "[{1 11 12 13} {1 15 16 17}]" {
		t.Errorf("aborted in [12, 16): %v, %v", list, err)
	}
	if _, err := l.TruncateTo(13); err != nil {
		t.Fatal(err)
	}
	expect("truncated", 13, 13, "[{1 1 3 2} {1 7 8 9} {1 11 12 13}]")
}

// TestTransactionThatEndedBelowTheStartIsOver (T7): the producer state is that of all
// batches that are there, those between the segment's base and the log's start among
// them; else a transaction that ended there would be open for ever.
func TestTransactionThatEndedBelowTheStartIsOver(t *testing.T) {
	r := newRig(t, vfs.NewMem()).open()
	l := r.create()
	if _, err := r.appendRaw(l, 3, batch.OriginClient, produce(t, 1, 0, true, 1, "a")); err != nil { // 0
		t.Fatal(err)
	}
	if err := l.Roll(); err != nil { // with a snapshot that has the transaction
		t.Fatal(err)
	}
	r.marker(l, 1, true)                                                                              // 1
	if _, err := r.appendRaw(l, 3, batch.OriginClient, produce(t, 2, 0, false, 1, "b")); err != nil { // 2
		t.Fatal(err)
	}
	r.mustAppend(l, 1, "c") // 3
	l.UpdateHighWatermark(4)
	r.mustAppend(l, 1, "not replicated")
	if _, err := l.AdvanceStart(3); err != nil {
		t.Fatal(err)
	}
	if _, err := l.TruncateTo(4); err != nil {
		t.Fatal(err)
	}
	if got := l.LastStableOffset(); got != 4 {
		t.Errorf("last stable offset %d of 4", got)
	}
	if list, err := l.ActiveProducers(); err != nil || len(list) != 2 || list[1].LastSequence != 0 {
		t.Errorf("producers %+v, %v", list, err)
	}
}

func TestSearchByTime(t *testing.T) {
	r := newRig(t, vfs.NewMem())
	r.cfg.SegmentBytes, r.cfg.IndexIntervalBytes = 700, 100
	r.open()
	l := r.create()
	want := r.fill(l, 40)
	check := func(where string) {
		t.Helper()
		l := r.log()
		for i, w := range want {
			if got, err := l.OffsetForTimestamp(w.ts); err != nil || got != (TimestampOffset{w.ts, w.offset, 3}) {
				t.Fatalf("%s: time %d is at %+v, want %d, %v", where, w.ts, got, w.offset, err)
			}
			if i > 0 && want[i-1].ts < w.ts-1 {
				if got, err := l.OffsetForTimestamp(w.ts - 1); err != nil || got.Offset != w.offset {
					t.Fatalf("%s: time %d is at %+v, want %d, %v", where, w.ts-1, got, w.offset, err)
				}
			}
		}
		last := want[len(want)-1]
		for _, c := range []struct {
			ts   int64
			want TimestampOffset
		}{
			{last.ts + 1, TimestampOffset{NoTimestamp, NoOffset, kafka.NoEpoch}},
			{EarliestTimestamp, TimestampOffset{NoTimestamp, 0, 3}},
			{EarliestLocalTimestamp, TimestampOffset{NoTimestamp, 0, 3}},
			{LatestTimestamp, TimestampOffset{NoTimestamp, last.offset + 1, 3}},
			{MaxTimestamp, TimestampOffset{last.ts, last.offset, 3}},
			{LatestTieredTimestamp, TimestampOffset{NoTimestamp, NoOffset, kafka.NoEpoch}},
		} {
			if got, err := l.OffsetForTimestamp(c.ts); err != nil || got != c.want {
				t.Errorf("%s: %d is %+v, want %+v, %v", where, c.ts, got, c.want, err)
			}
		}
	}
	check("in memory")
	r.reopen()
	check("after a kill")
	r.close()
	r.open()
	check("after a clean stop")
	// Times that go back: the first record at or after wins.
	l = r.log()
	high := r.mustAppend(l, 3_000_000_000_000, "future").FirstOffset
	low := r.mustAppend(l, 1_600_000_000_000, "past").FirstOffset
	if got, err := l.OffsetForTimestamp(2_000_000_000_000); err != nil || got.Offset != high {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := l.OffsetForTimestamp(MaxTimestamp); err != nil || got.Offset != high {
		t.Errorf("max %+v, %v, not %d", got, err, low)
	}
}

func TestRetention(t *testing.T) {
	mem := vfs.NewMem()
	r := newRig(t, mem)
	r.cfg.SegmentBytes = 500
	r.open()
	l := r.create()
	want := r.fill(l, 50)
	n := len(l.Segments())
	now := r.clock.Now().UnixMilli()
	cfg := r.cfg
	cfg.RetentionBytes = 1200
	l.Reconfigure(cfg)
	if freed, err := l.DeleteOldSegments(now); err != nil || freed != 0 {
		t.Fatalf("freed %d above the watermark, %v", freed, err)
	}
	l.UpdateHighWatermark(l.LogEndOffset())
	if _, err := l.DeleteOldSegments(now); err != nil || l.Size() < 1200 || l.Size() > 1200+500 {
		t.Fatalf("%d bytes are left, %v", l.Size(), err)
	}
	start := l.LogStartOffset()
	if start == 0 || start != l.Segments()[0].BaseOffset || len(l.Segments()) >= n {
		t.Fatalf("start %d, segments %v", start, l.Segments())
	}
	if _, err := l.Read(start-1, 1, start, true); !errors.Is(err, kafka.OffsetOutOfRange) {
		t.Fatalf("read below the start: %v", err)
	}
	equalRecords(t, records(t, l, start, l.LogEndOffset(), 999), want[start:])
	// By time: everything is old, the active segment is rolled and goes too.
	cfg.RetentionBytes, cfg.RetentionMs = -1, 1000
	l.Reconfigure(cfg)
	if _, err := l.DeleteOldSegments(want[0].ts); err != nil || l.LogStartOffset() != start {
		t.Fatalf("start %d, %v", l.LogStartOffset(), err)
	}
	if _, err := l.DeleteOldSegments(now); err != nil || l.LogStartOffset() != l.LogEndOffset() || l.Size() != 0 {
		t.Fatalf("start %d, end %d, size %d, %v", l.LogStartOffset(), l.LogEndOffset(), l.Size(), err)
	}
	end := l.LogEndOffset()
	r.close()
	r.open()
	if l := r.log(); l.LogStartOffset() != end || l.LogEndOffset() != end {
		t.Fatalf("start %d, end %d, want %d", l.LogStartOffset(), l.LogEndOffset(), end)
	}
}

func TestAdvanceStart(t *testing.T) {
	mem := vfs.NewMem()
	r := newRig(t, mem)
	r.cfg.SegmentBytes = 500
	r.open()
	l := r.create()
	r.fill(l, 50)
	if _, err := l.AdvanceStart(10); !errors.Is(err, kafka.OffsetOutOfRange) {
		t.Fatalf("beyond the watermark: %v", err)
	}
	l.UpdateHighWatermark(l.LogEndOffset())
	if moved, err := l.AdvanceStart(33); err != nil || !moved {
		t.Fatal(moved, err)
	}
	if moved, err := l.AdvanceStart(20); err != nil || moved {
		t.Fatal(moved, err)
	}
	if err := r.m.CheckpointLogStartOffsets(); err != nil {
		t.Fatal(err)
	}
	if got := l.EpochEntries(); len(got) != 1 || got[0].StartOffset != 33 {
		t.Fatalf("epochs %v", got)
	}
	for _, restart := range []func(){func() { r.reopen() }, func() { r.close(); r.open() }} {
		restart()
		if l := r.log(); l.LogStartOffset() != 33 {
			t.Fatalf("start %d", l.LogStartOffset())
		}
	}
	l = r.log()
	if _, err := l.DeleteOldSegments(0); err != nil || l.Segments()[0].BaseOffset > 33 || l.Segments()[0].NextOffset <= 33 {
		t.Fatalf("segments %v, %v", l.Segments(), err)
	}
}

// TestFlushIsWholeAfterDeleteRecords: what lies below the log start is synced like the
// rest. Power loss could cut it otherwise, and recovery everything behind the cut.
func TestFlushIsWholeAfterDeleteRecords(t *testing.T) {
	mem := vfs.NewMem()
	r := newRig(t, mem)
	r.cfg.SegmentBytes = 500
	r.open()
	l := r.create()
	want := r.fill(l, 20)
	end := l.LogEndOffset()
	l.UpdateHighWatermark(end)
	start := end - 5
	if moved, err := l.AdvanceStart(start); err != nil || !moved {
		t.Fatal(moved, err)
	}
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	for seed := range int64(20) {
		x := newRig(t, mem.Crash(rand.New(rand.NewSource(seed)), vfs.PowerLoss)).open()
		l := x.log()
		if got := l.LogEndOffset(); got != end {
			t.Fatalf("seed %d: the log ends at %d, want %d", seed, got, end)
		}
		equalRecords(t, records(t, l, start, end, 1<<20), want[start:])
		x.m.Abort()
	}
}

func TestRollByTime(t *testing.T) {
	r := newRig(t, vfs.NewMem())
	r.cfg.SegmentMs = 1000
	r.open()
	l := r.create()
	r.mustAppend(l, 5000, "a")
	r.mustAppend(l, 6000, "b")
	if n := len(l.Segments()); n != 1 {
		t.Fatalf("%d segments after 1000 ms", n)
	}
	if info := r.mustAppend(l, 6001, "c"); !info.Rolled || len(l.Segments()) != 2 {
		t.Fatalf("%+v", info)
	}
	// Without timestamps the clock decides.
	b := batch.NewBuilder(0)
	b.Append(-1, nil, []byte("x"), nil)
	data, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Roll(); err != nil {
		t.Fatal(err)
	}
	for _, rolled := range []bool{false, true} {
		info, err := r.appendRaw(l, 3, batch.OriginClient, append([]byte(nil), data...))
		if err != nil || info.Rolled != rolled {
			t.Fatalf("%+v, %v, want rolled %v", info, err, rolled)
		}
		r.clock.Advance(1001 * time.Millisecond)
	}
}

func TestLeaderEpochs(t *testing.T) {
	mem := vfs.NewMem()
	r := newRig(t, mem).open()
	l := r.create()
	app := func(epoch int32, n int) {
		for range n {
			if _, err := r.appendRaw(r.log(), epoch, batch.OriginClient, build(t, 1, "x")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if l.LatestEpoch() != kafka.NoEpoch {
		t.Fatal("an empty log has an epoch")
	}
	if err := l.AssignEpochStart(0); err != nil { // epoch 0 counts
		t.Fatal(err)
	}
	app(0, 3)
	app(2, 2)
	if err := l.AssignEpochStart(5); err != nil {
		t.Fatal(err)
	}
	check := func(where string) {
		t.Helper()
		l := r.log()
		for _, c := range []struct {
			epoch, want int32
			end         int64
		}{{0, 0, 3}, {1, 0, 3}, {2, 2, 5}, {3, 2, 5}, {4, 2, 5}, {5, 5, 5}, {6, -1, -1}, {-1, -1, -1}} {
			if e, end := l.EndOffsetForEpoch(c.epoch); e != c.want || end != c.end {
				t.Errorf("%s: epoch %d ends as %d at %d, want %d at %d", where, c.epoch, e, end, c.want, c.end)
			}
		}
		for offset, want := range []int32{0, 0, 0, 2, 2, 5} {
			if got := l.EpochForOffset(int64(offset)); got != want {
				t.Errorf("%s: offset %d is of epoch %d, want %d", where, offset, got, want)
			}
		}
	}
	check("in memory")
	// An epoch without records needs no file: a restart would make nothing of it. It is
	// in the file with its first record (R4).
	file := func() string {
		t.Helper()
		data, err := vfs.ReadFile(mem, testDir+"/t-0/"+fileLeaderEpochs)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	if got := file(); got != "0\n2\n0 0\n2 3\n" {
		t.Fatalf("checkpoint %q before the first record of epoch 5", got)
	}
	app(5, 1)
	if got := file(); got != "0\n3\n0 0\n2 3\n5 5\n" {
		t.Fatalf("checkpoint %q", got)
	}
	r.reopen()
	if e, end := r.log().EndOffsetForEpoch(5); e != 5 || end != 6 {
		t.Fatalf("epoch %d ends at %d", e, end)
	}
	if _, err := r.log().TruncateTo(4); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(r.log().EpochEntries()); got != "[{0 0} {2 3}]" {
		t.Fatalf("epochs %s", got)
	}
	r.reopen()
	if got := fmt.Sprint(r.log().EpochEntries()); got != "[{0 0} {2 3}]" {
		t.Fatalf("epochs after a kill %s", got)
	}
}

// TestGroupCommit lets many appenders wait for one sync.
func TestGroupCommit(t *testing.T) {
	fault := vfs.NewFault(vfs.NewMem())
	r := newRig(t, fault).open()
	l := r.create()
	if err := l.FlushTo(0); err != nil {
		t.Fatal(err)
	}
	const n = 50
	hold, held := make(chan struct{}), make(chan struct{})
	fault.Add(vfs.Rule{Op: vfs.OpSync, Path: "*.log", Before: func(vfs.Op, string) { close(held); <-hold }})
	var wg sync.WaitGroup
	errs := make(chan error, n+1)
	flush := func(end int64) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			errs <- l.FlushTo(end)
		}()
	}
	before := fault.Calls(vfs.OpSync)
	flush(r.mustAppend(l, 1, "first").LastOffset + 1)
	<-held
	for range n {
		flush(r.mustAppend(l, 1, "x").LastOffset + 1) // appends go on during the sync
	}
	close(hold)
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	if syncs := fault.Calls(vfs.OpSync) - before; syncs > 3 {
		t.Errorf("%d syncs for %d flushes", syncs, n+1)
	}
	if l.RecoveryPoint() != n+1 {
		t.Errorf("recovery point %d", l.RecoveryPoint())
	}
}

// TestFlushMs flushes by time.
func TestFlushMs(t *testing.T) {
	r := newRig(t, vfs.NewMem())
	r.cfg.FlushMs = 1000
	r.open()
	l := r.create()
	r.mustAppend(l, 1, "a")
	r.m.FlushDirtyLogs()
	if l.RecoveryPoint() != 0 {
		t.Fatal("flushed too early")
	}
	r.clock.Advance(time.Second)
	r.m.FlushDirtyLogs()
	if l.RecoveryPoint() != 1 {
		t.Fatal("not flushed")
	}
}

// TestCompactedLogIsCopiedWithItsGaps copies batches with missing offsets, also
// across more than a segment can index.
func TestCompactedLogIsCopiedWithItsGaps(t *testing.T) {
	r := newRig(t, vfs.NewMem())
	r.cfg.CleanupCompact = true
	r.cfg.SegmentBytes = 300
	r.open()
	l := r.create()
	var want []record
	offset := int64(0)
	for i := range 30 {
		data := relocate(t, build(t, int64(i), valueOf(i)), offset)
		appendVerbatim(t, l, data)
		want = append(want, record{offset, int64(i), valueOf(i)})
		offset += int64(1 + i%5*7)
		if i == 20 {
			offset += 3 << 31
		}
	}
	check := func() {
		t.Helper()
		l := r.log()
		equalRecords(t, records(t, l, 0, l.LogEndOffset(), 100), want)
		for i, w := range want {
			got := records(t, l, w.offset, w.offset+1, 1)
			if len(got) != 1 || got[0] != w {
				t.Fatalf("record %d: %+v, want %+v", i, got, w)
			}
			if i > 0 && want[i-1].offset+1 < w.offset {
				got := records(t, l, want[i-1].offset+1, w.offset+1, 1)
				if len(got) != 1 || got[0] != w {
					t.Fatalf("in the gap before record %d: %+v, want %+v", i, got, w)
				}
			}
		}
	}
	check()
	r.reopen()
	check()
	r.close()
	r.open()
	check()
}

// TestVerificationCanBeSwitchedWhileRunning: transaction.partition.verification.enable is
// a dynamic configuration, of logs that are open and of those that are opened later.
func TestVerificationCanBeSwitchedWhileRunning(t *testing.T) {
	r := newRig(t, vfs.NewMem())
	r.open()
	l := r.create()
	write := func(pid int64) *kafka.Code {
		_, err := r.appendRaw(l, 1, batch.OriginClient, produce(t, pid, 0, true, 1, "v"))
		return kafka.CodeOf(err)
	}
	if code := write(1); code != nil {
		t.Fatalf("not verified, and refused: %v", code)
	}
	r.m.ReconfigureProducers(1000, true)
	if code := write(2); code != kafka.InvalidTxnState {
		t.Errorf("verified: %v", code)
	}
	r.m.ReconfigureProducers(1000, false)
	if code := write(2); code != nil {
		t.Errorf("not verified any more: %v", code)
	}
	r.m.ReconfigureProducers(1000, true)
	if _, err := l.TruncateTo(0); err != nil {
		t.Fatal(err)
	}
	if code := write(3); code != kafka.InvalidTxnState {
		t.Errorf("a state that was made later: %v", code)
	}
}
