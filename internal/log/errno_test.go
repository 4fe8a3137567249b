package log

import "syscall"

var (
	errEIO    error = syscall.EIO
	errENOSPC error = syscall.ENOSPC
	errEMFILE error = syscall.EMFILE
)
