package cleaner

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log"
	"github.com/gregorhq/gregor/internal/vfs"
)

const testDir = "/data"

var testTP = kafka.TopicPartition{Topic: "t", Partition: 0}

// testTopic compacts whatever is dirty, in small segments, and keeps tombstones for
// an hour.
func testTopic() config.Topic {
	return config.Topic{
		CleanupCompact: true, MessageTimestampType: "CreateTime", MaxMessageBytes: 1 << 20,
		SegmentBytes: 2000, SegmentMs: 1 << 50, SegmentIndexBytes: 10 << 20, IndexIntervalBytes: 200,
		RetentionBytes: -1, RetentionMs: -1, FileDeleteDelayMs: 60000, DeleteRetentionMs: 3600_000,
		MaxCompactionLagMs: 1<<63 - 1, MinCleanableDirtyRatio: 0, MaxDecompressedMessageBytes: 1<<31 - 1,
		FlushMessages: 1<<63 - 1, FlushMs: 1<<63 - 1,
	}
}

// rig is a Manager on a file system, and a Cleaner that works when it is told to.
type rig struct {
	t     testing.TB
	fs    vfs.FS
	clock *clock.Virtual
	cfg   config.Topic
	conf  Config
	dirs  []string
	m     *log.Manager
	l     *log.Log
	c     *Cleaner
	// offline collects the directories that failed.
	offline []string
}

func newRig(t testing.TB, fsys vfs.FS) *rig {
	r := &rig{t: t, fs: fsys, clock: clock.NewVirtual(time.UnixMilli(1_700_000_000_000)), cfg: testTopic(), dirs: []string{testDir}}
	r.conf = Config{Enable: true, Threads: 1, DedupeBufferSize: 1 << 20, LoadFactor: 0.9, IOBufferSize: 2 << 13, IOMaxBytesPerSecond: 1e300, BackoffMs: 15000}
	if m, ok := fsys.(*vfs.Mem); ok {
		m.SetNow(r.clock.Now)
	}
	return r
}

func (r *rig) tryOpen() error {
	m, err := log.Open(context.Background(), log.Options{
		FS: r.fs, Clock: r.clock, Logger: slog.New(slog.DiscardHandler), Dirs: r.dirs, NodeID: 1, ClusterID: "cluster",
		AllowUnformatted: true, TailBytes: -1, Seed: 1, Manual: true,
		// What a start knows of a topic before its metadata: that it is not compacted.
		TopicConfig: func(string) config.Topic { c := r.cfg; c.CleanupCompact = false; return c },
		OnOffline:   func(dir string, _ kafka.UUID, _ error) { r.offline = append(r.offline, dir) },
	})
	if err != nil {
		return err
	}
	r.m, r.l = m, m.Get(testTP)
	for _, l := range m.Logs() {
		l.Reconfigure(r.cfg)
	}
	r.c = New(Options{Logs: m.Logs, Clock: r.clock, Logger: slog.New(slog.DiscardHandler), Config: r.conf, HashKey: [2]uint64{1, 2}})
	return nil
}

func (r *rig) open() *rig {
	r.t.Helper()
	if err := r.tryOpen(); err != nil {
		r.t.Fatal(err)
	}
	if r.l == nil {
		r.l = r.create(testTP)
	}
	return r
}

func (r *rig) create(tp kafka.TopicPartition) *log.Log {
	r.t.Helper()
	l, err := r.m.Create(tp, kafka.TopicID{1}, kafka.ZeroUUID, r.cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	return l
}

// reopen stops without a word, as a kill does, and opens again.
func (r *rig) reopen() *rig {
	r.t.Helper()
	r.m.Abort()
	return r.open()
}

// add appends one batch that b holds.
func (r *rig) add(l *log.Log, b *batch.Builder, origin batch.Origin) log.AppendInfo {
	r.t.Helper()
	data, err := b.Build(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	infos, err := batch.Infos(data)
	if err != nil {
		r.t.Fatal(err)
	}
	info, err := l.AppendWith(&batch.Appended{Data: data, Infos: infos}, log.AppendOptions{LeaderEpoch: 3, Origin: origin, NowMs: r.nowMs(), TransactionVersion: 1})
	if err != nil {
		r.t.Fatal(err)
	}
	l.UpdateHighWatermark(l.LogEndOffset())
	return info
}

func (r *rig) nowMs() int64 { return r.clock.Now().UnixMilli() }

// put appends one batch of records: "k=v", or "k" for a tombstone.
func (r *rig) put(l *log.Log, change func(*batch.Builder), kvs ...string) log.AppendInfo {
	r.t.Helper()
	b := batch.NewBuilder(0)
	if change != nil {
		change(b)
	}
	for _, kv := range kvs {
		k, v := split(kv)
		b.Append(r.nowMs(), k, v, nil)
	}
	return r.add(l, b, batch.OriginClient)
}

func split(kv string) (k, v []byte) {
	for i := range kv {
		if kv[i] == '=' {
			return []byte(kv[:i]), []byte(kv[i+1:])
		}
	}
	return []byte(kv), nil
}

// by makes a batch an idempotent producer's.
func by(pid int64, epoch int16, seq int32, transactional bool) func(*batch.Builder) {
	return func(b *batch.Builder) {
		b.ProducerID, b.ProducerEpoch, b.BaseSequence, b.IsTransactional = pid, epoch, seq, transactional
	}
}

// end appends a transaction marker.
func (r *rig) end(l *log.Log, pid int64, epoch int16, commit bool) log.AppendInfo {
	r.t.Helper()
	b := batch.NewBuilder(0)
	b.ProducerID, b.ProducerEpoch, b.IsTransactional, b.IsControl = pid, epoch, true, true
	k, v := batch.EndTxnMarker(commit, 5)
	b.Append(r.nowMs(), k, v, nil)
	return r.add(l, b, batch.OriginCoordinator)
}

func (r *rig) roll() {
	r.t.Helper()
	if err := r.l.Roll(); err != nil {
		r.t.Fatal(err)
	}
}

// clean rolls, so that everything may be compacted, and compacts until nothing is
// due.
func (r *rig) clean() {
	r.t.Helper()
	r.roll()
	r.rounds()
}

func (r *rig) rounds() (n int) {
	r.t.Helper()
	for r.c.RunOnce(context.Background(), 0) {
		r.noFailure()
		if n++; n > 1000 {
			r.t.Fatal("compaction makes no progress")
		}
	}
	return n
}

func (r *rig) noFailure() {
	r.t.Helper()
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	for l, f := range r.c.failed {
		r.t.Fatalf("%s: %v", l.TopicPartition(), f.err)
	}
}

// batches reads all batches from offset on, up to upTo.
func batches(l *log.Log, from, upTo int64, maxBytes int) (data []byte, next int64, err error) {
	for from < upTo {
		d, err := l.Read(from, maxBytes, upTo, true)
		if err != nil {
			return nil, from, err
		}
		if d.Size == 0 {
			d.Release()
			break
		}
		for _, s := range d.Spans {
			b := s.B
			if b == nil {
				b = make([]byte, s.Len)
				if _, err := s.File.ReadAt(b, s.Off); err != nil {
					d.Release()
					return nil, from, err
				}
			}
			data = append(data, b...)
		}
		if d.NextOffset <= from {
			return nil, from, fmt.Errorf("read at %d goes on at %d", from, d.NextOffset)
		}
		from = d.NextOffset
		d.Release()
	}
	return data, from, nil
}

// dump describes every batch of the log: offsets, flags and records.
func (r *rig) dump(l *log.Log) string {
	r.t.Helper()
	data, _, err := batches(l, l.LogStartOffset(), l.LogEndOffset(), 1<<20)
	if err != nil {
		r.t.Fatal(err)
	}
	infos, err := batch.Infos(data)
	if err != nil {
		r.t.Fatal(err)
	}
	out := ""
	for i := range infos {
		x := &infos[i]
		if i > 0 {
			out += " "
		}
		out += fmt.Sprintf("%d-%d", x.BaseOffset, x.LastOffset)
		if x.HasDeleteHorizon {
			out += "h"
		}
		if x.IsControl {
			out += "!"
		}
		out += "["
		var it batch.Iter
		if err := it.Reset(data[x.Pos:x.End()], 0); err != nil {
			r.t.Fatal(err)
		}
		var rec batch.Record
		for n := 0; it.Next(&rec); n++ {
			if n > 0 {
				out += " "
			}
			switch {
			case x.IsControl:
				out += fmt.Sprint(rec.Offset)
			case rec.Value == nil:
				out += fmt.Sprintf("%d:%s", rec.Offset, rec.Key)
			default:
				out += fmt.Sprintf("%d:%s=%s", rec.Offset, rec.Key, rec.Value)
			}
		}
		if it.Err() != nil {
			r.t.Fatal(it.Err())
		}
		it.Close()
		out += "]"
	}
	return out
}

func (r *rig) wantDump(want string) {
	r.t.Helper()
	if got := r.dump(r.l); got != want {
		r.t.Errorf("the log is\n %s, want\n %s", got, want)
	}
}
