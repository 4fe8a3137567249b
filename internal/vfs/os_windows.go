package vfs

import (
	"io"
	"io/fs"
	"os"
	"syscall"
	"unsafe"
)

// errSharingViolation is ERROR_SHARING_VIOLATION.
const errSharingViolation = syscall.Errno(32)

var getDiskFreeSpaceEx = syscall.NewLazyDLL("kernel32.dll").NewProc("GetDiskFreeSpaceExW")

// syncDir does nothing: NTFS journals its directories and gives no handle to flush one.
func syncDir(name string) error {
	_, err := os.Stat(name)
	return err
}

// lockFile opens the file without sharing it, which keeps out every other opener until it is closed.
func lockFile(name string) (io.Closer, error) {
	p, err := syscall.UTF16PtrFromString(name)
	if err != nil {
		return nil, err
	}
	h, err := syscall.CreateFile(p, syscall.GENERIC_READ|syscall.GENERIC_WRITE, 0, nil, syscall.OPEN_ALWAYS,
		syscall.FILE_ATTRIBUTE_NORMAL, 0)
	if err == errSharingViolation {
		return nil, ErrLocked
	}
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(h), name), nil
}

func diskSpace(name string) (Space, error) {
	p, err := syscall.UTF16PtrFromString(name)
	if err != nil {
		return Space{}, err
	}
	var usable, total, free uint64
	r, _, err := getDiskFreeSpaceEx.Call(uintptr(unsafe.Pointer(p)), uintptr(unsafe.Pointer(&usable)),
		uintptr(unsafe.Pointer(&total)), uintptr(unsafe.Pointer(&free)))
	if r == 0 {
		return Space{}, &fs.PathError{Op: "GetDiskFreeSpaceEx", Path: name, Err: err}
	}
	return Space{Total: int64(total), Usable: int64(usable)}, nil
}
