package netx

import (
	"io"
	"os"
	"syscall"
)

// maxSendfile is the most that one call of sendfile moves.
const maxSendfile = 0x7ffff000

// sendfile sends with the system call of that name. done is false, without an error, if the call does not work for this
// pair of descriptors; then the rest is to be copied.
func (s *Socket) sendfile(fd int, off int64, n int) (sent int, done bool, err error) {
	w := &s.write
	if w.try == nil {
		w.try = s.trySend
	}
	w.srcFd, w.off, w.left, w.err, w.direct = fd, off, n, nil, true
	err = s.raw.Write(w.try)
	if err == nil {
		err = w.err
	}
	return n - w.left, w.direct, err
}

// trySend is called by the poller: it sends as much as the socket takes, and returns false to be called again when the
// socket takes more.
func (s *Socket) trySend(socket uintptr) bool {
	w := &s.write
	for w.left > 0 {
		n, err := syscall.Sendfile(int(socket), w.srcFd, &w.off, min(w.left, maxSendfile))
		if n > 0 {
			w.left -= n
		}
		switch err {
		case nil:
			if n == 0 {
				w.err = io.ErrUnexpectedEOF
				return true
			}
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		case syscall.EINVAL, syscall.ENOSYS, syscall.EOPNOTSUPP:
			w.direct = false
			return true
		default:
			w.err = os.NewSyscallError("sendfile", err)
			return true
		}
	}
	return true
}
