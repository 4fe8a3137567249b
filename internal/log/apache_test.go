package log

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/vfs"
)

// apacheDir copies a directory that Apache Kafka 4.3.1 wrote into a memory file
// system: topic "sample" with all codecs, aborted transactions and an open one,
// after a clean stop or as a kill leaves it.
func apacheDir(t testing.TB, which string) *vfs.Mem {
	t.Helper()
	mem := vfs.NewMem()
	root := filepath.Join("testdata", "kafka-4.3.1", which)
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := path.Join(testDir, name)
		if e.IsDir() {
			return mem.MkdirAll(to, 0o755)
		}
		data, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		if err != nil {
			return err
		}
		return writeInPlace(mem, to, data)
	})
	if err != nil {
		t.Fatal(err)
	}
	return mem
}

// apacheRecords is what Apache's own tool says is in the directory; markers have
// no value.
func apacheRecords(t testing.TB) []record {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "kafka-4.3.1", "records.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var list []record
	for _, line := range strings.Split(strings.TrimSpace(string(data)), "\n") {
		f := strings.SplitN(line, " ", 3)
		var r record
		if r.offset, err = strconv.ParseInt(f[0], 10, 64); err != nil {
			t.Fatal(err)
		}
		if r.ts, err = strconv.ParseInt(f[1], 10, 64); err != nil {
			t.Fatal(err)
		}
		if len(f) == 3 {
			r.value = f[2]
		}
		list = append(list, r)
	}
	return list
}

var sample = kafka.TopicPartition{Topic: "sample"}

func openApache(t *testing.T, mem *vfs.Mem) (*rig, *Log) {
	t.Helper()
	r := newRig(t, mem)
	r.cfg.IndexIntervalBytes = 400
	r.cfg.SegmentIndexBytes = 1200
	o := r.options()
	o.ClusterID = ""
	m, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	r.m = m
	l := m.Get(sample)
	if l == nil {
		t.Fatal("the partition was not found")
	}
	return r, l
}

func checkApache(t *testing.T, l *Log) {
	t.Helper()
	want := apacheRecords(t)
	got := records(t, l, 0, l.LogEndOffset(), 600)
	for i := range got {
		if i < len(want) && want[i].value == "" {
			got[i].value = "" // a marker
		}
	}
	equalRecords(t, got, want)
	id, err := l.TopicID()
	if err != nil || id.String() != "E5k4LBqDR9aSj3qpkz15cg" {
		t.Errorf("topic id %s, %v", id, err)
	}
	aborted, err := l.AbortedTxns(0, l.LogEndOffset())
	if err != nil || fmt.Sprint(aborted) != "[{5 62 63 64} {6 68 69 70} {7 74 75 76}]" {
		t.Errorf("aborted %v, %v", aborted, err)
	}
	if got := l.EpochEntries(); len(got) != 1 || got[0] != (EpochEntry{0, 0}) {
		t.Errorf("epochs %v", got)
	}
	l.UpdateHighWatermark(l.LogEndOffset())
	if got := l.LastStableOffset(); got != 78 {
		t.Errorf("last stable offset %d, a transaction is open at 78", got)
	}
	producers, err := l.ActiveProducers()
	if err != nil || len(producers) != 8 {
		t.Errorf("%d producers, %v", len(producers), err)
	}
	if r, err := l.OffsetForTimestamp(MaxTimestamp); err != nil || r.Offset != 77 || r.Timestamp != 1795300470258 {
		t.Errorf("max timestamp %+v, %v", r, err)
	}
}

func TestApacheDirectoryAfterCleanStop(t *testing.T) {
	r, l := openApache(t, apacheDir(t, "clean"))
	if r.m.ClusterID() != "4L6g3nShT-eMCtK--X86sw" || r.m.PreviousBrokerEpoch() != 14 {
		t.Errorf("cluster %s, broker epoch %d", r.m.ClusterID(), r.m.PreviousBrokerEpoch())
	}
	if l.LogEndOffset() != 79 || l.HighWatermark() != 79 {
		t.Errorf("end %d, watermark %d", l.LogEndOffset(), l.HighWatermark())
	}
	checkApache(t, l)
}

func TestApacheDirectoryAfterKill(t *testing.T) {
	mem := apacheDir(t, "unclean")
	_, l := openApache(t, mem)
	checkApache(t, l)
}

// TestIndexesAreApaches compares the indexes that recovery builds, and those that
// appending builds, with those that Apache Kafka wrote for the same segments.
func TestIndexesAreApaches(t *testing.T) {
	clean := apacheDir(t, "clean")
	recovered := apacheDir(t, "unclean")
	r, l := openApache(t, recovered)
	if err := r.m.Close(1); err != nil {
		t.Fatal(err)
	}
	_ = l

	appended := vfs.NewMem()
	a := newRig(t, appended)
	a.cfg.IndexIntervalBytes, a.cfg.SegmentBytes = 400, 2000
	a.open()
	again, err := a.m.Create(sample, kafka.TopicID{1}, kafka.ZeroUUID, a.cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, base := range []int64{0, 45, 77} {
		data, err := vfs.ReadFile(clean, path.Join(testDir, "sample-0", offsetName(base)+suffixLog))
		if err != nil {
			t.Fatal(err)
		}
		for _, info := range mustInfos(t, data) {
			one := info
			one.Pos = 0
			if _, err := again.AppendVerbatim(data[info.Pos:info.End()], []batch.Info{one}, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := a.m.Close(1); err != nil {
		t.Fatal(err)
	}
	for name, mem := range map[string]*vfs.Mem{"recovered": recovered, "appended": appended} {
		for _, file := range []string{
			"00000000000000000000.log", "00000000000000000000.index", "00000000000000000000.timeindex",
			"00000000000000000045.log", "00000000000000000045.index", "00000000000000000045.timeindex", "00000000000000000045.txnindex",
			"00000000000000000077.log", "00000000000000000077.index", "00000000000000000077.timeindex",
			"00000000000000000045.snapshot", "leader-epoch-checkpoint",
		} {
			want, err := vfs.ReadFile(clean, path.Join(testDir, "sample-0", file))
			if err != nil {
				t.Fatal(err)
			}
			got, err := vfs.ReadFile(mem, path.Join(testDir, "sample-0", file))
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: %s differs: %v\n got %x\nwant %x", name, file, err, got, want)
			}
		}
	}
}
