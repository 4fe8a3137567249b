package house

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/cli"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/vfs"
)

// runDump runs the tool in dir.
func runDump(t *testing.T, dir string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	t.Chdir(dir)
	var out, errs bytes.Buffer
	code = dumpLog(context.Background(), &cli.Env{Name: "kafka-dump-log", Args: args, Out: &out, Err: &errs})
	return out.String(), errs.String(), code
}

func write(t *testing.T, dir, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// sameLines reports the first line that differs from Kafka's output.
func sameLines(t *testing.T, got, want string) {
	t.Helper()
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(g), len(w)) {
		if i >= len(g) || i >= len(w) || g[i] != w[i] {
			t.Fatalf("line %d\n got %q\nwant %q", i+1, g[min(i, len(g)-1)], w[min(i, len(w)-1)])
		}
	}
}

func golden(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "dumplog", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// apacheSegment are all files of two segments that Kafka 4.3.1 wrote, with
// transactions, in its own data directory; see package log.
const apacheSegment = "00000000000000000045.index,00000000000000000045.log,00000000000000000045.snapshot,00000000000000000045.timeindex,00000000000000000045.txnindex," +
	"00000000000000000077.index,00000000000000000077.log,00000000000000000077.snapshot,00000000000000000077.timeindex,00000000000000000079.snapshot"

func TestDumpEqualsKafkasForItsOwnFiles(t *testing.T) {
	want := golden(t, "segment.txt")
	out, errs, code := runDump(t, "../log/testdata/kafka-4.3.1/clean/sample-0", "--print-data-log", "--files", apacheSegment)
	sameLines(t, out, want)
	if code != 0 || strings.Count(errs, "  -1 is followed by ") != 2 {
		t.Errorf("code %d, %s", code, errs)
	}
}

// goldenBatches are batches of every format and codec that Kafka wrote.
func goldenBatches(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile("../batch/testdata/golden.txt")
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for _, line := range strings.Split(string(text), "\n") {
		if name, digits, ok := strings.Cut(line, " "); ok && name != "" {
			b, err := hex.DecodeString(digits)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			all = append(all, b...)
		}
	}
	return all
}

func TestDumpEqualsKafkasForEveryFormatAndCodec(t *testing.T) {
	want, dir := golden(t, "formats.txt"), t.TempDir()
	write(t, dir, "00000000000000001000.log", goldenBatches(t))
	out, errs, code := runDump(t, dir, "--deep-iteration", "--files", "00000000000000001000.log")
	sameLines(t, out, want)
	wantErr := "Non-consecutive offsets in " + absolute("00000000000000001000.log") +
		"\n  -1 is followed by 1000\n  4 is followed by 55\n  12 is followed by 15\n  56 is followed by 12\n  1004 is followed by 0\n"
	if code != 0 || errs != wantErr {
		t.Errorf("code %d, %s", code, errs)
	}
}

// metadataLog is a log of the given values, and control records.
func metadataLog(t *testing.T, control []records.Message, values ...[]byte) []byte {
	t.Helper()
	var all []byte
	b := batch.NewBuilder(0)
	b.IsControl = true
	for _, m := range control {
		key, value := records.EncodeControl(m)
		b.Append(7, key, value, nil)
	}
	next := b.NextOffset()
	build := func(b *batch.Builder) {
		out, err := b.Build(all)
		if err != nil {
			t.Fatal(err)
		}
		all = out
	}
	if next > 0 {
		build(b)
	}
	b = batch.NewBuilder(next)
	for _, v := range values {
		b.Append(7, nil, v, nil)
	}
	build(b)
	return all
}

func TestDumpShowsMetadataAsKafkasTool(t *testing.T) {
	quota := records.NewClientQuotaRecord()
	quota.Key, quota.Value = "producer_byte_rate", 10485760
	text := "a\u2028\x1f\"é"
	config := records.NewConfigRecord()
	config.ResourceName, config.Name, config.Value = "r", "n", &text
	dir := t.TempDir()
	write(t, dir, "00000000000000000009-0000000003.checkpoint", metadataLog(t,
		[]records.Message{records.NewSnapshotHeaderRecord(), &records.LeaderChangeMessage{LeaderID: 1, Voters: []records.Voter{{VoterID: 1}}}, records.NewKRaftVersionRecord()},
		records.Encode(quota), records.Encode(config), []byte{1, 99, 0}))
	out, _, code := runDump(t, dir, "--cluster-metadata-decoder", "--files", "00000000000000000009-0000000003.checkpoint")
	for _, want := range []string{
		"Snapshot end offset: 9, epoch: 3\n",
		` SnapshotHeader {"version":0,"lastContainedLogTimestamp":0}` + "\n",
		` LeaderChange: {"version":0,"leaderId":1,"voters":[{"voterId":1}],"grantingVoters":[]}` + "\n",
		` KRaftVersion {"version":0,"kRaftVersion":0}` + "\n",
		`| offset: 3 CreateTime: 7 keySize: -1 valueSize: 33 sequence: -1 headerKeys: [] payload: {"type":"CLIENT_QUOTA_RECORD","version":0,"data":{"entity":[],"key":"producer_byte_rate","value":1.048576E7,"remove":false}}` + "\n",
		"payload: {\"type\":\"CONFIG_RECORD\",\"version\":0,\"data\":{\"resourceType\":0,\"resourceName\":\"r\",\"name\":\"n\",\"value\":\"a\u2028\\u001F\\\"é\"}}\n",
		" payload: Error at 5, skipping. ",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("missing %s", want)
		}
	}
	if code != 0 {
		t.Errorf("code %d", code)
	}
	if t.Failed() {
		t.Log(out)
	}
}

func TestDumpSkipsRecordMetadata(t *testing.T) {
	dir := t.TempDir()
	b := batch.NewBuilder(0)
	b.Append(1, []byte("k"), []byte("v"), nil)
	b.Append(1, nil, []byte("w"), nil)
	b.Append(1, []byte("gone"), nil, nil)
	raw, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "00000000000000000000.log", append(raw, "tail"...))
	out, _, code := runDump(t, dir, "--skip-record-metadata", "--print-data-log", "--files", "00000000000000000000.log,x.log.deleted,,")
	lines := strings.SplitN(out, "\n", 4)
	want := "| key: k payload: v\n| payload: w\n| key: gone\nFound 4 invalid bytes at the end of 00000000000000000000.log\nDumping x.log.deleted\n"
	if code != 0 || len(lines) != 4 || lines[3] != want {
		t.Errorf("code %d, %q", code, out)
	}
	out, _, _ = runDump(t, dir, "--max-bytes", strconv.Itoa(len(raw)+2), "--files", "00000000000000000000.log")
	if strings.Contains(out, "invalid bytes") || strings.Count(out, "\n") != 3 {
		t.Errorf("with a limit: %q", out)
	}
}

func TestDumpTellsWhereIndexesAreWrong(t *testing.T) {
	dir := t.TempDir()
	b := batch.NewBuilder(1000)
	b.Append(5, nil, []byte("v"), nil)
	raw, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	be := binary.BigEndian
	index := be.AppendUint64(nil, 990<<32)
	index = be.AppendUint64(index, 1000<<32)
	index = append(index, make([]byte, 64)...)
	var times []byte
	for _, e := range [][2]uint64{{5, 1000}, {4, 1000}, {9, 2000}, {9, 7}} {
		times = be.AppendUint32(be.AppendUint64(times, e[0]), uint32(e[1]))
	}
	write(t, dir, "00000000000000000000.log", raw)
	write(t, dir, "00000000000000000000.index", index)
	write(t, dir, "00000000000000000000.timeindex", times)
	out, errs, code := runDump(t, dir, "--files", "00000000000000000000.index,00000000000000000000.timeindex")
	sameLines(t, out, "Dumping 00000000000000000000.index\noffset: 990 position: 0\noffset: 1000 position: 0\n"+
		"Dumping 00000000000000000000.timeindex\ntimestamp: 5 offset: 1000\ntimestamp: 4 offset: 1000\ntimestamp: 9 offset: 2000\ntimestamp: 9 offset: 7\n")
	name := absolute("00000000000000000000.")
	sameLines(t, errs, "Mismatches in :"+name+"index\n  Index offset: 990, log offset: 1000\n"+
		"Found timestamp mismatch in :"+name+"timeindex\n  Index timestamp: 4, log timestamp: 5\n"+
		"Found out of order timestamp in :"+name+"timeindex\n  Index timestamp: 4, Previously indexed timestamp: 5\n"+
		"The following indexed offsets are not found in :"+name+"timeindex\nIndexed offset: 2000, found log offset: -1\nIndexed offset: 7, found log offset: 1000\n")
	if code != 0 {
		t.Errorf("code %d", code)
	}

	out, errs, code = runDump(t, dir, "--index-sanity-check", "--files", "00000000000000000000.timeindex")
	if code != 0 || !strings.HasSuffix(out, "00000000000000000000.timeindex passed sanity check.\n") {
		t.Errorf("code %d, %s%s", code, out, errs)
	}
	write(t, dir, "00000000000000000000.timeindex", append(times, make([]byte, 12)...))
	_, errs, code = runDump(t, dir, "--index-sanity-check", "--files", "00000000000000000000.timeindex")
	if code != 1 || !strings.Contains(errs, "the last timestamp is 0 which is less than the first timestamp 5") {
		t.Errorf("code %d, %s", code, errs)
	}
	out, errs, code = runDump(t, dir, "--verify-index-only", "--files", "00000000000000000000.index")
	if code != 0 || strings.Contains(out, "offset:") || !strings.Contains(errs, "Mismatches in :") {
		t.Errorf("code %d, %s%s", code, out, errs)
	}
}

func TestDumpRefusesWhatIsDamaged(t *testing.T) {
	dir := t.TempDir()
	b := batch.NewBuilder(0)
	b.Append(5, nil, []byte("v"), nil)
	raw, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(raw)
	flipped[len(flipped)-2] ^= 1
	write(t, dir, "00000000000000000000.log", flipped)
	write(t, dir, "00000000000000000001.log", append(bytes.Clone(raw), make([]byte, 50)...))
	write(t, dir, "00000000000000000002.log", nil)
	write(t, dir, "00000000000000000002.index", make([]byte, 16))
	write(t, dir, "00000000000000000002.txnindex", append([]byte{1}, make([]byte, 33)...))
	write(t, dir, "00000000000000000002.snapshot", []byte{0, 2, 0, 0, 0, 0, 0, 0, 0, 0})
	for _, c := range []struct {
		args []string
		code int
		text string
	}{
		{[]string{"--files", "00000000000000000000.log"}, 0, "isvalid: false\n"},
		{[]string{"--files", "00000000000000000001.log"}, 1, "Found record size 0 smaller than minimum record overhead (14) in file 00000000000000000001.log."},
		{[]string{"--files", "00000000000000000002.index"}, 1, "no batch at position 0"},
		{[]string{"--files", "00000000000000000002.txnindex"}, 1, "Unexpected aborted transaction version 1 in transaction index"},
		{[]string{"--files", "00000000000000000002.snapshot"}, 0, "Snapshot contained an unknown file version 2"},
		{[]string{"--files", "00000000000000000003.log"}, 1, "00000000000000000003.log"},
		{[]string{"--files", "x.log"}, 1, "does not begin with an offset"},
		{[]string{"--files", "x.checkpoint"}, 1, "not that of a snapshot"},
		{[]string{"--files", "x.index", "--value-decoder-class", "a.B"}, 1, "Failed to load decoder class a.B"},
		{[]string{"--files", "x.index", "--max-bytes", "many"}, 1, "Cannot parse argument 'many' of option max-bytes"},
		{[]string{"--print-data-log"}, 1, `Missing required argument "[files]"`},
		{[]string{"--metadata-decoder"}, 1, "metadata-decoder is not a recognized option"},
		{nil, 1, dumpLogUsage},
	} {
		out, errs, code := runDump(t, dir, c.args...)
		if code != c.code || !strings.Contains(out+errs, c.text) {
			t.Errorf("%v: code %d, %s%s", c.args, code, out, errs)
		}
	}
}

func TestDumpDecodesFields(t *testing.T) {
	for _, c := range []struct {
		class string
		field string
		want  string
	}{
		{"StringDecoder", "\xe2\x82 bad \xff\xfe \xf0\x9f\x98 \xed\xa0\x80 \xe0\x80 ä", "\ufffd bad \ufffd\ufffd \ufffd \ufffd \ufffd\ufffd ä"},
		{"IntegerDecoder", "\xff\xff\xff\xfe", "-2"},
		{"IntegerDecoder", "\xff", "<1 bytes where 4 are needed>"},
		{"LongDecoder", "\x00\x00\x00\x01\x00\x00\x00\x00", "4294967296"},
	} {
		d, err := decoderByClass(decoderPackage + c.class)
		if err != nil {
			t.Fatal(err)
		}
		if got := d([]byte(c.field)); got != c.want {
			t.Errorf("%s of %q: %q, want %q", c.class, c.field, got, c.want)
		}
	}
}

// FuzzDumpLog: whatever a file holds, the tool ends without a panic.
func FuzzDumpLog(f *testing.F) {
	b := batch.NewBuilder(0)
	b.Append(5, []byte("k"), []byte("v"), nil)
	raw, err := b.Build(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw, ".log")
	f.Add(make([]byte, 40), ".index")
	f.Add(make([]byte, 40), ".timeindex")
	f.Add([]byte{0, 1, 0, 0}, ".snapshot")
	f.Add(make([]byte, 40), ".txnindex")
	v, err := dumpLogTable.Parse([]string{"--print-data-log"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, content []byte, suffix string) {
		if strings.ContainsAny(suffix, "/\x00,") || len(content) > 1<<16 {
			return // not the name of one file, or more bytes than make a difference
		}
		mem := vfs.NewMem()
		for name, b := range map[string][]byte{".log": raw, suffix: content} {
			if err := vfs.WriteFileAtomic(mem, "/00000000000000000000"+name, b); err != nil {
				return // no file can have this name
			}
		}
		var out, errs bytes.Buffer
		d, err := newDumper(&cli.Env{Out: &out, Err: &errs}, v)
		if err != nil {
			t.Fatal(err)
		}
		d.fs = mem
		if err := d.dump([]string{"/00000000000000000000" + suffix}); err == nil && !strings.HasPrefix(out.String(), "Dumping /") {
			t.Errorf("printed %q", out.String())
		}
	})
}
