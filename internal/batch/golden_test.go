package batch

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"os"
	"strings"
	"testing"
)

const goldenTime = 1700000000000

// goldens reads testdata/golden.txt: batches that Apache Kafka's own classes
// wrote, one a line, name and hex.
func goldens(t testing.TB) map[string][]byte {
	t.Helper()
	f, err := os.Open("testdata/golden.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := map[string][]byte{}
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		name, text, _ := strings.Cut(s.Text(), " ")
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out[name] = b
	}
	if len(out) < 20 {
		t.Fatalf("only %d golden batches", len(out))
	}
	return out
}

type rec struct {
	offset, timestamp int64
	key, value        string
	headers           string
}

const null = "<null>"

func text(b []byte) string {
	if b == nil {
		return null
	}
	return string(b)
}

// readAll lists every record of concatenated batches.
func readAll(t testing.TB, b []byte) []rec {
	t.Helper()
	var out []rec
	var it Iter
	defer it.Close()
	for pos := 0; pos < len(b); {
		size, ok, err := NextSize(b[pos:])
		if !ok || err != nil {
			t.Fatalf("batch at %d: ok %v, %v", pos, ok, err)
		}
		if err := it.Reset(b[pos:], 0); err != nil {
			t.Fatalf("batch at %d: %v", pos, err)
		}
		var r Record
		for it.Next(&r) {
			hs := ""
			for _, h := range r.Headers() {
				hs += h.Key + "=" + text(h.Value) + ";"
			}
			out = append(out, rec{r.Offset, r.Timestamp, text(r.Key), text(r.Value), hs})
		}
		if err := it.Err(); err != nil {
			t.Fatalf("batch at %d: %v", pos, err)
		}
		pos += size
	}
	return out
}

func goldenBig(n int) string {
	return strings.Repeat("abcdefghijklmnopqrstuvwxyz", n/26+1)[:n]
}

// goldenRecords is what the data.* batches hold.
func goldenRecords(base int64, magic, codec, tt string) []rec {
	n := 70000
	if codec == "none" {
		n = 100
	}
	rs := []rec{
		{0, goldenTime, "k0", "v0", ""},
		{1, goldenTime + 5, null, "value one", "h=x;n=" + null + ";e=;"},
		{2, goldenTime - 3, "k2", null, ""},
		{3, goldenTime + 70000, "", "", ""},
		{4, goldenTime + 1, "big", goldenBig(n), ""},
	}
	for k := range rs {
		rs[k].offset += base
		switch {
		case magic == "0":
			rs[k].timestamp = NoTimestamp
		case tt == "append":
			rs[k].timestamp = goldenTime + 999
		}
		if magic != "2" {
			rs[k].headers = ""
		}
	}
	return rs
}

func TestGoldenRecords(t *testing.T) {
	for name, b := range goldens(t) {
		p := strings.Split(name, ".")
		if p[0] != "data" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			got, want := readAll(t, b), goldenRecords(1000, p[2], p[1], p[3])
			if len(got) != len(want) {
				t.Fatalf("%d records, want %d", len(got), len(want))
			}
			for k := range want {
				if got[k] != want[k] {
					t.Errorf("record %d: got %.200v, want %.200v", k, got[k], want[k])
				}
			}
			infos, err := Infos(b)
			if err != nil {
				t.Fatal(err)
			}
			var n int32
			for _, i := range infos {
				n += i.NumRecords
			}
			first, last := infos[0], infos[len(infos)-1]
			if n != 5 || first.BaseOffset != 1000 || last.LastOffset != 1004 || last.End() != len(b) || first.Codec.String() != p[1] {
				t.Errorf("infos %+v", infos)
			}
			damaged := bytes.Clone(b)
			damaged[len(damaged)-1] ^= 1
			if _, err := Infos(damaged); err == nil {
				t.Error("a flipped bit went unnoticed")
			}
			cut, err := Infos(b[:len(b)-1])
			if err != nil || len(cut) != len(infos)-1 {
				t.Errorf("cut off: %d infos, %v", len(cut), err)
			}
		})
	}
}

// fillGolden appends the records of the golden batches.
func fillGolden(b *Builder, big int) {
	b.Append(goldenTime, []byte("k0"), []byte("v0"), nil)
	b.Append(goldenTime+5, nil, []byte("value one"), []RecordHeader{{"h", []byte("x")}, {"n", nil}, {"e", []byte{}}})
	b.Append(goldenTime-3, []byte("k2"), nil, nil)
	b.Append(goldenTime+70000, []byte{}, []byte{}, nil)
	b.Append(goldenTime+1, []byte("big"), []byte(goldenBig(big)), nil)
}

// TestGoldenBuilder compares what Builder writes with what Apache Kafka wrote.
func TestGoldenBuilder(t *testing.T) {
	g := goldens(t)
	data := func(tt TimestampType) *Builder {
		b := NewBuilder(1000)
		b.LeaderEpoch, b.TimestampType, b.LogAppendTimeMs = 7, tt, goldenTime+999
		fillGolden(b, 100)
		return b
	}
	marker := func(offset int64, commit bool, epoch int32) *Builder {
		b := NewBuilder(offset)
		b.LeaderEpoch, b.ProducerID, b.ProducerEpoch, b.IsTransactional, b.IsControl = 9, 4711, 3, true, true
		key, value := EndTxnMarker(commit, epoch)
		b.Append(goldenTime, key, value, nil)
		return b
	}
	txn := NewBuilder(0)
	txn.ProducerID, txn.ProducerEpoch, txn.BaseSequence, txn.IsTransactional = 4711, 3, 2147483646, true
	fillGolden(txn, 100)
	horizon := NewBuilder(10)
	horizon.LeaderEpoch, horizon.DeleteHorizonMs = 4, goldenTime+86400000
	horizon.AppendAt(12, goldenTime, []byte("k"), nil, nil)
	horizon.AppendAt(15, goldenTime+1, []byte("l"), []byte("v"), nil)
	horizon.SetLastOffset(17)
	for name, b := range map[string]*Builder{
		"data.none.2.create": data(CreateTime),
		"data.none.2.append": data(LogAppendTime),
		"txn.none.2.create":  txn,
		"marker.commit":      marker(55, true, 12),
		"marker.abort":       marker(56, false, 13),
		"deletehorizon":      horizon,
	} {
		got, err := b.Build(nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !bytes.Equal(got, g[name]) {
			t.Errorf("%s:\n got %x\nwant %x", name, got, g[name])
		}
	}
}

func TestGoldenEmptyBatch(t *testing.T) {
	want := goldens(t)["empty"]
	b := NewBuilder(100)
	b.LeaderEpoch, b.ProducerID, b.ProducerEpoch, b.BaseSequence, b.IsTransactional = 7, 4711, 3, 10, true
	b.MaxTimestampMs = goldenTime
	b.SetLastOffset(105)
	got, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("\n got %x\nwant %x", got, want)
	}
}

func TestGoldenMarkers(t *testing.T) {
	g := goldens(t)
	for name, want := range map[string]Control{
		"marker.commit": {Type: ControlCommit, CoordinatorEpoch: 12, Valid: true},
		"marker.abort":  {Type: ControlAbort, CoordinatorEpoch: 13, Valid: true},
	} {
		infos, err := Infos(g[name])
		if err != nil || len(infos) != 1 {
			t.Fatalf("%s: %v %v", name, infos, err)
		}
		if i := infos[0]; i.Control != want || !i.IsControl || !i.IsTransactional || i.ProducerID != 4711 || i.ProducerEpoch != 3 {
			t.Errorf("%s: %+v", name, i)
		}
	}
}

// TestGoldenDownConvert converts v2 data down to what Apache Kafka wrote in the
// old formats.
func TestGoldenDownConvert(t *testing.T) {
	g := goldens(t)
	for _, magic := range []string{"0", "1"} {
		for _, codec := range []string{"none", "gzip", "snappy", "lz4"} {
			for _, tt := range []string{"create", "append"} {
				if magic == "0" && tt == "append" {
					continue
				}
				m := int8(magic[0] - '0')
				got, err := DownConvert(g["data."+codec+".2."+tt], m, 1000, 0)
				if err != nil {
					t.Fatal(err)
				}
				name := "data." + codec + "." + magic + "." + tt
				if codec == "none" {
					if !bytes.Equal(got, g[name]) {
						t.Errorf("%s:\n got %x\nwant %x", name, got, g[name])
					}
					continue
				}
				// Compressors differ, so the messages inside are compared.
				if a, b := inner(t, got), inner(t, g[name]); !bytes.Equal(a, b) {
					t.Errorf("%s:\n got %.400x\nwant %.400x", name, a, b)
				}
				a, err := Infos(got)
				if err != nil {
					t.Fatal(err)
				}
				b, err := Infos(g[name])
				if err != nil {
					t.Fatal(err)
				}
				if a[0].LastOffset != b[0].LastOffset || a[0].MaxTimestamp != b[0].MaxTimestamp || a[0].TimestampType != b[0].TimestampType || a[0].Codec != b[0].Codec {
					t.Errorf("%s: wrapper %+v, want %+v", name, a[0], b[0])
				}
			}
		}
	}
}

// inner decompresses the value of the one wrapper in b.
func inner(t *testing.T, b []byte) []byte {
	t.Helper()
	var m legacyMessage
	if reason := parseLegacy(b, &m); reason != "" {
		t.Fatal(reason)
	}
	out, err := Decompress(nil, m.value, m.codec(), m.magic, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
