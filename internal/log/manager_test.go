package log

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/vfs"
)

func TestLockedDirectoryNamesTheHolder(t *testing.T) {
	r := diskRig(t).open()
	second := newRig(t, r.fs)
	second.dirs = r.dirs
	err := second.tryOpen()
	if err == nil || !errors.Is(err, vfs.ErrLocked) || !strings.Contains(err.Error(), "Failed to acquire lock on file .lock in "+r.dirs[0]) {
		t.Fatalf("second open: %v", err)
	}
	r.close()
	second.open().close()
}

func TestIdentity(t *testing.T) {
	write := func(mem *vfs.Mem, dir, text string) {
		if err := mem.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := writeInPlace(mem, path.Join(dir, fileMetaProperties), []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	const ok = "version=1\ncluster.id=cluster\nnode.id=1\n"
	for _, c := range []struct{ a, b, want string }{
		{"", "", "No readable meta.properties"},
		{ok, "", ""},
		{ok, ok, ""},
		{"version=0\nbroker.id=1\n", ok, ""},
		{"version=1\ncluster.id=other\nnode.id=1\n", ok, "Invalid cluster.id"},
		{"version=1\ncluster.id=cluster\nnode.id=2\n", ok, "Stored node id 2 doesn't match previous node id 1"},
		{"version=1\nnode.id=1\n", "", "cluster.id was not found"},
		{"version=1\ncluster.id=cluster\n", "", "node.id was not found"},
		{"version=2\n", "", "unknown version"},
		{ok + "directory.id=AAAAAAAAAAAAAAAAAAAAAQ\n", "", "reserved"},
		{ok + "directory.id=glySrgNkCMVwodJv5-J6Ig\n", ok + "directory.id=glySrgNkCMVwodJv5-J6Ig\n", "Duplicate directory ID"},
	} {
		mem := vfs.NewMem()
		r := newRig(t, mem)
		r.dirs = []string{"/a", "/b"}
		if c.a != "" {
			write(mem, "/a", c.a)
		}
		if c.b != "" {
			write(mem, "/b", c.b)
		}
		o := r.options()
		o.AllowUnformatted = false
		m, err := Open(t.Context(), o)
		if c.want != "" {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%q and %q: %v, want %q", c.a, c.b, err, c.want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q and %q: %v", c.a, c.b, err)
			continue
		}
		ids := map[kafka.UUID]bool{}
		for _, d := range m.Dirs() {
			meta, found, err := ReadMetaProperties(mem, d.Path)
			if err != nil || !found || meta.DirectoryID != d.ID || d.ID.IsZero() || meta.ClusterID != "cluster" || meta.NodeID != 1 {
				t.Errorf("%s: %+v, %v", d.Path, meta, err)
			}
			ids[d.ID] = true
		}
		if len(ids) != 2 {
			t.Errorf("directory ids %v", ids)
		}
		m.Abort()
	}
}

func TestMarkerIsNotWrittenAfterAFailure(t *testing.T) {
	mem := vfs.NewMem()
	fault := vfs.NewFault(mem)
	r := newRig(t, fault).open()
	l := r.create()
	r.mustAppend(l, 1, "a")
	fault.Add(vfs.Rule{Op: vfs.OpSync, Path: "*.log", Err: errEIO})
	if err := r.m.Close(1); err == nil {
		t.Fatal("close did not report the failed sync")
	}
	if ok, _ := vfs.Exists(mem, path.Join(testDir, fileCleanShutdown)); ok {
		t.Fatal("the marker was written")
	}
	if len(r.offline) != 1 {
		t.Fatalf("offline: %v", r.offline)
	}
}

// TestFailedSyncIsNotRepeated lets one sync fail: the directory goes offline and no
// other sync of it is tried (L5).
func TestFailedSyncIsNotRepeated(t *testing.T) {
	mem := vfs.NewMem()
	fault := vfs.NewFault(mem)
	r := newRig(t, fault).open()
	l := r.create()
	r.mustAppend(l, 1, "a")
	fault.Add(vfs.Rule{Op: vfs.OpSync, Path: "*.log", Err: errENOSPC})
	before := fault.Calls(vfs.OpSync)
	for range 3 {
		if err := l.FlushTo(1); !errors.Is(err, kafka.KafkaStorageError) {
			t.Fatalf("flush: %v", err)
		}
	}
	if n := fault.Calls(vfs.OpSync) - before; n != 1 {
		t.Fatalf("%d syncs were tried", n)
	}
	if _, err := r.append(l, 2, "b"); !errors.Is(err, kafka.KafkaStorageError) {
		t.Fatalf("append after the failure: %v", err)
	}
	if len(r.offline) != 1 {
		t.Fatalf("offline: %v", r.offline)
	}
}

// TestFullDiskPasses refuses appends while there is no space, serves reads
// meanwhile, and goes on by itself (L6).
func TestFullDiskPasses(t *testing.T) {
	fault := vfs.NewFault(vfs.NewMem())
	r := newRig(t, fault).open()
	l := r.create()
	want := r.fill(l, 20)
	fault.Add(vfs.Rule{Op: vfs.OpWrite, Times: -1, Err: errENOSPC, Short: 40})
	fault.Add(vfs.Rule{Op: vfs.OpCreate, Times: -1, Err: errENOSPC})
	for range 30 {
		if _, err := r.append(l, 5, "no room"); !errors.Is(err, kafka.KafkaStorageError) {
			t.Fatalf("append: %v", err)
		}
	}
	equalRecords(t, records(t, l, 0, l.LogEndOffset(), 1000), want)
	act := l.view.Load().active()
	if info, err := fault.Stat(l.path(act.base, suffixLog)); err != nil || info.Size() != act.size() {
		t.Fatalf("%d bytes are in the file, %d were published, %v", info.Size(), act.size(), err)
	}
	fault.Clear()
	if len(r.offline) != 0 {
		t.Fatalf("offline: %v", r.offline)
	}
	info := r.mustAppend(l, 6, "room")
	if info.FirstOffset != int64(len(want)) {
		t.Fatalf("appended at %d, want %d", info.FirstOffset, len(want))
	}
	r.reopen()
	equalRecords(t, records(t, r.log(), 0, int64(len(want)), 1000), want)
}

func TestOneDirectoryFails(t *testing.T) {
	mem := vfs.NewMem()
	fault := vfs.NewFault(mem)
	r := newRig(t, fault)
	r.dirs = []string{"/a", "/b"}
	r.open()
	ids := r.m.Dirs()
	onA, err := r.m.Create(kafka.TopicPartition{Topic: "t", Partition: 0}, kafka.TopicID{1}, ids[0].ID, r.cfg)
	if err != nil {
		t.Fatal(err)
	}
	onB, err := r.m.Create(kafka.TopicPartition{Topic: "t", Partition: 1}, kafka.TopicID{1}, ids[1].ID, r.cfg)
	if err != nil {
		t.Fatal(err)
	}
	fault.Add(vfs.Rule{Op: vfs.OpWrite, Path: "/a/*/*", Err: errEIO})
	if _, err := r.append(onA, 1, "a"); !errors.Is(err, kafka.KafkaStorageError) {
		t.Fatalf("append to the failing directory: %v", err)
	}
	r.mustAppend(onB, 1, "b")
	if len(r.offline) != 1 || r.offline[0] != "/a" {
		t.Fatalf("offline: %v", r.offline)
	}
	if _, err := r.m.Create(kafka.TopicPartition{Topic: "u", Partition: 0}, kafka.TopicID{2}, ids[0].ID, r.cfg); !errors.Is(err, kafka.KafkaStorageError) {
		t.Fatalf("create in the failed directory: %v", err)
	}
	// The directory that failed may be the one of this id.
	if _, err := r.m.Create(kafka.TopicPartition{Topic: "u", Partition: 1}, kafka.TopicID{2}, kafka.UUID{77}, r.cfg); !errors.Is(err, kafka.KafkaStorageError) {
		t.Fatalf("create in an unknown directory while one is offline: %v", err)
	}
	if l, err := r.m.Create(kafka.TopicPartition{Topic: "u", Partition: 0}, kafka.TopicID{2}, kafka.ZeroUUID, r.cfg); err != nil || l.dir.path != "/b" {
		t.Fatalf("create anywhere: %v", err)
	}
	if err := r.m.Close(3); err == nil {
		t.Fatal("close did not report the failed directory")
	}
	for dir, want := range map[string]bool{"/a": false, "/b": true} {
		if got, _ := vfs.Exists(mem, path.Join(dir, fileCleanShutdown)); got != want {
			t.Errorf("%s: marker %v, want %v", dir, got, want)
		}
	}
}

// A disk that was replaced has a directory of another id; its replicas begin anew there.
func TestReplicaOfAReplacedDirectoryBeginsAnew(t *testing.T) {
	r := newRig(t, vfs.NewMem())
	r.dirs = []string{"/a", "/b"}
	r.open()
	l, err := r.m.Create(kafka.TopicPartition{Topic: "t", Partition: 0}, kafka.TopicID{1}, kafka.UUID{77}, r.cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.mustAppend(l, 1, "a")
}

// TestRecreatedTopicHasNothingOfTheOld deletes and creates one name again and again,
// with failures in between (L10).
func TestRecreatedTopicHasNothingOfTheOld(t *testing.T) {
	mem := vfs.NewMem()
	fault := vfs.NewFault(mem)
	r := newRig(t, fault).open()
	for i := range 20 {
		id := kafka.TopicID{1, byte(i)}
		l, err := r.m.Create(testTP, id, kafka.ZeroUUID, r.cfg)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := l.TopicID(); err != nil || got != id || l.LogEndOffset() != 0 {
			t.Fatalf("topic id %v at %d, %v", got, l.LogEndOffset(), err)
		}
		if _, err := r.m.Create(testTP, kafka.TopicID{9}, kafka.ZeroUUID, r.cfg); !errors.Is(err, kafka.InconsistentTopicID) {
			t.Fatalf("another id: %v", err)
		}
		r.mustAppend(l, 1, fmt.Sprint(i))
		if i%3 == 0 {
			fault.Add(vfs.Rule{Op: vfs.OpRename, Path: "*-delete", Err: errEMFILE})
			if err := r.m.Delete(testTP); err == nil {
				t.Fatal("delete did not report the failure")
			}
			r.mustAppend(l, 1, "still there")
		}
		if err := r.m.Delete(testTP); err != nil {
			t.Fatal(err)
		}
		if _, err := r.append(l, 1, "x"); !errors.Is(err, kafka.UnknownTopicOrPartition) {
			t.Fatalf("append to the deleted log: %v", err)
		}
		if err := l.FlushTo(1); !errors.Is(err, kafka.UnknownTopicOrPartition) {
			t.Fatalf("flush of the deleted log: %v", err)
		}
	}
	r.clock.Advance(2 * time.Minute)
	r.m.RunTasks()
	if len(r.offline) != 0 {
		t.Fatalf("offline: %v", r.offline)
	}
	entries, err := mem.ReadDir(testDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			t.Errorf("%s is left", e.Name())
		}
	}
}

func TestDeletedAndStrayFoldersAtStart(t *testing.T) {
	mem := vfs.NewMem()
	r := newRig(t, mem).open()
	r.mustAppend(r.create(), 1, "a")
	if err := r.m.Delete(testTP); err != nil {
		t.Fatal(err)
	}
	r.mustAppend(r.create(), 1, "b")
	if err := r.m.Stray(testTP); err != nil {
		t.Fatal(err)
	}
	r.reopen()
	if r.m.Get(testTP) != nil || len(r.m.StrayFolders()) != 1 {
		t.Fatalf("strays %v", r.m.StrayFolders())
	}
	r.clock.Advance(2 * time.Minute)
	r.m.RunTasks()
	left := 0
	entries, _ := mem.ReadDir(testDir)
	for _, e := range entries {
		if e.IsDir() {
			left++
			if !strings.HasSuffix(e.Name(), "-stray") {
				t.Errorf("%s is left", e.Name())
			}
		}
	}
	if left != 1 {
		t.Fatalf("%d folders are left", left)
	}
}

func TestMoveToAnotherDirectory(t *testing.T) {
	mem := vfs.NewMem()
	r := newRig(t, mem)
	r.dirs = []string{"/a", "/b"}
	r.open()
	ids := r.m.Dirs()
	l, err := r.m.Create(testTP, kafka.TopicID{1}, ids[0].ID, r.cfg)
	if err != nil {
		t.Fatal(err)
	}
	want := r.fill(l, 60)
	l.UpdateHighWatermark(30)
	future, err := r.m.CreateFuture(testTP, ids[1].ID)
	if err != nil {
		t.Fatal(err)
	}
	for future.LogEndOffset() < l.LogEndOffset() {
		d, err := l.Read(future.LogEndOffset(), 1000, l.LogEndOffset(), true)
		if err != nil {
			t.Fatal(err)
		}
		appendVerbatim(t, future, bytesOf(t, &d))
		d.Release()
	}
	// A crash between the two renames of the swap leaves no current log.
	broken := mem.Crash(nil, vfs.ProcessKill)
	if err := broken.Rename("/a/t-0", "/a/t-0.0123456789abcdef0123456789abcdef-delete"); err != nil {
		t.Fatal(err)
	}
	moved, err := r.m.SwapFuture(testTP)
	if err != nil {
		t.Fatal(err)
	}
	if moved.dir.path != "/b" || r.m.Get(testTP) != moved || r.m.Future(testTP) != nil || moved.HighWatermark() != 30 {
		t.Fatal("the log was not moved")
	}
	r.mustAppend(moved, 9, "more")
	equalRecords(t, records(t, moved, 0, int64(len(want)), 1000), want)
	if a := moved.EpochEntries(); len(a) != 1 || a[0] != (EpochEntry{3, 0}) {
		t.Fatalf("epochs %v", a)
	}
	r.close()
	b := newRig(t, broken)
	b.dirs = r.dirs
	b.open()
	l = b.log()
	equalRecords(t, records(t, l, 0, l.LogEndOffset(), 1000), want)
}

// openMetadata opens the metadata log alone.
func (r *rig) openMetadata() *Log {
	r.t.Helper()
	o := r.options()
	o.MetadataDir = testDir
	m, err := Open(r.t.Context(), o)
	if err != nil {
		r.t.Fatal(err)
	}
	r.m = m
	l, err := m.OpenMetadata(kafka.TopicPartition{Topic: kafka.MetadataTopic}, kafka.MetadataTopicID, r.cfg, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	return l
}

func TestMetadataLog(t *testing.T) {
	r := newRig(t, vfs.NewMem())
	l := r.openMetadata()
	for i := range 50 {
		appendVerbatim(t, l, relocate(t, build(t, int64(i), valueOf(i)), l.LogEndOffset()))
		if err := l.FlushTo(l.LogEndOffset()); err != nil {
			t.Fatal(err)
		}
	}
	end := l.LogEndOffset()
	r.m.Abort()
	if l = r.openMetadata(); l.LogEndOffset() != end || len(r.m.Logs()) != 0 {
		t.Fatalf("after a kill: end %d of %d, %d logs", l.LogEndOffset(), end, len(r.m.Logs()))
	}
	r.close()
	if l = r.openMetadata(); l.LogEndOffset() != end {
		t.Fatalf("after a clean stop: end %d of %d", l.LogEndOffset(), end)
	}
	if err := l.TruncateFullyAndStartAt(1000); err != nil || l.LogStartOffset() != 1000 {
		t.Fatal(err)
	}
	r.close()
}

// TestOpenFilesAreBounded touches many partitions with room for few files.
func TestOpenFilesAreBounded(t *testing.T) {
	r := newRig(t, vfs.NewMem()).open()
	r.m.env.files.max = 10
	for i := range 100 {
		tp := kafka.TopicPartition{Topic: "t", Partition: int32(i)}
		l, err := r.m.Create(tp, kafka.TopicID{1}, kafka.ZeroUUID, r.cfg)
		if err != nil {
			t.Fatal(err)
		}
		r.mustAppend(l, 1, "a")
		if n := r.m.env.files.openCount(); n > 10 {
			t.Fatalf("%d files open", n)
		}
	}
	for _, l := range r.m.Logs() {
		if got := records(t, l, 0, 1, 100); len(got) != 1 {
			t.Fatal(got)
		}
	}
	r.close()
}

// TestIdlePartitionIsSmall measures the heap of a partition after a clean restart
// and after it was used.
func TestIdlePartitionIsSmall(t *testing.T) {
	r := diskRig(t)
	r.fs = noSync{r.fs}
	r.tail = -1
	r.open()
	const n = 150
	for i := range n {
		l, err := r.m.Create(kafka.TopicPartition{Topic: "topic-of-some-length", Partition: int32(i)}, kafka.TopicID{1}, kafka.ZeroUUID, r.cfg)
		if err != nil {
			t.Fatal(err)
		}
		r.mustAppend(l, 1, "a")
		r.mustAppend(l, 1, "b")
	}
	used := heapOf(func() { r.m.env.files.closeIdle() })
	r.close()
	r.m = nil
	empty := heapOf(nil)
	opened := heapOf(func() { r.open() })
	t.Logf("bytes a partition: %d used, %d opened", (used-empty)/n, (opened-empty)/n)
	if (used-empty)/n > 3<<10 || (opened-empty)/n > 2<<10 {
		t.Errorf("bytes a partition: %d used, %d opened", (used-empty)/n, (opened-empty)/n)
	}
	if got := len(r.m.Logs()); got != n {
		t.Fatalf("%d logs", got)
	}
	r.close()
}

func heapOf(f func()) int64 {
	if f != nil {
		f()
	}
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// noSync is the machine's file system without its slowest operation.
type noSync struct{ vfs.FS }

type noSyncFile struct{ vfs.File }

func (noSyncFile) Sync() error           { return nil }
func (noSync) SyncDir(name string) error { return nil }
func (n noSync) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := n.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return noSyncFile{f}, nil
}

// TestLogsAreClosedTogether: an orderly stop has the syncs of many logs in flight, however
// few threads a recovery may use.
func TestLogsAreClosedTogether(t *testing.T) {
	const n = 8
	fault := vfs.NewFault(vfs.NewMem())
	r := newRig(t, fault)
	o := r.options()
	o.RecoveryThreads = 1
	r.openWith(o)
	for i := range int32(n) {
		l, err := r.m.Create(kafka.TopicPartition{Topic: "t", Partition: i}, kafka.TopicID{1}, kafka.ZeroUUID, r.cfg)
		if err != nil {
			t.Fatal(err)
		}
		r.mustAppend(l, 1, "a")
	}
	var syncing atomic.Int32
	all := make(chan struct{})
	fault.Add(vfs.Rule{Op: vfs.OpSync, Path: "*.log", Times: -1, Before: func(vfs.Op, string) {
		if syncing.Add(1) == n {
			close(all)
		}
		select {
		case <-all:
		case <-time.After(10 * time.Second):
			t.Error("a sync waits for another to end")
		}
	}})
	r.close()
}
