package netx

import (
	"errors"
	"io"
	"os"
	"syscall"
)

// pageSize is the granularity at which a file can be mapped.
var pageSize = int64(os.Getpagesize())

// sendMapped writes head and a mapping of the file's range. Only the system call touches the pages, so a page that
// cannot be had (the file was cut, its disk fails) is an error of the write and not a fault of the process. mapped is
// false if nothing was written; sent counts what went out of the file. Without an error the rest, if any, is to be copied.
func (s *Socket) sendMapped(head [][]byte, fd int, off int64, n int) (sent int, mapped bool, err error) {
	end := off + int64(n)
	if !reaches(fd, end) {
		return 0, false, nil
	}
	skip := int(off % pageSize)
	m, err := syscall.Mmap(fd, off-int64(skip), skip+n, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return 0, false, nil // the process has as many mappings as it may have
	}
	// What is not in the page cache is then read ahead as a reading file is.
	_ = syscall.Madvise(m, syscall.MADV_SEQUENTIAL)
	total, err := s.writev(head, m[skip:])
	_ = syscall.Munmap(m)
	for _, b := range head {
		total -= int64(len(b))
	}
	sent = int(max(total, 0))
	if total >= 0 && errors.Is(err, syscall.EFAULT) {
		return sent, true, nil
	}
	if err == nil && !reaches(fd, end) {
		// The rest of a page behind the file's end reads as zeros, which are not the file's.
		err = io.ErrUnexpectedEOF
	}
	return sent, true, err
}

// reaches says whether the file is at least so long.
func reaches(fd int, end int64) bool {
	var st syscall.Stat_t
	return syscall.Fstat(fd, &st) == nil && st.Size >= end
}
