package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// ofdSetLock is F_OFD_SETLK: a lock that belongs to the open file, conflicts with the locks that a JVM takes, and also
// excludes a second owner inside this process.
const ofdSetLock = 37

// openFile is os.OpenFile without its try to register the file with the poller, which
// takes no regular file or directory and costs four system calls of the seven that an open
// and a close come to: a start opens several files a partition.
func openFile(name string, flag int, perm fs.FileMode) (*os.File, error) {
	for {
		fd, err := syscall.Open(name, flag|syscall.O_CLOEXEC, uint32(perm.Perm()))
		if err == nil {
			return os.NewFile(uintptr(fd), name), nil
		}
		if err != syscall.EINTR {
			return nil, &fs.PathError{Op: "open", Path: name, Err: err}
		}
	}
}

// syncData flushes content and size, but not times.
func syncData(f *os.File) error {
	for {
		err := syscall.Fdatasync(int(f.Fd()))
		if err == nil {
			return nil
		}
		if err != syscall.EINTR {
			return &fs.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
		}
	}
}

// preallocate reserves blocks, or makes the file longer on file systems that cannot.
func preallocate(f *osFile, n int64) error {
	if n <= 0 {
		return nil
	}
	for {
		err := syscall.Fallocate(int(f.File.Fd()), 0, 0, n)
		switch err {
		case nil:
			return nil
		case syscall.EINTR:
		case syscall.EOPNOTSUPP, syscall.ENOSYS:
			return growTo(f, n)
		default:
			return &fs.PathError{Op: "fallocate", Path: f.Name(), Err: err}
		}
	}
}

func lockFile(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	err = syscall.FcntlFlock(f.Fd(), ofdSetLock, &syscall.Flock_t{Type: syscall.F_WRLCK})
	if errors.Is(err, syscall.EINVAL) {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if err == nil {
		return f, nil
	}
	f.Close()
	if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) {
		return nil, ErrLocked
	}
	return nil, err
}
