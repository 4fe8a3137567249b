package log

import (
	"bytes"
	"testing"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/vfs"
)

func FuzzOffsetCheckpoint(f *testing.F) {
	f.Add([]byte("0\n2\na 0 5\nb-c 1 7\n"))
	f.Add([]byte("0\n0\n"))
	f.Add([]byte(""))
	f.Add([]byte("1\n1\na 0 5\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parseOffsets(data)
		if err != nil {
			return
		}
		again, err := parseOffsets(formatOffsets(m))
		if err != nil || len(again) != len(m) {
			t.Fatalf("%v came back as %v, %v", m, again, err)
		}
		for tp, o := range m {
			if again[tp] != o {
				t.Fatalf("%v came back as %v", m, again)
			}
		}
	})
}

func FuzzLeaderEpochCheckpoint(f *testing.F) {
	f.Add([]byte("0\n2\n0 0\n3 17\n"))
	f.Add([]byte("0\n2\n3 0\n3 17\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, err := parseEpochs(data)
		if err != nil {
			return
		}
		for i := 1; i < len(entries); i++ {
			if entries[i].Epoch <= entries[i-1].Epoch || entries[i].StartOffset <= entries[i-1].StartOffset {
				t.Fatalf("entries do not grow: %v", entries)
			}
		}
		table := &epochTable{entries}
		if trimmed, _ := table.truncateEnd(10); len(trimmed.entries) > 0 && trimmed.entries[len(trimmed.entries)-1].StartOffset >= 10 {
			t.Fatalf("%v cut at 10 is %v", entries, trimmed.entries)
		}
		if e, end := table.endFor(5, 1<<62); e > 5 || e >= 0 && end < 0 {
			t.Fatalf("epoch 5 of %v ends as %d at %d", entries, e, end)
		}
		if again, err := parseEpochs(formatEpochs(entries)); err != nil || len(again) != len(entries) {
			t.Fatalf("%v came back as %v, %v", entries, again, err)
		}
	})
}

func FuzzPartitionMetadata(f *testing.F) {
	f.Add([]byte("version: 0\ntopic_id: E5k4LBqDR9aSj3qpkz15cg"))
	f.Add([]byte("version: 1\ntopic_id: x"))
	f.Fuzz(func(t *testing.T, data []byte) {
		id, err := parsePartitionMetadata(data)
		if err != nil {
			return
		}
		if again, err := parsePartitionMetadata(formatPartitionMetadata(id)); err != nil || again != id {
			t.Fatalf("%v came back as %v, %v", id, again, err)
		}
	})
}

func FuzzMetaProperties(f *testing.F) {
	f.Add([]byte("#\n#Sat Nov 21 22:34:11 UTC 2026\nnode.id=1\ndirectory.id=glySrgNkCMVwodJv5-J6Ig\nversion=1\ncluster.id=4L6g3nShT-eMCtK--X86sw\n"))
	f.Add([]byte("version=0\nbroker.id=3\n"))
	f.Add([]byte("version=1\nnode.id=1\ncluster.id=\\ a\\u00e9\\=b\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseMetaProperties(data)
		if err != nil || m.ClusterID != string([]rune(m.ClusterID)) {
			return
		}
		again, err := ParseMetaProperties(m.Format())
		if err != nil || again != m {
			t.Fatalf("%+v came back as %+v, %v\n%s", m, again, err, m.Format())
		}
	})
}

func FuzzCleanShutdown(f *testing.F) {
	f.Add([]byte(`{"version":0,"brokerEpoch":14}`))
	f.Add([]byte(``))
	f.Fuzz(func(t *testing.T, data []byte) {
		epoch := parseCleanShutdown(data)
		if again := parseCleanShutdown(formatCleanShutdown(epoch)); again != epoch {
			t.Fatalf("%d came back as %d", epoch, again)
		}
	})
}

func FuzzFolderName(f *testing.F) {
	for _, s := range []string{"t-0", "a-b-7", "t-0.0123456789abcdef0123456789abcdef-delete", "t-0.x-future", "-1", "t--1", "x-stray"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		tp, kind, err := parseFolder(name)
		if err != nil || len(tp.Topic) > kafka.MaxTopicNameLength {
			return
		}
		if kind == folderCurrent {
			return
		}
		marked := markedFolder(tp, kind, [16]byte{1})
		again, k, err := parseFolder(marked)
		if err != nil || k != kind || len(marked) <= maxFolderName && kind == folderFuture && again != tp {
			t.Fatalf("%q is %v, %v; marked %q is %v, %v, %v", name, tp, kind, marked, again, k, err)
		}
	})
}

// memFile is a file with the given content.
func memFile(t testing.TB, data []byte) vfs.File {
	mem := vfs.NewMem()
	if err := writeInPlace(mem, "/f", data); err != nil {
		t.Fatal(err)
	}
	file, err := mem.Open("/f")
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func FuzzOffsetIndex(f *testing.F) {
	f.Add([]byte{0, 0, 0, 9, 0, 0, 1, 0, 0, 0, 0, 19, 0, 0, 2, 0}, int64(12))
	f.Add(make([]byte, 64), int64(0))
	f.Fuzz(func(t *testing.T, data []byte, target int64) {
		file := memFile(t, data)
		n, last, err := countOffsetEntries(file)
		if err != nil || n == 0 {
			return
		}
		if int(n)*offsetEntrySize > len(data) || uint32(last) == 0 {
			t.Fatalf("%d entries in %d bytes, last %x", n, len(data), last)
		}
		for _, byPosition := range []bool{false, true} {
			e, err := findOffsetEntry(file, n, target, byPosition)
			if err != nil || e != 0 && offsetKey(e, byPosition) > target {
				t.Fatalf("floor of %d is %x, %v", target, e, err)
			}
		}
		if k, err := countBelow(file, n, target); err != nil || k < 0 || k > n {
			t.Fatalf("%d of %d below %d, %v", k, n, target, err)
		}
	})
}

func FuzzTimeIndex(f *testing.F) {
	f.Add([]byte{0, 0, 1, 0x8b, 0xcf, 0xe5, 0x68, 0, 0, 0, 0, 5})
	f.Add(make([]byte, 120))
	f.Fuzz(func(t *testing.T, data []byte) {
		file := memFile(t, data)
		n, last, err := lastTimeEntry(file)
		all, allErr := readTimeEntries(file)
		if allErr == nil && err == nil && int(n) == len(all) && n > 0 && all[n-1] != last {
			t.Fatalf("last %v of %v", last, all)
		}
		for i := 1; i < len(all); i++ {
			if all[i].ts <= all[i-1].ts || all[i].rel < all[i-1].rel {
				t.Fatalf("entries do not grow: %v", all)
			}
		}
	})
}

func FuzzTxnIndex(f *testing.F) {
	f.Add(appendTxnEntry(appendTxnEntry(nil, AbortedTxn{1, 2, 3, 4}), AbortedTxn{5, 6, 7, 8}), int64(0))
	f.Fuzz(func(t *testing.T, data []byte, base int64) {
		txns, err := parseTxnEntries(data, base)
		if err != nil {
			return
		}
		var out []byte
		for _, x := range txns {
			out = appendTxnEntry(out, x)
		}
		for i := 0; i < len(data); i += txnEntrySize {
			data[i+1] = 0 // the second byte of the version is not read
		}
		if !bytes.Equal(out, data) {
			t.Fatalf("%x came back as %x", data, out)
		}
	})
}

// FuzzSegment recovers a log whose only segment has arbitrary bytes: it must open,
// end before the first invalid batch, and take appends.
func FuzzSegment(f *testing.F) {
	one := relocate(f, build(f, 1, "a", "b"), 0)
	two := relocate(f, build(f, 2, "c"), 2)
	f.Add(append(append([]byte(nil), one...), two...))
	f.Add(append(append([]byte(nil), two...), one...))
	f.Add(append(append([]byte(nil), one...), make([]byte, 200)...))
	f.Add(one[:len(one)-1])
	f.Fuzz(func(t *testing.T, data []byte) {
		mem := vfs.NewMem()
		r := newRig(t, mem).open()
		r.create()
		r.m.Abort()
		if err := writeInPlace(mem, testDir+"/t-0/"+offsetName(0)+suffixLog, data); err != nil {
			t.Fatal(err)
		}
		if err := r.tryOpen(); err != nil {
			t.Fatal(err)
		}
		l := r.log()
		end := l.LogEndOffset()
		for offset := int64(0); offset < end; {
			d, err := l.Read(offset, 1<<20, end, true)
			if err != nil {
				t.Fatal(err)
			}
			got := bytesOf(t, &d)
			if len(got) == 0 {
				break
			}
			infos, err := batch.Infos(got)
			if err != nil || len(infos) == 0 || !bytes.HasPrefix(data[d.Position:], got) {
				t.Fatalf("read at %d: %d bytes, %d batches, %v", offset, len(got), len(infos), err)
			}
			offset = d.NextOffset
			d.Release()
		}
		if end < 1<<62 {
			if info := r.mustAppend(l, 1, "more"); info.FirstOffset != end {
				t.Fatalf("appended at %d, want %d", info.FirstOffset, end)
			}
		}
		if err := r.m.Close(1); err != nil {
			t.Fatal(err)
		}
	})
}
