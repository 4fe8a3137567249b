package storage

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/vfs"
)

func topics(n int) []records.Message {
	var out []records.Message
	for i := range n {
		r := records.NewTopicRecord()
		r.Name = fmt.Sprintf("topic-%d", i)
		r.TopicID = kafka.UUID{15: byte(i)}
		out = append(out, r)
	}
	return out
}

func TestCheckpointRoundTrip(t *testing.T) {
	fsys, dir := vfs.OS(), t.TempDir()
	id := SnapshotID{EndOffset: 1234, Epoch: 5}
	h := SnapshotHeader{LastContainedLogTimeMs: 42, KRaftVersion: 1, Voters: NewVoterSet(NewVoter(3, kafka.UUID{1}, "c", "h", 1))}
	w, err := CreateSnapshot(fsys, dir, id, h, 1000)
	if err != nil {
		t.Fatal(err)
	}
	want := topics(20_000) // several batches
	if err := w.Append(want...); err != nil {
		t.Fatal(err)
	}
	if ids, err := ListSnapshots(vfs.OS(), t.TempDir()); err != nil || len(ids) != 0 {
		t.Fatalf("%v, %v", ids, err)
	}
	if err := w.Freeze(); err != nil {
		t.Fatal(err)
	}
	ids, err := ListSnapshots(fsys, dir)
	if err != nil || len(ids) != 1 || ids[0] != id {
		t.Fatalf("snapshots %v, %v", ids, err)
	}
	if _, err := fsys.Stat(filepath.Join(dir, "00000000000000001234-0000000005.checkpoint")); err != nil {
		t.Error(err)
	}
	r, err := OpenSnapshot(fsys, dir, id)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if r.Header.LastContainedLogTimeMs != 42 || r.Header.KRaftVersion != 1 || len(r.Header.Voters) != 1 || r.Header.Voters[0].ID != 3 {
		t.Errorf("header %+v", r.Header)
	}
	got, err := r.ReadAll()
	if err != nil || len(got) != len(want) {
		t.Fatalf("%d records, want %d: %v", len(got), len(want), err)
	}
	for i := range got {
		if !bytes.Equal(records.Encode(got[i]), records.Encode(want[i])) {
			t.Fatalf("record %d differs", i)
		}
	}
}

// Every truncation and every flipped byte of a checkpoint must be noticed.
func TestCheckpointDamageIsNoticed(t *testing.T) {
	dir := t.TempDir()
	if err := WriteBootstrap(vfs.OS(), dir, BootstrapRecords(map[string]int16{"metadata.version": 30, "group.version": 1}), 1000); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, BootstrapCheckpointName)
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	read := func(b []byte) error {
		damaged := filepath.Join(dir, "damaged")
		if err := os.WriteFile(damaged, b, 0o644); err != nil {
			t.Fatal(err)
		}
		r, err := OpenCheckpointFile(vfs.OS(), damaged)
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = r.ReadAll()
		return err
	}
	if err := read(data); err != nil {
		t.Fatal(err)
	}
	for n := range len(data) {
		if read(data[:n]) == nil {
			t.Fatalf("%d of %d bytes were read without an error", n, len(data))
		}
	}
	for i := range data {
		b := bytes.Clone(data)
		b[i] ^= 0x41
		if read(b) == nil && !outsideChecksum(data, i) {
			t.Fatalf("a flipped byte %d was not noticed", i)
		}
	}
}

// outsideChecksum says whether byte i is a base offset or leader epoch of a batch.
func outsideChecksum(data []byte, i int) bool {
	for pos := 0; pos < len(data); {
		size := int(uint32(data[pos+8])<<24|uint32(data[pos+9])<<16|uint32(data[pos+10])<<8|uint32(data[pos+11])) + 12
		if i < pos+size {
			rel := i - pos
			return rel < 8 || rel >= 12 && rel < 16
		}
		pos += size
	}
	return false
}

func TestUnfinishedCheckpointsAreRemoved(t *testing.T) {
	dir := t.TempDir()
	for _, n := range []string{
		"00000000000000000007-0000000001-123.checkpoint.part", "00000000000000000006-0000000001.checkpoint.deleted",
		"00000000000000000005-0000000001.checkpoint", "00000000000000000000.log", "x.checkpoint", "quorum-state",
	} {
		if err := os.WriteFile(filepath.Join(dir, n), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ids, err := ListSnapshots(vfs.OS(), dir)
	if err != nil || len(ids) != 1 || ids[0] != (SnapshotID{5, 1}) {
		t.Fatalf("%v, %v", ids, err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 4 {
		t.Errorf("%d files are left, %v", len(left), err)
	}
}

func FuzzCheckpoint(f *testing.F) {
	dir := f.TempDir()
	if err := WriteBootstrap(vfs.OS(), dir, BootstrapRecords(map[string]int16{"metadata.version": 30}), 1000); err != nil {
		f.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, BootstrapCheckpointName))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(data[:60])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		name := filepath.Join(t.TempDir(), "c")
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
		r, err := OpenCheckpointFile(vfs.OS(), name)
		if err != nil {
			return
		}
		defer r.Close()
		_, _ = r.ReadAll()
	})
}

func FuzzMetaProperties(f *testing.F) {
	f.Add([]byte("#\nversion=1\ncluster.id=a b\\=c\nnode.id=1\ndirectory.id=AEAAAAAAQACAAAAAAAAAZQ\n"))
	f.Add([]byte("broker.id=3\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseMetaProperties(b)
		if err != nil {
			return
		}
		again, err := ParseMetaProperties(m.Encode("now"))
		if err != nil || again != m {
			t.Fatalf("%+v became %+v: %v", m, again, err)
		}
	})
}

func FuzzDecodeBatch(f *testing.F) {
	data, err := AppendBatch(nil, 7, 1, 1000, topics(3))
	if err != nil {
		f.Fatal(err)
	}
	control, err := AppendControlBatch(nil, 7, 1, 1000, records.NewLeaderChangeMessage(), records.NewVotersRecord())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(control)
	f.Fuzz(func(t *testing.T, b []byte) {
		info, err := batch.Peek(b)
		if err != nil || info.Size > len(b) {
			return
		}
		_, _ = DecodeBatch(b[:info.Size], info)
	})
}

// TestCheckpointThatFailsLeavesNothing: a full disk must not fill up with the remains of
// each try.
func TestCheckpointThatFailsLeavesNothing(t *testing.T) {
	for _, op := range []vfs.Op{vfs.OpCreate, vfs.OpWrite, vfs.OpSync, vfs.OpClose, vfs.OpRename} {
		fsys := vfs.NewFault(vfs.NewMem())
		if err := fsys.MkdirAll("/d", 0o755); err != nil {
			t.Fatal(err)
		}
		fsys.Add(vfs.Rule{Op: op, Err: syscall.ENOSPC})
		w, err := CreateSnapshot(fsys, "/d", SnapshotID{EndOffset: 7, Epoch: 1}, SnapshotHeader{}, 1000)
		if err == nil {
			if err = w.Append(topics(3)...); err == nil {
				err = w.Freeze()
			}
			w.Abort()
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("op %d: %v", op, err)
		}
		if left, err := fsys.ReadDir("/d"); err != nil || len(left) != 0 {
			t.Errorf("op %d: %v is left, %v", op, left, err)
		}
	}
}
