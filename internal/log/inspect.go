package log

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/vfs"
)

// Verdict is the outcome of one check of a directory.
type Verdict int8

// The verdicts: in order; something that a start mends, or that is worth knowing; data
// or a directory that cannot be used.
const (
	Pass Verdict = iota
	Warn
	Fail
)

func (v Verdict) String() string { return [...]string{"pass", "warn", "fail"}[v] }

// Finding is what one check found.
type Finding struct {
	Verdict Verdict
	Check   string // what was looked at
	Subject string // the file or folder, relative to the directory; "" for the directory
	Detail  string
	// Action is what the broker does about it, or what a human has to do.
	Action string
}

// InspectOptions say how to look.
type InspectOptions struct {
	// Quick leaves out everything but the end of each partition's last segment.
	Quick bool
	// Each is called with every finding.
	Each func(Finding)
	// Progress is called with the bytes that were looked at, of how many.
	Progress func(done, total int64)
}

// inspector looks at one directory and changes nothing in it.
type inspector struct {
	fs    vfs.FS
	dir   string
	o     InspectOptions
	clean bool

	points, marks, starts, cleaned map[kafka.TopicPartition]int64
	ids                            map[string]kafka.TopicID
	folders                        map[kafka.TopicPartition]string
	done, total                    int64
}

// Inspect checks a data directory, also one of Apache Kafka, that no broker uses, and
// changes nothing but the access times and, for a moment, the lock. The error is one
// that kept it from looking; what it found is told to Each.
func Inspect(ctx context.Context, fsys vfs.FS, dir string, o InspectOptions) error {
	x := &inspector{fs: fsys, dir: dir, o: o, ids: map[string]kafka.TopicID{}, folders: map[kafka.TopicPartition]string{}}
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return err
	}
	x.identity()
	x.lock()
	x.marker()
	x.points = x.checkpoint(fileRecoveryPoints)
	x.marks = x.checkpoint(fileHighWatermarks)
	x.starts = x.checkpoint(fileLogStartOffsets)
	x.cleaned = x.checkpoint(fileCleanPoints)
	x.measure(entries)
	for _, e := range entries {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		folder, err := isPartition(fsys, dir, e)
		if err != nil {
			x.say(Fail, "folder", e.Name(), err.Error(), "The directory goes offline at the next start.")
		}
		if folder {
			if err := x.folder(ctx, e.Name()); err != nil {
				return err
			}
		}
	}
	x.strayEntries()
	return nil
}

func (x *inspector) say(v Verdict, check, subject, detail, action string) {
	x.o.Each(Finding{Verdict: v, Check: check, Subject: subject, Detail: detail, Action: action})
}

func (x *inspector) advance(n int64) {
	x.done += n
	if x.o.Progress != nil {
		x.o.Progress(min(x.done, x.total), x.total)
	}
}

func (x *inspector) identity() {
	m, found, err := ReadMetaProperties(x.fs, x.dir)
	switch {
	case !found && err == nil:
		x.say(Fail, "identity", fileMetaProperties, "the file is missing", "A node refuses to start here; format the directory with kafka-storage if it is to be used.")
	case err != nil:
		x.say(Fail, "identity", fileMetaProperties, err.Error(), "A node refuses to start here until the file is repaired.")
	case m.ClusterID == "" || m.NodeID == kafka.NoNode:
		x.say(Warn, "identity", fileMetaProperties, fmt.Sprintf("cluster id %q, node id %d", m.ClusterID, m.NodeID), "What is missing is taken from the configuration at the next start.")
	case m.DirectoryID.IsZero():
		x.say(Warn, "identity", fileMetaProperties, "no directory id", "The next start gives the directory an id.")
	default:
		x.say(Pass, "identity", fileMetaProperties, fmt.Sprintf("node %d of cluster %s, directory id %s", m.NodeID, m.ClusterID, m.DirectoryID), "")
	}
}

// lock finds out whether a process holds the directory. A lock file that is not there
// is not made.
func (x *inspector) lock() {
	name := filepath.Join(x.dir, fileLock)
	if exists, err := vfs.Exists(x.fs, name); err != nil || !exists {
		x.say(Pass, "lock", fileLock, "nobody holds the directory", "")
		return
	}
	lock, err := x.fs.Lock(name)
	switch {
	case errors.Is(err, vfs.ErrLocked):
		x.say(Warn, "lock", fileLock, "a process uses the directory."+lockHolder(x.fs, name), "What is said here may be outdated as it is said; stop the process first.")
	case err != nil:
		x.say(Warn, "lock", fileLock, err.Error(), "Whether a process uses the directory is not known.")
	default:
		err := lock.Close()
		x.say(Pass, "lock", fileLock, "nobody holds the directory", errText(err))
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func (x *inspector) marker() {
	data, err := vfs.ReadFile(x.fs, filepath.Join(x.dir, fileCleanShutdown))
	switch {
	case err == nil:
		x.clean = true
		x.say(Pass, "shutdown", fileCleanShutdown, fmt.Sprintf("the last stop was clean, broker epoch %d", parseCleanShutdown(data)), "")
	case errors.Is(err, fs.ErrNotExist):
		x.say(Warn, "shutdown", fileCleanShutdown, "the last stop was not clean", "The next start checks every log from its recovery point on, and cuts it at the first batch that is not whole.")
	default:
		x.say(Fail, "shutdown", fileCleanShutdown, err.Error(), "The directory goes offline at the next start.")
	}
}

// checkpoint reads one of the directory's checkpoints.
func (x *inspector) checkpoint(name string) map[kafka.TopicPartition]int64 {
	exists, err := vfs.Exists(x.fs, filepath.Join(x.dir, name))
	if err == nil && !exists {
		return nil
	}
	m, err := readOffsets(x.fs, filepath.Join(x.dir, name))
	if err != nil {
		x.say(Warn, "checkpoint", name, err.Error(), "It counts as empty: "+missingCheckpoint[name])
		return nil
	}
	x.say(Pass, "checkpoint", name, fmt.Sprintf("%d partitions", len(m)), "")
	return m
}

// missingCheckpoint is what the broker does without a checkpoint.
var missingCheckpoint = map[string]string{
	fileRecoveryPoints:  "every log is read from its beginning.",
	fileHighWatermarks:  "high watermarks begin at the log start and rise with replication.",
	fileLogStartOffsets: "logs begin with their first segment, so that records deleted by DeleteRecords may come back until retention takes them.",
	fileCleanPoints:     "compaction begins anew.",
}

// strayEntries names partitions of the checkpoints that have no folder.
func (x *inspector) strayEntries() {
	for _, c := range []struct {
		name string
		m    map[kafka.TopicPartition]int64
	}{{fileRecoveryPoints, x.points}, {fileHighWatermarks, x.marks}, {fileLogStartOffsets, x.starts}, {fileCleanPoints, x.cleaned}} {
		var missing []kafka.TopicPartition
		for tp := range c.m {
			if x.folders[tp] == "" {
				missing = append(missing, tp)
			}
		}
		if len(missing) == 0 {
			continue
		}
		sortPartitions(missing)
		x.say(Warn, "checkpoint", c.name, fmt.Sprintf("%d entries have no folder, the first is %s", len(missing), missing[0]),
			"They go with the next write of the file. If the partition was here, its records are lost unless another replica has them.")
	}
}

// measure adds up what there is to look at.
func (x *inspector) measure(entries []fs.DirEntry) {
	for _, e := range entries {
		if folder, err := isPartition(x.fs, x.dir, e); err != nil || !folder {
			continue // a failure is told when the folder's turn comes
		}
		files, err := x.fs.ReadDir(filepath.Join(x.dir, e.Name()))
		if err != nil {
			continue // told when the folder's turn comes
		}
		for _, f := range files {
			if filepath.Ext(f.Name()) != suffixLog {
				continue
			}
			if info, err := follow(x.fs, filepath.Join(x.dir, e.Name()), f); err == nil {
				x.total += info.Size()
			}
		}
	}
}

// folder looks at one folder of the directory.
func (x *inspector) folder(ctx context.Context, name string) error {
	tp, kind, err := parseFolder(name)
	if err != nil {
		x.say(Fail, "folder", name, err.Error(), "A broker refuses the directory; move the folder away.")
		return nil
	}
	switch kind {
	case folderDelete:
		x.say(Warn, "folder", name, "marked as deleted", "It is removed file.delete.delay.ms after the next start.")
		return nil
	case folderStray:
		x.say(Warn, "folder", name, "a stray partition that the cluster does not know", "It is left alone; remove it when its records are not needed.")
		return nil
	case folderFuture:
		x.say(Warn, "folder", name, "a replica on its way to this directory", "It goes on being filled after the next start.")
	default:
		if other := x.folders[tp]; other != "" {
			x.say(Fail, "folder", name, "the partition is in "+other+" too", "A broker refuses the directory; remove one of the two.")
		}
		x.folders[tp] = name
	}
	return x.partition(ctx, name, tp, kind)
}

// partition looks at a partition's folder.
func (x *inspector) partition(ctx context.Context, name string, tp kafka.TopicPartition, kind folderKind) error {
	p := &inspectedLog{x: x, name: name, tp: tp, folder: filepath.Join(x.dir, name), worst: Pass, point: -1}
	if kind == folderCurrent {
		if rp, ok := x.points[tp]; ok {
			p.point = rp
		}
		p.start = x.starts[tp]
		_, p.compacted = x.cleaned[tp]
	}
	entries, err := x.fs.ReadDir(p.folder)
	if err != nil {
		x.say(Fail, "folder", name, err.Error(), "The directory goes offline at the next start.")
		return nil
	}
	for _, e := range entries {
		p.note(e)
	}
	slices.SortFunc(p.segs, func(a, b inspectedSegment) int { return compare(a.base, b.base) })
	slices.Sort(p.snapshots)
	p.metadata()
	p.epochs()
	for i := range p.segs {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		p.segment(i)
	}
	p.ends()
	p.producers()
	if p.worst == Pass {
		x.say(Pass, "partition", name, p.summary(), "")
	}
	return nil
}
