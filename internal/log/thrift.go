package log

import (
	"errors"
	"io/fs"
	"syscall"

	"github.com/gregorhq/gregor/internal/vfs"
)

// thrifty is a file system that closes the files nobody uses and tries once more when
// there is no descriptor left: what the cache keeps open must not be what a checkpoint
// or a directory's sync fails for.
type thrifty struct {
	vfs.FS
	files *fileCache
}

// outOfFiles says that there was no descriptor to be had.
func outOfFiles(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// again says whether to try once more.
func (t thrifty) again(err error) bool {
	if !outOfFiles(err) {
		return false
	}
	t.files.closeIdle()
	return true
}

func (t thrifty) Open(name string) (vfs.File, error) {
	f, err := t.FS.Open(name)
	if t.again(err) {
		f, err = t.FS.Open(name)
	}
	return f, err
}

func (t thrifty) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := t.FS.OpenFile(name, flag, perm)
	if t.again(err) {
		f, err = t.FS.OpenFile(name, flag, perm)
	}
	return f, err
}

func (t thrifty) ReadDir(name string) ([]fs.DirEntry, error) {
	list, err := t.FS.ReadDir(name)
	if t.again(err) {
		list, err = t.FS.ReadDir(name)
	}
	return list, err
}

// SyncDir opens the directory, which is what may fail here: a sync that fails is never
// tried again.
func (t thrifty) SyncDir(name string) error {
	err := t.FS.SyncDir(name)
	if t.again(err) {
		err = t.FS.SyncDir(name)
	}
	return err
}

func (t thrifty) RemoveAll(name string) error {
	err := t.FS.RemoveAll(name)
	if t.again(err) {
		err = t.FS.RemoveAll(name)
	}
	return err
}
