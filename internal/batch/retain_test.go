package batch

import (
	"bytes"
	"fmt"
	"math/rand"
	"strings"
	"testing"
)

// describe lists the records of a batch with everything that they say.
func describe(t testing.TB, b []byte) (Info, []string) {
	t.Helper()
	infos, err := Infos(b)
	if err != nil || len(infos) != 1 || infos[0].End() != len(b) {
		t.Fatalf("not one whole batch of %d bytes: %v %v", len(b), infos, err)
	}
	var it Iter
	defer it.Close()
	if err := it.Reset(b, 0); err != nil {
		t.Fatal(err)
	}
	var list []string
	var r Record
	for it.Next(&r) {
		list = append(list, fmt.Sprintf("%d %d %d %q %q %v %v", r.Offset, r.Timestamp, r.Sequence, r.Key, r.Value, r.Value == nil, r.Headers()))
	}
	if it.Err() != nil {
		t.Fatal(it.Err())
	}
	return infos[0], list
}

// TestRetainKeepsWhatStays: records that stay say what they said, whatever the codec,
// the kind of timestamp and the horizon; the header keeps its offsets and its
// producer.
func TestRetainKeepsWhatStays(t *testing.T) {
	var rt Retainer
	for n := range 400 {
		rng := rand.New(rand.NewSource(int64(n)))
		b := NewBuilder(1000)
		b.Codec, b.LeaderEpoch = Codec(rng.Intn(5)), 7
		if rng.Intn(3) == 0 {
			b.TimestampType, b.LogAppendTimeMs = LogAppendTime, 99_999
		}
		if rng.Intn(2) == 0 {
			b.ProducerID, b.ProducerEpoch, b.BaseSequence, b.IsTransactional = 5, 2, 40, rng.Intn(2) == 0
		}
		if rng.Intn(3) == 0 {
			b.DeleteHorizonMs = 77_000
		}
		var keep, tombstone []bool
		records := 1 + rng.Intn(9)
		if n%50 == 0 {
			records = retainChunk + 40
		}
		for i := range records {
			v := []byte(strings.Repeat("v", rng.Intn(50)))
			if rng.Intn(3) == 0 {
				v = nil
			}
			var h []RecordHeader
			if rng.Intn(2) == 0 {
				h = []RecordHeader{{"h", []byte{1, 2}}, {"null", nil}}
			}
			b.AppendAt(1000+int64(2*i), 50_000+rng.Int63n(100_000), []byte(fmt.Sprint("k", i)), v, h)
			keep, tombstone = append(keep, rng.Intn(3) > 0), append(tombstone, v == nil)
		}
		b.SetLastOffset(2030)
		in, err := b.Build(nil)
		if err != nil {
			t.Fatal(err)
		}
		before, all := describe(t, in)
		var want []string
		held := false
		for i := range all {
			if keep[i] {
				want = append(want, all[i])
				held = held || tombstone[i]
			}
		}
		i := 0
		o := RetainOptions{KeepEmpty: rng.Intn(2) == 0, HorizonMs: 123_456, SetHorizon: rng.Intn(4) == 0}
		out, got, err := rt.Retain([]byte("x"), in, &before, o, each(func(*Record) bool { i++; return keep[i-1] }))
		if err != nil || i != len(all) || got.Read != len(all) || got.Kept != len(want) {
			t.Fatalf("case %d: %+v %v", n, got, err)
		}
		if out = out[1:]; len(want) == 0 && !o.KeepEmpty {
			if len(out) != 0 {
				t.Fatalf("case %d: %d bytes for nothing", n, len(out))
			}
			continue
		}
		after, left := describe(t, out)
		if fmt.Sprint(left) != fmt.Sprint(want) {
			t.Fatalf("case %d:\n %v, want\n %v", n, left, want)
		}
		set := len(want) > 0 && (held || o.SetHorizon) && !before.HasDeleteHorizon
		if verbatim := len(want) == len(all) && !set; verbatim != got.Verbatim || verbatim && !bytes.Equal(out, in) {
			t.Fatalf("case %d: verbatim is %v, want %v", n, got.Verbatim, verbatim)
		}
		if set && after.BaseTimestamp != 123_456 || after.HasDeleteHorizon != (len(want) > 0 && (set || before.HasDeleteHorizon)) {
			t.Fatalf("case %d: horizon %v at %d", n, after.HasDeleteHorizon, after.BaseTimestamp)
		}
		if codec := before.Codec; len(want) > 0 && after.Codec != codec || len(want) == 0 && !got.Verbatim && after.Codec != CodecNone {
			t.Fatalf("case %d: codec %s was %s", n, after.Codec, before.Codec)
		}
		if after.MaxTimestamp > before.MaxTimestamp || before.TimestampType == LogAppendTime && after.MaxTimestamp != 99_999 {
			t.Fatalf("case %d: largest timestamp %d was %d", n, after.MaxTimestamp, before.MaxTimestamp)
		}
		same := before
		same.Size, same.CRC, same.NumRecords, same.Codec = after.Size, after.CRC, after.NumRecords, after.Codec
		same.BaseTimestamp, same.MaxTimestamp, same.HasDeleteHorizon = after.BaseTimestamp, after.MaxTimestamp, after.HasDeleteHorizon
		if same != after {
			t.Fatalf("case %d: header\n %+v, was\n %+v", n, after, before)
		}
	}
}

// TestRetainTurnsOldFormatsIntoV2, single messages and compressed sets of them.
func TestRetainTurnsOldFormatsIntoV2(t *testing.T) {
	for _, magic := range []int8{MagicV0, MagicV1} {
		for _, codec := range []Codec{CodecNone, CodecGzip, CodecSnappy, CodecLZ4} {
			in := appendLegacy(nil, magic, 10, 500, CodecNone, CreateTime, []byte("a"), []byte("1"))
			stay := 1
			if codec != CodecNone {
				first := int64(10)
				if magic == MagicV1 {
					first = 0 // relative
				}
				var inner []byte
				for i, k := range []string{"a", "b", "c"} {
					v := []byte("1")
					if k == "c" {
						v = nil
					}
					inner = appendLegacy(inner, magic, first+int64(i), 500+int64(i), CodecNone, CreateTime, []byte(k), v)
				}
				packed, err := Compress(nil, inner, codec, 0, magic)
				if err != nil {
					t.Fatal(err)
				}
				in, stay = appendLegacy(nil, magic, 12, 502, codec, CreateTime, nil, packed), 2
			}
			before, all := describe(t, in)
			if len(all) != int(before.LastOffsetDelta)+1 {
				t.Fatalf("magic %d %s: %v", magic, codec, all)
			}
			var rt Retainer
			out, _, err := rt.Retain(nil, in, &before, RetainOptions{HorizonMs: 9000}, each(func(r *Record) bool { return len(all) == 1 || r.Offset > 10 }))
			if err != nil {
				t.Fatal(err)
			}
			after, left := describe(t, out)
			if after.Magic != MagicV2 || after.Codec != codec || after.LastOffset != before.LastOffset || after.HasDeleteHorizon != (stay == 2) ||
				fmt.Sprint(left) != fmt.Sprint(all[len(all)-stay:]) {
				t.Errorf("magic %d %s: %+v %v, was %v", magic, codec, after, left, all)
			}
			out, _, err = rt.Retain(nil, in, &before, RetainOptions{KeepEmpty: true}, each(func(*Record) bool { return false }))
			if err != nil {
				t.Fatal(err)
			}
			if after, left := describe(t, out); len(left) != 0 || after.LastOffset != before.LastOffset || after.HasProducerID() {
				t.Errorf("magic %d %s: the empty batch is %+v", magic, codec, after)
			}
		}
	}
}

// each asks about one record at a time.
func each(keep func(*Record) bool) Keep {
	return func(recs []Record, stays []bool) {
		for i := range recs {
			stays[i] = keep(&recs[i])
		}
	}
}

// FuzzRetain: whatever is kept of whatever parses is a whole batch again.
func FuzzRetain(f *testing.F) {
	b := NewBuilder(5)
	b.Append(1, []byte("k"), nil, nil)
	b.Append(2, []byte("l"), []byte("v"), []RecordHeader{{"h", nil}})
	seed, _ := b.Build(nil)
	f.Add(seed, uint8(1))
	f.Add(appendLegacy(nil, MagicV1, 3, 4, CodecNone, CreateTime, []byte("k"), nil), uint8(3))
	f.Fuzz(func(t *testing.T, in []byte, mask uint8) {
		infos, err := Infos(in)
		if err != nil || len(infos) == 0 {
			return
		}
		x := infos[0]
		var rt Retainer
		i := 0
		out, got, err := rt.Retain(nil, in[x.Pos:x.End()], &x, RetainOptions{KeepEmpty: mask&1 == 1, HorizonMs: 1 << 40, MaxDecompressedBytes: 1 << 20}, each(func(*Record) bool {
			i++
			return mask>>(i%8)&1 == 1
		}))
		if err != nil || len(out) == 0 {
			return
		}
		after, err := Infos(out)
		if err != nil || len(after) != 1 || after[0].End() != len(out) || int(after[0].NumRecords) != got.Kept && !got.Verbatim {
			t.Fatalf("%d bytes became %d: %+v %+v %v", len(in), len(out), got, after, err)
		}
		if after[0].LastOffset != x.LastOffset && x.Magic == MagicV2 {
			t.Fatalf("last offset %d was %d", after[0].LastOffset, x.LastOffset)
		}
	})
}
