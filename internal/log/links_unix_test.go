//go:build unix

package log

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// linked is a directory of which one partition was moved to another place and linked.
func linked(t *testing.T) (*rig, []record) {
	t.Helper()
	r := diskRig(t)
	r.cfg.SegmentBytes = 1000
	r.open()
	want := r.fill(r.create(), 30)
	folder := r.log().Folder()
	r.close()
	away := filepath.Join(t.TempDir(), "away")
	if err := os.Rename(folder, away); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(away, folder); err != nil {
		t.Fatal(err)
	}
	return r, want
}

// TestLinkedFolderIsAPartition: as in Apache Kafka a partition's folder may be a link to
// another disk. A link that is not seen would make room for a new, empty replica.
func TestLinkedFolderIsAPartition(t *testing.T) {
	r, want := linked(t)
	r.open()
	equalRecords(t, records(t, r.log(), 0, int64(len(want)), 1000), want)
	l := r.create()
	r.mustAppend(l, 1, "more")
	r.reopen()
	if got := r.log().LogEndOffset(); got != int64(len(want))+1 {
		t.Errorf("after a kill the log ends at %d", got)
	}
	r.close()
}

// TestLinkToNowhereIsNoPartition, nor is one to a file.
func TestLinkToNowhereIsNoPartition(t *testing.T) {
	r := diskRig(t).open()
	r.close()
	for name, target := range map[string]string{"u-0": filepath.Join(t.TempDir(), "gone"), "a link": filepath.Join(r.dirs[0], fileMetaProperties)} {
		if err := os.Symlink(target, filepath.Join(r.dirs[0], name)); err != nil {
			t.Fatal(err)
		}
	}
	r.open()
	if logs := r.m.Logs(); len(logs) != 0 || len(r.offline) != 0 {
		t.Errorf("%d logs, offline %v", len(logs), r.offline)
	}
	r.close()
}

// TestInspectFollowsLinks: the inspector looks at what a broker would.
func TestInspectFollowsLinks(t *testing.T) {
	r, _ := linked(t)
	var total int64
	found := ""
	err := Inspect(context.Background(), r.fs, r.dirs[0], InspectOptions{
		Each: func(f Finding) {
			if f.Verdict != Pass || f.Check == "partition" {
				found += f.Subject + ": " + f.Detail + "\n"
			}
		},
		Progress: func(_, n int64) { total = n },
	})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(found, "t-0: ") || strings.Count(found, "\n") != 1 || total == 0 {
		t.Errorf("%d bytes to look at; found:\n%s", total, found)
	}
}

// TestLinkedSegmentIsReadWhole: the size of a link is not that of the file.
func TestLinkedSegmentIsReadWhole(t *testing.T) {
	r := diskRig(t)
	r.cfg.SegmentBytes = 1000
	r.open()
	want := r.fill(r.create(), 30)
	last := r.log().view.Load().active().base
	for _, base := range []int64{0, last} {
		name := r.log().path(base, suffixLog)
		away := filepath.Join(t.TempDir(), filepath.Base(name))
		if err := os.Rename(name, away); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(away, name); err != nil {
			t.Fatal(err)
		}
	}
	r.reopen()
	equalRecords(t, records(t, r.log(), 0, int64(len(want)), 1000), want)
	r.close()
	r.open()
	equalRecords(t, records(t, r.log(), 0, int64(len(want)), 1000), want)
	r.close()
}
