package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"
)

// NewTrace returns fsys, telling fn every operation that changes the disk, after it was done, as one line of text:
//
//	create a/00000.log          write a/00000.log off=0 len=70   truncate a/00000.log size=0
//	sync a/00000.log            preallocate a/00000.log n=1024   mkdir a
//	rename a/x.tmp a/x          remove a/00000.log               removeall a
//	syncdir a                   lock .lock                       chtimes a/00000.log
//
// A failed operation has " failed" at the end of its line, a short write also the bytes it wrote. Names are those that
// the caller used, with slashes. fn is called on the goroutine of the operation, so it must be safe for concurrent use
// if the file system is used concurrently.
func NewTrace(fsys FS, fn func(op string)) FS { return &trace{FS: fsys, fn: fn} }

type trace struct {
	FS
	fn func(string)
}

// traceName writes a name as it stands in the trace.
func traceName(name string) string { return path.Clean(filepath.ToSlash(name)) }

// say reports one operation and returns its error.
func (t *trace) say(err error, format string, args ...any) error {
	line := fmt.Sprintf(format, args...)
	if err != nil {
		line += " failed"
	}
	t.fn(line)
	return err
}

func (t *trace) Open(name string) (File, error) {
	f, err := t.FS.Open(name)
	if err != nil {
		return nil, err
	}
	return &traceFile{File: f, trace: t}, nil
}

func (t *trace) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	existed := true
	if flag&os.O_CREATE != 0 {
		_, err := t.FS.Stat(name)
		existed = !errors.Is(err, fs.ErrNotExist)
	}
	f, err := t.FS.OpenFile(name, flag, perm)
	switch {
	case !existed:
		t.say(err, "create %s", traceName(name))
	case flag&os.O_TRUNC != 0:
		t.say(err, "truncate %s size=0", traceName(name))
	}
	if err != nil {
		return nil, err
	}
	return &traceFile{File: f, trace: t}, nil
}

func (t *trace) Remove(name string) error {
	return t.say(t.FS.Remove(name), "remove %s", traceName(name))
}

func (t *trace) RemoveAll(name string) error {
	return t.say(t.FS.RemoveAll(name), "removeall %s", traceName(name))
}

func (t *trace) Rename(oldName, newName string) error {
	return t.say(t.FS.Rename(oldName, newName), "rename %s %s", traceName(oldName), traceName(newName))
}

func (t *trace) MkdirAll(name string, perm fs.FileMode) error {
	return t.say(t.FS.MkdirAll(name, perm), "mkdir %s", traceName(name))
}

func (t *trace) SyncDir(name string) error {
	return t.say(t.FS.SyncDir(name), "syncdir %s", traceName(name))
}

func (t *trace) Chtimes(name string, modTime time.Time) error {
	return t.say(t.FS.Chtimes(name, modTime), "chtimes %s", traceName(name))
}

func (t *trace) Lock(name string) (io.Closer, error) {
	c, err := t.FS.Lock(name)
	return c, t.say(err, "lock %s", traceName(name))
}

// traceFile is an open file of a trace.
type traceFile struct {
	File
	trace *trace
}

func (f *traceFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(p, off)
	if err != nil && n > 0 {
		return n, f.trace.say(err, "write %s off=%d len=%d wrote=%d", traceName(f.Name()), off, len(p), n)
	}
	return n, f.trace.say(err, "write %s off=%d len=%d", traceName(f.Name()), off, len(p))
}

func (f *traceFile) Truncate(size int64) error {
	return f.trace.say(f.File.Truncate(size), "truncate %s size=%d", traceName(f.Name()), size)
}

func (f *traceFile) Preallocate(n int64) error {
	return f.trace.say(f.File.Preallocate(n), "preallocate %s n=%d", traceName(f.Name()), n)
}

func (f *traceFile) Sync() error {
	return f.trace.say(f.File.Sync(), "sync %s", traceName(f.Name()))
}
