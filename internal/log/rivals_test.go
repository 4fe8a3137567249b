package log

import (
	"errors"
	"strings"
	"testing"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/vfs"
)

// TestRecreatedWhileItsDirectoryWasOffline (L10): a topic is deleted and created again
// while the directory of its old log is offline. With all directories back there are two
// logs of one name; the start goes on, and the one that the metadata knows is used. So
// too if the directory failed before the old log had its id.
func TestRecreatedWhileItsDirectoryWasOffline(t *testing.T) {
	for variant := range 4 {
		failed, unborn := variant%2, variant > 1
		mem := vfs.NewMem()
		fault := vfs.NewFault(mem)
		r := newRig(t, fault)
		r.dirs = []string{"/a", "/b"}
		r.open()
		ids := r.m.Dirs()
		if unborn {
			fault.Add(vfs.Rule{Op: vfs.OpWrite, Path: filePartitionMetadata + ".tmp", Err: errEIO})
		}
		old, err := r.m.Create(testTP, kafka.TopicID{1}, ids[failed].ID, r.cfg)
		if (err != nil) != unborn {
			t.Fatal(err)
		}
		if !unborn {
			r.mustAppend(old, 1, "old")
			fault.Add(vfs.Rule{Op: vfs.OpWrite, Path: r.dirs[failed] + "/*/*", Err: errEIO})
			if _, err := r.append(old, 1, "x"); !errors.Is(err, kafka.KafkaStorageError) {
				t.Fatalf("append to the failing directory: %v", err)
			}
		}
		r.m.Delete(testTP) // its folder cannot be marked
		l, err := r.m.Create(testTP, kafka.TopicID{2}, kafka.ZeroUUID, r.cfg)
		if err != nil || l.dir.path != r.dirs[1-failed] {
			t.Fatalf("created again: %v", err)
		}
		r.mustAppend(l, 1, "new")
		fault.Clear()

		r.reopen()
		// What replica does with a log of another topic id.
		if id, err := r.log().TopicID(); err != nil || id != (kafka.TopicID{2}) {
			if err := r.m.Stray(testTP); err != nil {
				t.Fatal(err)
			}
		}
		l, err = r.m.Create(testTP, kafka.TopicID{2}, kafka.ZeroUUID, r.cfg)
		if err != nil {
			t.Fatal(err)
		}
		if got := records(t, l, 0, l.LogEndOffset(), 1000); len(got) != 1 || got[0].value != "new" {
			t.Fatalf("directory %d: the log has %v", failed, got)
		}
		strays := r.m.StrayFolders()
		if len(strays) != 1 || !strings.HasPrefix(strays[0], r.dirs[failed]) {
			t.Fatalf("directory %d: strays %v", failed, strays)
		}
		r.mustAppend(l, 1, "more")
		r.close()
		r.open()
		if got := records(t, r.log(), 0, 2, 1000); len(got) != 2 || got[1].value != "more" {
			t.Fatalf("directory %d: after another start %v", failed, got)
		}
		r.close()
	}
}

// TestRivalsAreSettledWithoutTheManagersLock while their files are read: whoever holds a
// log may wait for that lock, to write a checkpoint.
func TestRivalsAreSettledWithoutTheManagersLock(t *testing.T) {
	fault := vfs.NewFault(vfs.NewMem())
	r := newRig(t, fault)
	r.dirs = []string{"/a", "/b"}
	r.open()
	var dirs []string
	for i, d := range r.m.Dirs() {
		l, err := r.m.Create(testTP, kafka.TopicID{byte(i + 1)}, d.ID, r.cfg)
		if err != nil {
			t.Fatal(err)
		}
		r.mustAppend(l, 1, d.Path)
		dirs = append(dirs, l.Folder())
		// The other directory's log is to be made as if this one were offline.
		r.m.mu.Lock()
		delete(r.m.logs, testTP)
		r.m.mu.Unlock()
	}
	r.reopen()
	rivals := r.m.rivals[testTP]
	if len(rivals) != 1 {
		t.Fatalf("%d rivals of the logs in %v", len(rivals), dirs)
	}
	for _, l := range []*Log{rivals[0], r.log()} {
		l.idKnown = false
	}
	read := 0
	fault.Add(vfs.Rule{Op: vfs.OpOpen, Path: filePartitionMetadata, Times: -1, Before: func(vfs.Op, string) {
		if read++; !r.m.mu.TryLock() {
			t.Error("the manager's lock is held")
			return
		}
		r.m.mu.Unlock()
	}})
	l, err := r.m.Create(testTP, kafka.TopicID{2}, kafka.ZeroUUID, r.cfg)
	if err != nil || l.dir.path != "/b" || len(r.m.StrayFolders()) != 1 || read == 0 {
		t.Errorf("the log is in %s, strays %v, %d ids read, %v", l.dir.path, r.m.StrayFolders(), read, err)
	}
}
