package replica

import (
	"strings"
	"syscall"
	"testing"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/vfs"
)

// transactional appends a batch of a transaction that is known to be open, or its end.
func (k *kit) transactional(p *Partition, control bool) {
	k.t.Helper()
	b := batch.NewBuilder(0)
	b.ProducerID, b.ProducerEpoch, b.BaseSequence, b.IsTransactional, b.IsControl = 5, 0, 0, true, control
	key, value := []byte("k"), []byte("aborted")
	if control {
		b.BaseSequence = -1
		key, value = batch.EndTxnMarker(false, 0)
	}
	b.Append(1_700_000_000_000, key, value, nil)
	recs, err := b.Build(nil)
	if err != nil {
		k.t.Fatal(err)
	}
	var a Appender
	var s AppendSlot
	a.Acks, a.Version, a.NowMs, a.Owner, a.Origin, a.TransactionVersion = AcksLeader, 12, k.m.clock.Now().UnixMilli(), new(recorder), batch.OriginCoordinator, 1
	if !a.Append(p, recs, &s) || s.Err != nil {
		k.t.Fatalf("append: %v", s.Err)
	}
	a.Finish()
}

// abortedOne is a partition with an aborted transaction in its first segment, whose index
// is in a file only, and a record in the second one.
func (k *kit) abortedOne() *Partition {
	k.t.Helper()
	k.topic("t", 1, 1)
	p := k.m.Get("t", 0)
	k.transactional(p, false)
	k.transactional(p, true)
	if err := p.Log().Roll(); err != nil {
		k.t.Fatal(err)
	}
	k.produce(p, AcksLeader, "kept")
	return p
}

// TestRetentionDuringACommittedRead: the index that names the aborted transactions goes
// between the read of their records and the read of the index.
func TestRetentionDuringACommittedRead(t *testing.T) {
	fault := vfs.NewFault(vfs.NewMem())
	k := newKitOn(t, fault)
	p := k.abortedOne()
	l := p.Log()
	looked := 0
	fault.Add(vfs.Rule{Op: vfs.OpOpen, Path: "*.txnindex", Before: func(vfs.Op, string) {
		looked++
		if _, err := l.AdvanceStart(2); err != nil {
			t.Error(err)
		}
		if _, err := l.DeleteOldSegments(k.clock.Now().UnixMilli()); err != nil {
			t.Error(err)
		}
	}})
	r := new(recorder)
	op := fetchOp(r, p)
	op.Isolation = ToLastStable
	op.Start(k.m)
	if looked != 1 || l.LogStartOffset() != 2 || len(r.fetches) != 1 {
		t.Fatalf("the index was opened %d times, the log starts at %d, %d answers", looked, l.LogStartOffset(), len(r.fetches))
	}
	if part := &op.Parts[0]; kafka.CodeOf(part.Err) != kafka.OffsetOutOfRange || part.Data.Size != 0 {
		t.Fatalf("aborted records without their transaction: %v, %d bytes, aborted %v", part.Err, part.Data.Size, part.Aborted)
	}
}

// TestCutDuringACommittedRead: a follower that begins anew has other records and another
// index. What is answered is of one of the two logs.
func TestCutDuringACommittedRead(t *testing.T) {
	fault := vfs.NewFault(vfs.NewMem())
	k := newKitOn(t, fault)
	p := k.abortedOne()
	l := p.Log()
	fault.Add(vfs.Rule{Op: vfs.OpOpen, Path: "*.txnindex", Before: func(vfs.Op, string) {
		if err := l.TruncateFullyAndStartAt(0); err != nil {
			t.Error(err)
		}
	}})
	r := new(recorder)
	op := fetchOp(r, p)
	op.Isolation, op.MaxWait = ToLastStable, 0
	op.Start(k.m)
	if part := &op.Parts[0]; len(r.fetches) != 1 || part.Err != nil || part.Data.Size != 0 || part.HighWatermark != 0 {
		t.Fatalf("%v, %d bytes of a log that is empty, high watermark %d", part.Err, part.Data.Size, part.HighWatermark)
	}
}

// TestLostTransactionIndexIsBuiltAgain, rather than taken for an empty one.
func TestLostTransactionIndexIsBuiltAgain(t *testing.T) {
	k := newKit(t)
	p := k.abortedOne()
	names, err := k.fs.ReadDir("/data/t-0")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range names {
		if strings.HasSuffix(e.Name(), ".txnindex") {
			if err := k.fs.Remove("/data/t-0/" + e.Name()); err != nil {
				t.Fatal(err)
			}
		}
	}
	op := fetchOp(new(recorder), p)
	op.Isolation = ToLastStable
	op.Start(k.m)
	if part := &op.Parts[0]; part.Err != nil || len(part.Aborted) != 1 {
		t.Fatalf("%v, aborted %v", part.Err, part.Aborted)
	}
}

// TestUnloadedLogHasNothingStable: a log that cannot be loaded knows of no transaction. It
// must not pass for one without any.
func TestUnloadedLogHasNothingStable(t *testing.T) {
	fault := vfs.NewFault(vfs.NewMem())
	k := newKitOn(t, fault)
	id := k.topic("t", 1, 1)
	p := k.m.Get("t", 0)
	k.produce(p, AcksLeader, "plain")
	k.transactional(p, false)
	c := leaderChange(id, 0, 2, []int32{1, 2})
	c.Replicas, c.Directories = []int32{1, 2}, make([]kafka.UUID, 2)
	k.apply(c)
	k.reopen()
	p = k.m.Get("t", 0)
	if hw := p.Log().HighWatermark(); hw != 2 {
		t.Fatalf("the high watermark is %d after a restart", hw)
	}
	fault.Add(vfs.Rule{Op: vfs.OpOpen, Path: "leader-epoch-checkpoint", Err: syscall.EMFILE, Times: 2})
	for try := range 2 {
		op := fetchOp(new(recorder), p)
		op.Isolation, op.MaxWait = ToLastStable, 0
		op.Start(k.m)
		part := &op.Parts[0]
		if seen := part.Data.NextOffset; part.Err == nil && (part.LastStableOffset > 1 || seen > 1) {
			t.Fatalf("try %d: records up to %d are read, the last stable offset is %d, behind an open transaction at 1", try, seen, part.LastStableOffset)
		}
		if try == 1 && (part.Err != nil || part.LastStableOffset != 1 || part.Data.NextOffset != 1) {
			t.Fatalf("when the cause is gone: %v, last stable offset %d", part.Err, part.LastStableOffset)
		}
	}
}
