package batch

import (
	"bytes"
	"hash/crc32"
	"runtime"
	"testing"

	"github.com/gregorhq/gregor/internal/kafka"
)

// repairCRC makes checksums right, so that they do not keep a fuzzer out.
func repairCRC(b []byte) {
	for pos := 0; pos < len(b); {
		size, ok, err := NextSize(b[pos:])
		if !ok || err != nil || size > len(b)-pos {
			return
		}
		x := b[pos : pos+size]
		if int8(x[posMagic]) == MagicV2 {
			setCRC(x)
		} else {
			be.PutUint32(x[legacyPosCRC:], crc32.ChecksumIEEE(x[posMagic:]))
		}
		pos += size
	}
}

// small drops golden batches that are large, which slow a fuzzer down.
func small(f *testing.F, prefix string, add func([]byte)) {
	n := 0
	for name, b := range goldens(f) {
		if len(b) < 3000 && len(name) >= len(prefix) && name[:len(prefix)] == prefix {
			add(b)
			n++
		}
	}
	if n == 0 {
		f.Fatalf("no seeds for %q", prefix)
	}
}

// FuzzInfos reads arbitrary logs: no panic, and what it accepts covers the input
// from its beginning without gaps and can be walked.
func FuzzInfos(f *testing.F) {
	small(f, "", func(b []byte) { f.Add(b) })
	f.Add(append(bytes.Clone(goldens(f)["marker.abort"]), goldens(f)["empty"]...))
	f.Fuzz(func(t *testing.T, in []byte) {
		repairCRC(in)
		infos, err := Infos(in)
		if err != nil && kafka.CodeOf(err) != kafka.CorruptMessage {
			t.Fatal(err)
		}
		pos := 0
		var it Iter
		defer it.Close()
		for _, i := range infos {
			if i.Pos != pos || i.Size <= 0 || i.End() > len(in) {
				t.Fatalf("at %d: %+v", pos, i)
			}
			pos = i.End()
			if it.Reset(in[i.Pos:i.End()], 1<<20) != nil {
				continue
			}
			var r Record
			for it.Next(&r) {
				r.Headers()
			}
		}
		_, _ = DownConvert(in, MagicV1, 0, 1<<20)
		_, _ = DownConvert(in, MagicV0, 5, 1<<20)
	})
}

// checkValidated checks what must hold of everything that Validate accepts.
func checkValidated(t *testing.T, a *Appended, cfg *Config, exactTime bool) {
	t.Helper()
	Assign(a, 1000, 3, NoTimestamp)
	infos, err := Infos(a.Data)
	if err != nil {
		t.Fatal(err)
	}
	if len(infos) != len(a.Infos) || len(infos) == 0 || infos[len(infos)-1].End() != len(a.Data) {
		t.Fatalf("%d infos in the bytes, %d told", len(infos), len(a.Infos))
	}
	next := int64(1000)
	for k, i := range infos {
		if i != a.Infos[k] || i.Magic != MagicV2 || i.BaseOffset != next || i.NumRecords != i.LastOffsetDelta+1 || i.Size > cfg.MaxMessageBytes {
			t.Fatalf("told %+v, is %+v, from %d", a.Infos[k], i, next)
		}
		if cfg.Codec != CodecProducer && i.Codec != cfg.Codec && !i.IsControl {
			t.Fatalf("codec %s", i.Codec)
		}
		var it Iter
		if err := it.Reset(a.Data[i.Pos:], 0); err != nil {
			t.Fatal(err)
		}
		var r Record
		maxTimestamp := NoTimestamp
		for it.Next(&r) {
			if r.Offset != next || cfg.Compact && r.Key == nil {
				t.Fatalf("record %+v, want offset %d", r, next)
			}
			if len(r.Headers()) != r.NumHeaders {
				t.Fatalf("%d headers of %d", len(r.Headers()), r.NumHeaders)
			}
			maxTimestamp = max(maxTimestamp, r.Timestamp)
			next++
		}
		if err := it.Err(); err != nil || next != i.LastOffset+1 {
			t.Fatalf("ended before %d of %+v: %v", next, i, err)
		}
		if exactTime && maxTimestamp != i.MaxTimestamp {
			t.Fatalf("largest timestamp %d, told %d", maxTimestamp, i.MaxTimestamp)
		}
		it.Close()
	}
}

func fuzzValidate(t *testing.T, in []byte, mode byte) {
	repairCRC(in)
	cfg := openConfig()
	cfg.MaxDecompressedBytes = 1 << 20
	cfg.MaxMessageBytes = 1 << 16
	if mode&1 != 0 {
		cfg.TimestampType = LogAppendTime
	}
	cfg.Compact = mode&2 != 0
	if c := Codec(mode >> 2 & 7); c <= CodecZstd {
		cfg.Codec = c
	}
	if mode&0x20 != 0 {
		cfg.BeforeMaxMs, cfg.AfterMaxMs = 1000, 1000
	}
	// A producer that claims LogAppendTime where the topic says CreateTime gets
	// its claim as the largest timestamp, as in Kafka.
	claims := len(in) >= HeaderSize && in[posMagic] == byte(MagicV2) && in[posAttributes+1]&attrLogAppendTime != 0
	o := OriginClient
	if mode&0x40 != 0 {
		o = OriginCoordinator
	}
	var a Appended
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	errs, err := Validate(&a, in, cfg, o, 9, goldenTime)
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 64<<20 {
		t.Fatalf("%d bytes allocated for %d", got, len(in))
	}
	if err != nil {
		if kafka.CodeOf(err) == kafka.UnknownServerError || len(a.Data) > 0 {
			t.Fatalf("%v, %d bytes left", err, len(a.Data))
		}
		if errs != nil && len(errs.Errors) == 0 {
			t.Fatal("no record errors in the list")
		}
		return
	}
	checkValidated(t, &a, cfg, !claims)
}

// FuzzValidate gives Validate arbitrary batches of all codecs.
func FuzzValidate(f *testing.F) {
	for n, c := range validateCases(f) {
		if n%9 == 0 && len(c.in) > posMagic && c.in[posMagic] == byte(MagicV2) {
			f.Add(c.in, byte(n))
		}
	}
	f.Fuzz(fuzzValidate)
}

// FuzzLegacy is FuzzValidate for messages of the old formats.
func FuzzLegacy(f *testing.F) {
	for n, c := range validateCases(f) {
		if n%5 == 0 && len(c.in) > posMagic && c.in[posMagic] < byte(MagicV2) {
			f.Add(c.in, byte(n))
		}
	}
	small(f, "data.gzip.0", func(b []byte) { f.Add(b, byte(0)) })
	f.Fuzz(fuzzValidate)
}
