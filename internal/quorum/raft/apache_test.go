package raft

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/quorum"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/storage"
	"github.com/gregorhq/gregor/internal/vfs"
)

// apacheDir is a directory that Apache Kafka 4.3.1 formatted with --standalone and
// ran a topic named dyn in.
const apacheDir = "testdata/apache-4.3.1"

// apacheFiles copies it into a file system in memory.
func apacheFiles(t *testing.T) *vfs.Mem {
	t.Helper()
	fsys := vfs.NewMem()
	err := filepath.WalkDir(apacheDir, func(name string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(apacheDir, name)
		if err != nil {
			return err
		}
		to := filepath.Join(testDir, rel)
		if d.IsDir() {
			return fsys.MkdirAll(to, 0o755)
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return vfs.WriteFileAtomic(fsys, to, data)
	})
	if err != nil {
		t.Fatal(err)
	}
	return fsys
}

// What Apache Kafka wrote comes out of our encoders byte for byte.
func TestBatchesOfApacheKafkaReencode(t *testing.T) {
	log := filepath.Join(apacheDir, storage.MetadataLogDirName)
	n := 0
	for _, name := range []string{
		filepath.Join(apacheDir, storage.BootstrapCheckpointName),
		filepath.Join(log, "00000000000000000000-0000000000.checkpoint"),
		filepath.Join(log, "00000000000000000034-0000000001.checkpoint"),
		filepath.Join(log, "00000000000000000000.log"),
	} {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		infos, err := batch.Infos(data)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, info := range infos {
			want := data[info.Pos:info.End()]
			b, err := storage.DecodeBatch(want, info)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			var got []byte
			if info.IsControl {
				got, err = storage.AppendControlBatch(nil, info.BaseOffset, info.LeaderEpoch, info.BaseTimestamp, b.Control...)
			} else {
				got, err = storage.AppendBatch(nil, info.BaseOffset, info.LeaderEpoch, info.BaseTimestamp, b.Records)
			}
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: the batch at offset %d becomes\n%x\nit was\n%x\n%v", name, info.BaseOffset, got, want, err)
			}
			n++
		}
	}
	if n < 25 {
		t.Errorf("only %d batches were compared", n)
	}
}

func TestDirectoryOfApacheKafka(t *testing.T) {
	fsys := apacheFiles(t)
	state, err := quorum.ReadElectionState(fsys, filepath.Join(testDir, storage.MetadataLogDirName))
	if err != nil || state.LeaderEpoch != 1 || state.Leader != 1 {
		t.Fatalf("quorum-state %+v, %v", state, err)
	}
	r, err := storage.OpenSnapshot(fsys, filepath.Join(testDir, storage.MetadataLogDirName), storage.SnapshotID{EndOffset: 34, Epoch: 1})
	if err != nil {
		t.Fatal(err)
	}
	recs, err := r.ReadAll()
	if err != nil || len(recs) != 12 || r.Header.KRaftVersion != 1 || len(r.Header.Voters) != 1 {
		t.Fatalf("%d records, header %+v, %v", len(recs), r.Header, err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	bootstrap, err := storage.ReadBootstrap(fsys, testDir)
	if err != nil || len(bootstrap) != 6 {
		t.Fatalf("%d bootstrap records, %v", len(bootstrap), err)
	}
	// The recorder wants topics only, so the log is read from its beginning.
	if err := storage.RemoveSnapshot(fsys, filepath.Join(testDir, storage.MetadataLogDirName), storage.SnapshotID{EndOffset: 34, Epoch: 1}); err != nil {
		t.Fatal(err)
	}
	v := boot(t, fsys, func(o *Options) { o.StaticVoters = nil })
	defer v.die()
	epoch := v.epoch()
	if epoch != 2 || strings.Join(v.rec.names, " ") != "dyn" {
		t.Errorf("epoch %d, topics %v", epoch, v.rec.names)
	}
	if s := v.engine.Describe(); s.KRaftVersion != 1 || s.VoterSet[0].DirectoryID != v.dirID {
		t.Errorf("status %+v", s)
	}
	v.awaitOffset(v.propose(epoch, "ours"))
	if _, err := v.engine.Propose(epoch, []records.Message{records.NewNoOpRecord()}); err != nil {
		t.Error(err)
	}
	if v.rec.leader != (quorum.LeaderAndEpoch{Leader: kafka.NodeID(1), Epoch: 2}) {
		t.Errorf("leader %+v", v.rec.leader)
	}
}
