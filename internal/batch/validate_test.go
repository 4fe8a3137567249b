package batch

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
)

// openConfig is a topic that refuses nothing by its configuration.
func openConfig() *Config {
	return &Config{MaxMessageBytes: 1 << 20, BeforeMaxMs: math.MaxInt64, AfterMaxMs: math.MaxInt64, Codec: CodecProducer}
}

// clientBatch is n records as a producer sends them.
func clientBatch(t testing.TB, codec Codec, n int) []byte {
	t.Helper()
	b := NewBuilder(0)
	b.Codec = codec
	for range n {
		b.Append(goldenTime, []byte("key"), []byte(strings.Repeat("v", 80)), nil)
	}
	data, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestValidateKeepsInput(t *testing.T) {
	for _, c := range append([]Codec{CodecNone}, codecs...) {
		in := clientBatch(t, c, 50)
		want := bytes.Clone(in)
		var a Appended
		if _, err := Validate(&a, in, openConfig(), OriginClient, 9, goldenTime); err != nil {
			t.Fatal(c, err)
		}
		if &a.Data[0] != &in[0] || !bytes.Equal(in, want) || a.Rewritten {
			t.Errorf("%s: the input was not kept as it is", c)
		}
		if a.NumRecords() != 50 {
			t.Errorf("%s: %d records", c, a.NumRecords())
		}
		Assign(&a, 1234, 8, NoTimestamp)
		infos, err := Infos(a.Data)
		if err != nil || len(infos) != 1 || infos[0] != a.Infos[0] {
			t.Fatalf("%s: %+v, %v", c, infos, err)
		}
		if i := infos[0]; i.BaseOffset != 1234 || i.LastOffset != 1283 || i.LeaderEpoch != 8 {
			t.Errorf("%s: %+v", c, i)
		}
	}
}

func TestValidateAllocatesNothing(t *testing.T) {
	in, cfg := clientBatch(t, CodecNone, 100), openConfig()
	var a Appended
	run := func() {
		if _, err := Validate(&a, in, cfg, OriginClient, 9, goldenTime); err != nil {
			t.Fatal(err)
		}
		Assign(&a, 0, NoLeaderEpoch, NoTimestamp)
	}
	run()
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("%v allocations", n)
	}
	var it Iter
	var r Record
	if n := testing.AllocsPerRun(100, func() {
		if err := it.Reset(in, 0); err != nil {
			t.Fatal(err)
		}
		for it.Next(&r) {
		}
		it.Close()
	}); n != 0 {
		t.Errorf("%v allocations to iterate", n)
	}
}

func TestAssignLogAppendTime(t *testing.T) {
	cfg := openConfig()
	cfg.TimestampType = LogAppendTime
	var a Appended
	if _, err := Validate(&a, clientBatch(t, CodecZstd, 3), cfg, OriginClient, 9, goldenTime+7); err != nil {
		t.Fatal(err)
	}
	if i := a.Infos[0]; i.TimestampType != LogAppendTime || i.MaxTimestamp != goldenTime+7 {
		t.Errorf("after Validate %+v", i)
	}
	Assign(&a, 5, 1, goldenTime+9)
	infos, err := Infos(a.Data)
	if err != nil || infos[0] != a.Infos[0] || infos[0].MaxTimestamp != goldenTime+9 {
		t.Fatalf("%+v %v", infos, err)
	}
	for _, r := range readAll(t, a.Data) {
		if r.timestamp != goldenTime+9 {
			t.Errorf("record %+v", r)
		}
	}
}

func TestValidateSizes(t *testing.T) {
	in := clientBatch(t, CodecNone, 100)
	packed := clientBatch(t, CodecGzip, 100)
	for _, c := range []struct {
		name  string
		in    []byte
		max   int
		codec Codec
		bound int
		ok    bool
	}{
		{"exactly the limit", in, len(in), CodecProducer, 0, true},
		{"one over", in, len(in) - 1, CodecProducer, 0, false},
		{"fits, but not uncompressed", packed, len(in) - 1, CodecNone, 0, false},
		{"fits uncompressed", packed, len(in), CodecNone, 0, true},
		{"the limit is before compression too", in, len(packed), CodecGzip, 0, false},
		{"decompresses to the bound", packed, 1 << 20, CodecProducer, len(in) - HeaderSize, true},
		{"decompresses to more", packed, 1 << 20, CodecProducer, len(in) - HeaderSize - 1, false},
	} {
		cfg := openConfig()
		cfg.MaxMessageBytes, cfg.Codec, cfg.MaxDecompressedBytes = c.max, c.codec, c.bound
		var a Appended
		_, err := Validate(&a, bytes.Clone(c.in), cfg, OriginClient, 9, goldenTime)
		if c.ok && err != nil || !c.ok && !errors.Is(err, kafka.MessageTooLarge) {
			t.Errorf("%s: %v", c.name, err)
		}
		if err != nil && (a.Data != nil || len(a.Infos) != 0) {
			t.Errorf("%s: something is left to append", c.name)
		}
	}
}

// TestRecompressedSizeIsTheLimit (L11): a batch that the topic's codec makes larger than
// it came is held against the limit again, to the byte, whatever codec and format it
// came in.
func TestRecompressedSizeIsTheLimit(t *testing.T) {
	grown := 0
	inputs := map[string][]byte{}
	for from := CodecNone; from <= CodecZstd; from++ {
		inputs["v2 "+from.String()] = clientBatch(t, from, 60)
	}
	for name, data := range goldens(t) {
		if strings.HasSuffix(name, ".0.create") || strings.HasSuffix(name, ".1.create") {
			inputs[name] = data
		}
	}
	for name, in := range inputs {
		for to := CodecNone; to <= CodecZstd; to++ {
			size := func(limit int) (int, error) {
				cfg := openConfig()
				cfg.MaxMessageBytes, cfg.Codec = limit, to
				var a Appended
				_, err := Validate(&a, bytes.Clone(in), cfg, OriginClient, 9, goldenTime)
				return len(a.Data), err
			}
			out, err := size(1 << 20)
			if err != nil {
				t.Fatalf("%s to %v: %v", name, to, err)
			}
			limit := max(out, len(in))
			if n, err := size(limit); err != nil || n != out {
				t.Errorf("%s to %v: %d bytes become %d, the limit is %d: %v", name, to, len(in), out, limit, err)
			}
			// Of the old formats each message is held against the limit before they
			// become one batch.
			old := !strings.HasPrefix(name, "v2")
			if _, err := size(limit - 1); !errors.Is(err, kafka.MessageTooLarge) && !(old && out <= len(in)) {
				t.Errorf("%s to %v: %d bytes become %d, the limit is %d: %v", name, to, len(in), out, limit-1, err)
			}
			if out > len(in) {
				grown++
			}
		}
	}
	if grown < 5 {
		t.Errorf("only %d of the batches grow", grown)
	}
}

func TestValidateZstdNeedsProduce7(t *testing.T) {
	var a Appended
	in := clientBatch(t, CodecZstd, 2)
	if _, err := Validate(&a, in, openConfig(), OriginClient, 6, goldenTime); !errors.Is(err, kafka.UnsupportedCompressionType) {
		t.Errorf("version 6: %v", err)
	}
	if _, err := Validate(&a, in, openConfig(), OriginClient, 7, goldenTime); err != nil {
		t.Errorf("version 7: %v", err)
	}
	if _, err := Validate(&a, in, openConfig(), OriginCoordinator, 0, goldenTime); err != nil {
		t.Errorf("coordinator: %v", err)
	}
}

func TestValidateGivenOffsets(t *testing.T) {
	log := append(bytes.Clone(goldens(t)["data.lz4.2.create"]), goldens(t)["marker.abort"]...)
	for _, o := range []Origin{OriginReplication, OriginRaftLeader} {
		var a Appended
		if _, err := Validate(&a, log, openConfig(), o, 0, 0); err != nil || len(a.Infos) != 2 || &a.Data[0] != &log[0] {
			t.Errorf("%d: %v, %d batches", o, err, len(a.Infos))
		}
		if _, err := Validate(&a, log[:len(log)-1], openConfig(), o, 0, 0); !errors.Is(err, kafka.CorruptMessage) {
			t.Errorf("%d, cut off: %v", o, err)
		}
	}
}

func TestRecordErrorsAreBounded(t *testing.T) {
	b := NewBuilder(0)
	for range 5000 {
		b.Append(goldenTime, nil, nil, nil)
	}
	in, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	cfg := openConfig()
	cfg.Compact = true
	var a Appended
	errs, err := Validate(&a, in, cfg, OriginClient, 9, goldenTime)
	if !errors.Is(err, kafka.InvalidRecord) || len(errs.Errors) != maxRecordErrors {
		t.Fatalf("%v, %d errors", err, len(errs.Errors))
	}
	if !strings.Contains(err.Error(), "5000 record errors") || errs.Errors[999].BatchIndex != 999 {
		t.Errorf("%v, last %+v", err, errs.Errors[999])
	}
}

// TestBuilderLikeFranz compares a batch with what another client encodes.
func TestBuilderLikeFranz(t *testing.T) {
	b := NewBuilder(0)
	b.ProducerID, b.ProducerEpoch, b.BaseSequence = 77, 2, 100
	var records []byte
	for n := range 70 {
		key, value := []byte(strings.Repeat("k", n)), []byte(strings.Repeat("v", n*n))
		var hs []RecordHeader
		var kh []kmsg.Header
		for h := range n % 3 {
			hs = append(hs, RecordHeader{Key: strings.Repeat("h", h*70), Value: value})
			kh = append(kh, kmsg.Header{Key: strings.Repeat("h", h*70), Value: value})
		}
		b.Append(goldenTime+int64(n*n*n), key, value, hs)
		r := kmsg.Record{TimestampDelta64: int64(n * n * n), OffsetDelta: int32(n), Key: key, Value: value, Headers: kh}
		r.Length = 0
		body := r.AppendTo(nil)[1:] // a length of 0 is one byte
		r.Length = int32(len(body))
		records = r.AppendTo(records)
	}
	got, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	k := kmsg.RecordBatch{
		Length: int32(HeaderSize - LogOverhead + len(records)), PartitionLeaderEpoch: -1, Magic: 2, LastOffsetDelta: 69,
		FirstTimestamp: goldenTime, MaxTimestamp: goldenTime + 69*69*69, ProducerID: 77, ProducerEpoch: 2, FirstSequence: 100,
		NumRecords: 70, Records: records,
	}
	want := k.AppendTo(nil)
	setCRC(want)
	if !bytes.Equal(got, want) {
		t.Errorf("\n got %.300x\nwant %.300x", got, want)
	}
}

func TestBuilderErrors(t *testing.T) {
	b := NewBuilder(10)
	b.AppendAt(12, 0, nil, nil, nil)
	b.AppendAt(12, 0, nil, nil, nil)
	if _, err := b.Build(nil); err == nil {
		t.Error("the same offset twice")
	}
	b.Reset(10)
	b.AppendAt(9, 0, nil, nil, nil)
	if _, err := b.Build(nil); err == nil {
		t.Error("an offset below the base")
	}
	b.Reset(0)
	b.AppendAt(1<<31, 0, nil, nil, nil)
	if _, err := b.Build(nil); err == nil {
		t.Error("an offset too far above the base")
	}
	b.Reset(10)
	if _, err := b.Build(nil); err == nil {
		t.Error("neither records nor a last offset")
	}
}

func TestDownConvertRules(t *testing.T) {
	g := goldens(t)
	if _, err := DownConvert(g["data.zstd.2.create"], MagicV1, 0, 0); !errors.Is(err, kafka.UnsupportedCompressionType) {
		t.Errorf("zstd: %v", err)
	}
	if _, err := DownConvert(g["data.none.2.create"], MagicV2, 0, 0); !errors.Is(err, kafka.UnsupportedForMessageFormat) {
		t.Errorf("to v2: %v", err)
	}
	log := append(bytes.Clone(g["marker.commit"]), g["txn.none.2.create"]...)
	log = append(log, g["data.gzip.1.create"]...)
	log = append(log, g["marker.abort"][:70]...)
	got, err := DownConvert(log, MagicV1, 2, 0)
	if err != nil {
		t.Fatal(err)
	}
	rs := readAll(t, got)
	if len(rs) != 3+5 || rs[0].offset != 2 || rs[3].offset != 1000 {
		t.Errorf("%d records: %.300v", len(rs), rs)
	}
	if !bytes.HasSuffix(got, g["data.gzip.1.create"]) {
		t.Error("a message that was old already was changed")
	}
	// Of the end of a transaction nothing is left, which is not the same as no conversion.
	if got, err := DownConvert(g["marker.commit"], MagicV1, 0, 0); err != nil || got == nil || len(got) != 0 {
		t.Errorf("%v of a control batch, %v", got, err)
	}
	marker := g["marker.commit"]
	info, err := Peek(marker)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		in   []byte
		n    int
		next int64
	}{
		{log, len(marker), info.LastOffset + 1},
		{marker, len(marker), info.LastOffset + 1},
		{append(bytes.Clone(marker), marker[:70]...), len(marker), info.LastOffset + 1},
		{log[len(marker):], 0, 0},
		{g["data.gzip.1.create"], 0, 0},
		{nil, 0, 0},
	} {
		if n, next, err := Unconvertible(tt.in); n != tt.n || next != tt.next || err != nil {
			t.Errorf("%d bytes up to offset %d are unconvertible, %v; want %d up to %d", n, next, err, tt.n, tt.next)
		}
	}
}

// TestPooledBuffersKeepTheirSize: a bound below the size of a pooled buffer must
// not shrink it for the next.
func TestPooledBuffersKeepTheirSize(t *testing.T) {
	packed, err := Compress(nil, make([]byte, 500), CodecGzip, 0, MagicV2)
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if _, err := Decompress(nil, packed, CodecGzip, MagicV2, 500); err != nil {
			t.Fatal(err)
		}
		b := getBuffer(16 << 10)
		if cap(b.b) < 16<<10 || len(b.b) != 0 {
			t.Fatalf("capacity %d, length %d", cap(b.b), len(b.b))
		}
		b.release()
	}
}

func BenchmarkValidate(b *testing.B) {
	for _, c := range append([]Codec{CodecNone}, codecs...) {
		b.Run(c.String(), func(b *testing.B) {
			in, cfg := clientBatch(b, c, 150), openConfig()
			var a Appended
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Validate(&a, in, cfg, OriginClient, 9, goldenTime); err != nil {
					b.Fatal(err)
				}
				Assign(&a, 0, NoLeaderEpoch, NoTimestamp)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/150, "ns/record")
		})
	}
}

// TestValidateTrailingRecords: bytes after the records that the header counts
// are refused, compressed or not.
func TestValidateTrailingRecords(t *testing.T) {
	for _, c := range append([]Codec{CodecNone}, codecs...) {
		in := clientBatch(t, c, 3)
		be.PutUint32(in[posRecordCount:], 2)
		be.PutUint32(in[posLastOffsetDelta:], 1)
		setCRC(in)
		var a Appended
		if _, err := Validate(&a, in, openConfig(), OriginClient, 9, goldenTime); !errors.Is(err, kafka.InvalidRecord) {
			t.Errorf("%s: %v", c, err)
		}
		var it Iter
		if err := it.Reset(in, 0); err != nil {
			t.Fatal(err)
		}
		var r Record
		for it.Next(&r) {
		}
		if it.Err() == nil {
			t.Errorf("%s: the iterator saw nothing", c)
		}
		it.Close()
	}
}

// TestLegacyWrapperTimestamp: the wrapper's LogAppendTime holds for messages
// that say something else.
func TestLegacyWrapperTimestamp(t *testing.T) {
	for tt, want := range map[TimestampType]int64{CreateTime: goldenTime, LogAppendTime: goldenTime + 500} {
		set := appendLegacy(nil, MagicV1, 0, goldenTime, CodecNone, CreateTime, []byte("k"), []byte("v"))
		packed, err := Compress(nil, set, CodecGzip, 0, MagicV1)
		if err != nil {
			t.Fatal(err)
		}
		b := appendLegacy(nil, MagicV1, 40, goldenTime+500, CodecGzip, tt, nil, packed)
		if rs := readAll(t, b); len(rs) != 1 || rs[0].timestamp != want || rs[0].offset != 40 {
			t.Errorf("%d: %+v, want timestamp %d", tt, rs, want)
		}
	}
}

func TestAssignSeveralBatches(t *testing.T) {
	in := append(clientBatch(t, CodecNone, 3), clientBatch(t, CodecLZ4, 4)...)
	infos, err := Infos(in)
	if err != nil {
		t.Fatal(err)
	}
	a := Appended{Data: in, Infos: infos}
	Assign(&a, 50, 2, NoTimestamp)
	infos, err = Infos(in)
	if err != nil || infos[0].LastOffset != 52 || infos[1].BaseOffset != 53 || infos[1].LastOffset != 56 || a.NumRecords() != 7 {
		t.Errorf("%+v %v", infos, err)
	}
}
