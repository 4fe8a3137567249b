package log

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/vfs"
)

const testDir = "/data"

var testTP = kafka.TopicPartition{Topic: "t", Partition: 0}

// testTopic is a configuration with small segments and a dense index, so that a
// test meets rolls and index entries early.
func testTopic() config.Topic {
	return config.Topic{
		CleanupDelete: true, MessageTimestampType: "CreateTime", MaxMessageBytes: 1 << 20,
		SegmentBytes: 4096, SegmentMs: 7 * 24 * 3600 * 1000, SegmentIndexBytes: 10 << 20, IndexIntervalBytes: 300,
		RetentionBytes: -1, RetentionMs: -1, FileDeleteDelayMs: 60000,
		FlushMessages: 1<<63 - 1, FlushMs: 1<<63 - 1,
	}
}

// rig is a Manager on a file system with one directory.
type rig struct {
	t     testing.TB
	fs    vfs.FS
	clock *clock.Virtual
	m     *Manager
	cfg   config.Topic
	dirs  []string
	tail  int64
	// logger and headroom are those of Options.
	logger   *slog.Logger
	headroom int64
	// offline collects the directories that failed.
	offline []string
	a       batch.Appended
}

func newRig(t testing.TB, fsys vfs.FS) *rig {
	r := &rig{t: t, fs: fsys, clock: clock.NewVirtual(time.UnixMilli(1_700_000_000_000)), cfg: testTopic(), dirs: []string{testDir}, tail: 1 << 20, logger: slog.New(slog.DiscardHandler)}
	if m, ok := fsys.(*vfs.Mem); ok {
		m.SetNow(r.clock.Now)
	}
	return r
}

func (r *rig) options() Options {
	return Options{
		FS: r.fs, Clock: r.clock, Logger: r.logger, Dirs: r.dirs, NodeID: 1, ClusterID: "cluster",
		AllowUnformatted: true, TopicConfig: func(string) config.Topic { return r.cfg }, TailBytes: r.tail, HeadroomBytes: r.headroom, Seed: 1, Manual: true,
		OnOffline: func(dir string, _ kafka.UUID, _ error) { r.offline = append(r.offline, dir) },
	}
}

// openWith opens with other options than the rig's.
func (r *rig) openWith(o Options) {
	r.t.Helper()
	m, err := Open(context.Background(), o)
	if err != nil {
		r.t.Fatal(err)
	}
	r.m = m
}

func (r *rig) tryOpen() error {
	m, err := Open(context.Background(), r.options())
	if err == nil {
		r.m = m
	}
	return err
}

func (r *rig) open() *rig {
	r.t.Helper()
	if err := r.tryOpen(); err != nil {
		r.t.Fatal(err)
	}
	return r
}

// reopen stops without a word, as a kill does, and opens again.
func (r *rig) reopen() *rig {
	r.t.Helper()
	r.m.Abort()
	return r.open()
}

func (r *rig) close() {
	r.t.Helper()
	if err := r.m.Close(7); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) create() *Log {
	r.t.Helper()
	l, err := r.m.Create(testTP, kafka.TopicID{1}, kafka.ZeroUUID, r.cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	return l
}

// log is the partition of the tests, which must exist.
func (r *rig) log() *Log {
	r.t.Helper()
	l := r.m.Get(testTP)
	if l == nil {
		r.t.Fatal("the log is not there")
	}
	return l
}

// build makes a batch as a producer sends it: offsets from 0.
func build(t testing.TB, ts int64, values ...string) []byte {
	t.Helper()
	b := batch.NewBuilder(0)
	for i, v := range values {
		b.Append(ts+int64(i), []byte("k"), []byte(v), nil)
	}
	out, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// append appends one batch as the leader of epoch 3.
func (r *rig) append(l *Log, ts int64, values ...string) (AppendInfo, error) {
	r.t.Helper()
	return r.appendRaw(l, 3, batch.OriginClient, build(r.t, ts, values...))
}

func (r *rig) appendRaw(l *Log, epoch int32, origin batch.Origin, data []byte) (AppendInfo, error) {
	r.t.Helper()
	infos, err := batch.Infos(data)
	if err != nil {
		r.t.Fatal(err)
	}
	r.a = batch.Appended{Data: data, Infos: infos}
	return l.Append(&r.a, epoch, origin, r.clock.Now().UnixMilli())
}

func (r *rig) mustAppend(l *Log, ts int64, values ...string) AppendInfo {
	r.t.Helper()
	info, err := r.append(l, ts, values...)
	if err != nil {
		r.t.Fatal(err)
	}
	return info
}

// bytesOf copies the bytes of a Data, whether in memory or in a file.
func bytesOf(t testing.TB, d *Data) []byte {
	t.Helper()
	out, err := spanBytes(d)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func spanBytes(d *Data) ([]byte, error) {
	var out []byte
	for _, s := range d.Spans {
		if s.B != nil {
			if s.Len != len(s.B) {
				return nil, fmt.Errorf("span of %d bytes says %d", len(s.B), s.Len)
			}
			out = append(out, s.B...)
			continue
		}
		b := make([]byte, s.Len)
		if err := readFull(s.File, b, s.Off); err != nil {
			return nil, err
		}
		out = append(out, b...)
	}
	if len(out) != d.Size {
		return nil, fmt.Errorf("%d bytes in spans, Size %d", len(out), d.Size)
	}
	return out, nil
}

// record is what a test compares of a record.
type record struct {
	offset, ts int64
	value      string
}

// records reads everything from offset up to upTo in pieces of at most maxBytes.
func records(t testing.TB, l *Log, offset, upTo int64, maxBytes int) []record {
	t.Helper()
	list, err := tryRecords(t, l, offset, upTo, maxBytes)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func tryRecords(t testing.TB, l *Log, offset, upTo int64, maxBytes int) ([]record, error) {
	t.Helper()
	var list []record
	for offset < upTo {
		d, err := l.Read(offset, maxBytes, upTo, true)
		if err != nil {
			return list, err
		}
		data, err := spanBytes(&d)
		next := d.NextOffset
		d.Release()
		if err != nil {
			return list, err
		}
		if len(data) == 0 {
			break
		}
		infos, err := batch.Infos(data)
		if err != nil {
			return list, err
		}
		if len(infos) == 0 {
			return list, fmt.Errorf("read at %d returned %d bytes that are no batch", offset, len(data))
		}
		if infos[len(infos)-1].End() != len(data) {
			return list, fmt.Errorf("read at %d returned %d bytes, %d of them whole batches", offset, len(data), infos[len(infos)-1].End())
		}
		for i := range infos {
			if infos[i].LastOffset >= upTo {
				return list, fmt.Errorf("read up to %d returned offset %d", upTo, infos[i].LastOffset)
			}
			var it batch.Iter
			if err := it.Reset(data[infos[i].Pos:infos[i].End()], 0); err != nil {
				return list, err
			}
			var rec batch.Record
			for it.Next(&rec) {
				if rec.Offset >= offset {
					list = append(list, record{rec.Offset, rec.Timestamp, string(rec.Value)})
				}
			}
			it.Close()
		}
		if next <= offset {
			return list, fmt.Errorf("read at %d goes on at %d", offset, next)
		}
		offset = next
	}
	return list, nil
}

func valueOf(i int) string {
	return fmt.Sprintf("value-%d-%s", i, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"[:i%37])
}

// fill appends n batches of one to three records and returns all of them.
func (r *rig) fill(l *Log, n int) []record {
	r.t.Helper()
	rng := rand.New(rand.NewSource(int64(n)))
	var all []record
	for i := 0; i < n; i++ {
		values := make([]string, 1+rng.Intn(3))
		ts := 1_600_000_000_000 + int64(i)*10
		for j := range values {
			values[j] = valueOf(i*3 + j)
		}
		info := r.mustAppend(l, ts, values...)
		for j, v := range values {
			all = append(all, record{info.FirstOffset + int64(j), ts + int64(j), v})
		}
	}
	return all
}

func equalRecords(t testing.TB, got, want []record) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("record %d is %+v, want %+v", i, got[i], want[i])
		}
	}
}

func mustInfos(t testing.TB, data []byte) []batch.Info {
	t.Helper()
	infos, err := batch.Infos(data)
	if err != nil {
		t.Fatal(err)
	}
	return infos
}

func appendVerbatim(t testing.TB, l *Log, data []byte) AppendInfo {
	t.Helper()
	info, err := l.AppendVerbatim(data, mustInfos(t, data), 0)
	if err != nil {
		t.Fatal(err)
	}
	return info
}
