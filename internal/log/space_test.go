package log

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/vfs"
)

// tight is a file system that says how much room it has, by directory.
type tight struct {
	vfs.FS
	usable map[string]int64
}

func (f tight) Space(name string) (vfs.Space, error) {
	return vfs.Space{Total: 1 << 30, Usable: f.usable[name]}, nil
}

// spaceRig has two directories, of which the first gets full, and a headroom of 1 MiB.
func spaceRig(t *testing.T) (*rig, tight, *bytes.Buffer, []*Log) {
	fs := tight{vfs.NewMem(), map[string]int64{"/a": 1 << 29, "/b": 1 << 29}}
	r := newRig(t, fs)
	r.dirs = []string{"/a", "/b"}
	r.headroom = 1 << 20
	out := &bytes.Buffer{}
	r.logger = slog.New(slog.NewTextHandler(out, nil))
	r.open()
	var logs []*Log
	for i, topic := range []string{"t", "t", kafka.OffsetsTopic} {
		l, err := r.m.Create(kafka.TopicPartition{Topic: topic, Partition: int32(i)}, kafka.TopicID{1, byte(i)}, r.m.Dirs()[i%2].ID, r.cfg)
		if err != nil {
			t.Fatal(err)
		}
		logs = append(logs, l)
	}
	return r, fs, out, logs
}

func wantFull(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, kafka.KafkaStorageError) || !kafka.CodeOf(err).Retriable() {
		t.Fatalf("%v, want a storage error that is retried", err)
	}
}

// TestHeadroomIsNotForUsers (L6): at the headroom the records of producers and leaders
// are refused in that directory alone; the cluster's own records, markers, reading and
// deletion go on, and so does everything once there is room.
func TestHeadroomIsNotForUsers(t *testing.T) {
	r, fs, out, logs := spaceRig(t)
	full, other, offsets := logs[0], logs[1], logs[2]
	r.mustAppend(full, 1, "before")
	fs.usable["/a"] = 1<<20 + 100
	r.m.CheckSpace()
	for range 3 {
		_, err := r.append(full, 2, "no room")
		wantFull(t, err)
	}
	data := build(t, 2, "from the leader")
	infos, err := batch.Infos(data)
	if err != nil {
		t.Fatal(err)
	}
	infos[0].BaseOffset, infos[0].LastOffset = 1, 1
	if _, err := full.AppendVerbatim(data, infos, 2); err == nil {
		t.Fatal("a follower took a record")
	}
	r.mustAppend(other, 2, "elsewhere")
	r.mustAppend(offsets, 2, "a commit")
	r.marker(full, 7, false)
	if got := len(records(t, full, 0, 1, 1000)); got != 1 {
		t.Fatalf("%d records are read", got)
	}
	info := r.m.Dirs()[0].Space
	if !info.Full || info.SinceMs == 0 || info.Refused != 4 || r.m.Dirs()[1].Space.Full {
		t.Fatalf("%+v, the other %+v", info, r.m.Dirs()[1].Space)
	}
	if n := strings.Count(out.String(), "is full"); n != 1 {
		t.Fatalf("said %d times:\n%s", n, out)
	}
	// Not for every byte that comes back, and then at once.
	fs.usable["/a"] = 1<<20 + 1<<16
	r.clock.Advance(time.Second)
	_, err = r.append(full, 3, "still no room")
	wantFull(t, err)
	fs.usable["/a"] = 1 << 22
	r.clock.Advance(fullAskMs * time.Millisecond)
	r.mustAppend(full, 3, "room")
	if n := strings.Count(out.String(), "has room again"); n != 1 || r.m.Dirs()[0].Space.Full {
		t.Fatalf("said %d times:\n%s", n, out)
	}
}

// TestFullDirectoryIsKnownWithoutAppends: the state follows the file system while
// nobody produces.
func TestFullDirectoryIsKnownWithoutAppends(t *testing.T) {
	r, fs, _, _ := spaceRig(t)
	for range 2 {
		fs.usable["/a"] = 1 << 19
		r.m.CheckSpace()
		if !r.m.Dirs()[0].Space.Full {
			t.Fatal("not full")
		}
		fs.usable["/a"] = 1 << 29
		r.m.CheckSpace()
		if r.m.Dirs()[0].Space.Full {
			t.Fatal("still full")
		}
	}
}

// TestRoomIsAskedForAsItGoes: what was appended since the last look counts.
func TestRoomIsAskedForAsItGoes(t *testing.T) {
	r, fs, _, logs := spaceRig(t)
	r.mustAppend(logs[0], 1, "a") // the room is known from here on
	fs.usable["/a"] = 1 << 20
	refused := 0
	for range 2 * spaceStep / spaceUnit {
		if _, err := logs[0].dir.admit(1); err != nil {
			refused++
		}
	}
	if refused == 0 {
		t.Fatal("nothing was refused though a whole step was written")
	}
}

// TestCompactionLeavesHalfOfTheHeadroom: it may take what it will bring back, and not
// what the node lives by.
func TestCompactionLeavesHalfOfTheHeadroom(t *testing.T) {
	_, fs, _, logs := spaceRig(t)
	d := logs[0].dir
	fs.usable["/a"] = 1<<19 + 1000
	if err := d.admitWork(1000); err != nil {
		t.Fatal(err)
	}
	wantFull(t, d.admitWork(1001))
}
